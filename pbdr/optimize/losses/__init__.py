"""How far an image is from its target: functions by name, and what a job puts together from them."""

from __future__ import annotations

from .entry import LossEntry as LossEntry
from .pointwise import RELATIVE_OFFSET as RELATIVE_OFFSET
from .pointwise import huber as huber
from .pointwise import l1 as l1
from .pointwise import l2 as l2
from .pointwise import log_l1 as log_l1
from .pointwise import relative_l2 as relative_l2
from .pointwise import smape as smape
from .registry import Loss as Loss
from .registry import _losses as _losses
from .registry import find_loss as find_loss
from .registry import register as register
from .structure import silhouette as silhouette
from .structure import ssim as ssim
from .unbiased import l2_unbiased as l2_unbiased
from .unbiased import relative_l2_unbiased as relative_l2_unbiased
