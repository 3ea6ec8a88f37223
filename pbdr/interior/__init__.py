"""Interior estimators: how derivatives are gathered along a path whose discontinuities stand still."""

from __future__ import annotations

from .base import Rule as Rule
from .marked import Marked as Marked
from .primal import Primal as Primal
from .record import Record as Record
from .replay import ReplayBackward as ReplayBackward
from .replay import ReplayForward as ReplayForward
from .store import Store as Store
from .store import Terms as Terms
from .taped import Taped as Taped
