"""Photographs with known cameras in the formats of other programs, brought to one neutral form."""

from __future__ import annotations

from .camera import Capture as Capture
from .reading import read_captures as read_captures
from .writing import write_captures as write_captures
