"""Keeping Python from collecting garbage while kernels are recorded."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable


def without_collection(method: Callable) -> Callable:
    """Keep Python from collecting garbage while a method records kernels.

    A scene that is forgotten earlier but collected in between changes the number of shapes that a call can reach. If it
    falls to one, Dr.Jit 1.5 compiles the same function in two ways under one name, and LLVM ends the process.
    """

    @functools.wraps(method)
    def wrapped(*args, **kwargs):
        if not gc.isenabled():
            return method(*args, **kwargs)
        gc.disable()
        try:
            return method(*args, **kwargs)
        finally:
            gc.enable()

    return wrapped
