"""Finding an LLVM for Dr.Jit, and choosing a Mitsuba variant."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

LLVM_VARIABLE = "DRJIT_LIBLLVM_PATH"


def packaged_llvm() -> Path | None:
    """The shared library that the package ``karellen-llvm-core`` brought, if it is installed."""
    try:
        files = metadata.files("karellen-llvm-core") or []
    except metadata.PackageNotFoundError:
        return None
    libraries = [Path(f.locate()).resolve() for f in files if f.name.startswith("libLLVM") and ".so" in f.name]
    return next((path for path in libraries if path.is_file()), None)


def provide_llvm() -> None:
    """Point Dr.Jit at a usable LLVM unless the user has chosen one."""
    if not os.environ.get(LLVM_VARIABLE) and (library := packaged_llvm()):
        os.environ[LLVM_VARIABLE] = str(library)
