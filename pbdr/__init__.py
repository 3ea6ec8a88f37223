"""pbdr: physically based differentiable path tracing for Mitsuba 3.

Importing it points Dr.Jit at a usable LLVM and registers pbdr's integrators for the active Mitsuba variant and for
every later one. It sets no variant and prints nothing.
"""

from __future__ import annotations

import importlib

from . import llvm, registry

__version__ = "0.1.0"

#: Which LLVM library Dr.Jit was pointed at, and why; ``pbdr doctor`` explains it
llvm_choice = llvm.provide_llvm()

registry.install()

#: Public names that are imported when first used, and the module that has them ("" for the module itself)
_LAZY = {
    "Memory": "gradient_step",
    "Problem": "optimize",
    "compare": "",
    "optimize": "",
    "record": "gradient_step",
    "step": "gradient_step",
    "torch": "",
}


def __getattr__(name: str) -> object:
    """Import ``pbdr.compare`` and the like on first use, so that ``import pbdr`` stays quick."""
    if name not in _LAZY:
        raise AttributeError(f"module 'pbdr' has no attribute '{name}'")
    source = _LAZY[name]
    module = importlib.import_module(f"pbdr.{source or name}")
    return getattr(module, name) if source else module
