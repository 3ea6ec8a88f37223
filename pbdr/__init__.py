"""pbdr: physically based differentiable path tracing for Mitsuba 3.

Importing it points Dr.Jit at a usable LLVM and registers pbdr's integrators for the active Mitsuba variant and for
every later one. It sets no variant and prints nothing.
"""

from __future__ import annotations

from . import llvm, registry

__version__ = "0.1.0"

#: Which LLVM library Dr.Jit was pointed at, and why; ``pbdr doctor`` explains it
llvm_choice = llvm.provide_llvm()

registry.install()

# Not before an LLVM is chosen: Dr.Jit loads it when it is imported
from . import compare as compare  # noqa: E402
