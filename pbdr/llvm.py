"""Finding an LLVM for Dr.Jit, and making Dr.Jit use it.

Dr.Jit loads LLVM when it is imported. After pbdr, it takes what the environment variable names. Imported before pbdr,
it has taken whatever the system has; if that is too old, its compiler is started again with the right library.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

LLVM_VARIABLE = "DRJIT_LIBLLVM_PATH"

#: Dr.Jit 1.5 generates code that LLVM 15 and 16 cannot compile: they end the whole process
OLDEST_LLVM = 17

#: A path that no library has: Dr.Jit then says that LLVM is missing instead of loading one that aborts
NO_LLVM = "/no LLVM 17 or newer was found: pip install karellen-llvm-core"

_LIBRARY_NAMES = ("libLLVM*.so*", "libLLVM*.dylib", "LLVM-C.dll")
_SYSTEM_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/llvm-*/lib",
    "/usr/lib/llvm*/lib*",
    "/usr/local/lib",
    "/opt/homebrew/opt/llvm/lib",
    "/usr/local/opt/llvm/lib",
)


@dataclass(frozen=True)
class Library:
    """A shared LLVM library."""

    path: Path  #: the file, symbolic links followed
    version: int | None  #: major version; None if neither name nor file tells
    origin: str  #: where it was found: the environment variable, the package, the system

    @property
    def is_usable(self) -> bool:
        """Whether Dr.Jit can compile with it; a library of unknown version gets the benefit of the doubt."""
        return self.version is None or self.version >= OLDEST_LLVM


def llvm_version(library: Path) -> int | None:
    """Major version of an LLVM library, read from its name or its symbol versions, without loading it.

    Example:
        >>> llvm_version(Path("/usr/lib/llvm-19/lib/libLLVM.so.19.1"))
        19
    """
    if match := re.search(r"libLLVM(?:-|\.so\.|\.)(\d+)", library.resolve().name):
        return int(match[1])
    try:
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            match = re.search(rb"\0LLVM_(\d+)(?:\.\d+)*\0", content)
            return int(match[1]) if match else None
    except (OSError, ValueError):
        return None


def packaged_llvm() -> Library | None:
    """The shared library that the package ``karellen-llvm-core`` brought, if it is installed.

    The file is found through the package's own list, so virtual environments and ``--user`` installs both work;
    ``pip install --target`` leaves the library out.
    """
    try:
        files = metadata.files("karellen-llvm-core") or []
        version = int(metadata.version("karellen-llvm-core").split(".")[0])
    except metadata.PackageNotFoundError:
        return None
    paths = [Path(str(f.locate())) for f in files if _is_library(f.name)]
    found = next((path.resolve() for path in paths if path.is_file()), None)
    return Library(found, version, "the package karellen-llvm-core") if found else None


def system_llvms(folders: tuple[str, ...] = _SYSTEM_FOLDERS) -> list[Library]:
    """The LLVM libraries in the usual places of the system, newest first."""
    paths = {path.resolve() for folder in folders for path in _libraries_in(folder)}
    found = [Library(path, llvm_version(path), "the system") for path in sorted(paths)]
    return sorted(found, key=lambda library: library.version or 0, reverse=True)


def requested_llvm(value: str) -> Library | None:
    """The library that a value of the environment variable means: a file, or a folder that holds one.

    Dr.Jit itself accepts only a file.
    """
    path = Path(value).expanduser()
    if path.is_file():
        return Library(path.resolve(), llvm_version(path), LLVM_VARIABLE)
    found = [Library(file.resolve(), llvm_version(file), LLVM_VARIABLE) for file in sorted(_libraries_in(str(path)))]
    return max(found, key=lambda library: library.version or 0, default=None)


@dataclass(frozen=True)
class LlvmChoice:
    """Which LLVM Dr.Jit was pointed at, and why."""

    library: Library | None  #: None if this machine has no usable one
    requested: str | None  #: value of the environment variable before pbdr looked at it; None if it was unset
    remark: str  #: what became of the request, if it was not taken as it was; else empty


def choose_llvm(requested: str | None) -> LlvmChoice:
    """The library for Dr.Jit: the user's choice, else the package's, else the newest usable one of the system.

    Args:
        requested: Value of ``DRJIT_LIBLLVM_PATH``, if it is set.
    """
    remark = ""
    if requested:
        library = requested_llvm(requested)
        if library and library.is_usable:
            is_folder = Path(requested).expanduser().is_dir()
            remark = f"{LLVM_VARIABLE} is a folder; Dr.Jit needs the file in it" if is_folder else ""
            return LlvmChoice(library, requested, remark)
        if library:
            remark = f"{LLVM_VARIABLE} names LLVM {library.version}, with which Dr.Jit aborts, and was passed over"
        else:
            remark = f"{LLVM_VARIABLE} names '{requested}', where no LLVM library is, and was passed over"
    usable = (library for library in system_llvms() if library.version and library.is_usable)
    return LlvmChoice(packaged_llvm() or next(usable, None), requested, remark)


def provide_llvm() -> LlvmChoice:
    """Make Dr.Jit use a usable LLVM, or none, so that it never compiles with one that aborts the process.

    Raises:
        ImportError: Dr.Jit was imported first and can no longer change its library.
    """
    requested = os.environ.get(LLVM_VARIABLE) or None
    choice = choose_llvm(None if requested == NO_LLVM else requested)
    os.environ[LLVM_VARIABLE] = str(choice.library.path) if choice.library else NO_LLVM
    if "drjit" in sys.modules:
        _correct_drjit(choice)
    return choice


def _correct_drjit(choice: LlvmChoice) -> None:
    """Replace the library that Dr.Jit has already loaded, if it is too old; leave a good one alone."""
    import drjit as dr

    loaded = dr.detail.llvm_version()[0]
    if loaded >= OLDEST_LLVM:
        return
    way_out = f"import pbdr before drjit and mitsuba, or export {LLVM_VARIABLE}={os.environ[LLVM_VARIABLE]}"
    if loaded > 0 and _scene_exists():
        raise ImportError(
            f"Dr.Jit has loaded LLVM {loaded}, with which it aborts, and a scene already uses it: {way_out}"
        )
    _restart_drjit(dr)
    if choice.library and not dr.has_backend(dr.JitBackend.LLVM) and not dr.has_backend(dr.JitBackend.CUDA):
        raise ImportError(f"Dr.Jit was imported before pbdr and has found no LLVM by itself: {way_out}")


def _restart_drjit(dr: types.ModuleType) -> None:
    """Shut Dr.Jit's compiler down and start it with the library that the environment variable names.

    Arrays survive it; scenes do not. A Dr.Jit that never found any LLVM does not look for one again.
    """
    core = _drjit_core(dr)
    backends = (1 << dr.JitBackend.CUDA.value) | (1 << dr.JitBackend.LLVM.value)
    if core is not None:
        core._Z12jit_shutdowni(0)
        core._Z8jit_initj(backends)


def _scene_exists() -> bool:
    """Whether any Mitsuba object is registered with Dr.Jit's LLVM backend."""
    mi = sys.modules.get("mitsuba")
    core = _drjit_core(sys.modules["drjit"])
    if mi is None or core is None or mi.variant() is None:
        return False
    kinds = ("BSDF", "Emitter", "Medium", "PhaseFunction", "Sensor", "Shape", "Texture")
    variants = (variant for variant in mi.variants() if variant.startswith("llvm_"))
    bound = core._Z21jit_registry_id_boundPKcS0_
    return any(bound(variant.encode(), kind.encode()) > 0 for variant in variants for kind in kinds)


def _drjit_core(dr: types.ModuleType) -> ctypes.CDLL | None:
    """Dr.Jit's core library, which its Python package has already loaded; None where it is not named as on Linux."""
    path = Path(str(dr.__file__)).parent / "libdrjit-core.so"
    return ctypes.CDLL(str(path)) if path.is_file() else None


def _is_library(name: str) -> bool:
    return re.match(r"libLLVM[-.\d]*\.(so|dylib)", name) is not None


def _libraries_in(folder: str) -> Iterator[Path]:
    """LLVM libraries in a folder, which may hold wildcards."""
    root = Path(folder).anchor or "."
    pattern = str(Path(folder).relative_to(root)) if folder != root else "."
    for match in Path(root).glob(pattern):
        for name in _LIBRARY_NAMES:
            yield from (path for path in match.glob(name) if path.is_file() and _is_library_file(path.name))


def _is_library_file(name: str) -> bool:
    return _is_library(name) or (sys.platform == "win32" and name == "LLVM-C.dll")
