"""Which Mitsuba variants can run on this machine."""

from __future__ import annotations

import ctypes
import os
import sys

from .errors import InputError, suggestion
from .llvm import LLVM_VARIABLE, NO_LLVM, OLDEST_LLVM


def unusable_reason(variant: str) -> str | None:
    """Why a variant cannot run on this machine, or None if it can.

    Example:
        >>> unusable_reason("llvm_ad_rgb") is None
        True
    """
    import drjit as dr

    if variant.startswith("cuda_"):
        return cuda_problem()
    if variant.startswith("llvm_"):
        if os.environ.get(LLVM_VARIABLE) == NO_LLVM:
            return f"no LLVM {OLDEST_LLVM} or newer was found (pip install karellen-llvm-core)"
        if not dr.has_backend(dr.JitBackend.LLVM):
            return f"Dr.Jit cannot use the LLVM at {os.environ.get(LLVM_VARIABLE)}"
    return None


def cuda_problem() -> str | None:
    """Why Mitsuba's CUDA variants cannot run here, or None if they can: driver, GPU, Dr.Jit, OptiX."""
    import drjit as dr

    # Other systems name their libraries differently; there Dr.Jit's own word has to do
    if sys.platform == "linux":
        try:
            driver = ctypes.CDLL("libcuda.so.1")
        except OSError:
            return "there is no NVIDIA driver (libcuda.so.1)"
        if code := driver.cuInit(0):
            return f"the NVIDIA driver finds no usable GPU (error {code})"
    if not dr.has_backend(dr.JitBackend.CUDA):
        return "Dr.Jit cannot use the NVIDIA driver, which may be too old"
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libnvoptix.so.1")
        except OSError:
            return "the NVIDIA driver comes without OptiX (libnvoptix.so.1)"
    return None


def default_variant() -> str:
    """The variant to use when none is asked for: on the GPU if there is one, else on the CPU."""
    for variant in ("cuda_ad_rgb", "llvm_ad_rgb"):
        if unusable_reason(variant) is None:
            return variant
    raise InputError(f"neither CUDA nor LLVM can be used: {unusable_reason('llvm_ad_rgb')}; see pbdr doctor")


def require_variant(name: str) -> str:
    """Check that a variant exists, can differentiate and can run here.

    Returns:
        The name.
    """
    import mitsuba as mi

    known = mi.variants()
    differentiable = [v for v in known if "_ad_" in v]
    if name not in known:
        raise InputError(f"Mitsuba has no variant '{name}'{suggestion(name, known)}")
    if name not in differentiable:
        raise InputError(f"the variant '{name}' cannot differentiate; use one such as llvm_ad_rgb or cuda_ad_rgb")
    if reason := unusable_reason(name):
        raise InputError(f"the variant '{name}' cannot run here: {reason}; see pbdr doctor")
    return name
