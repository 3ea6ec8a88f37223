"""Functions of the user that a job names by ``module:function`` or ``file.py:function``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError, suggestion


def is_import_path(name: str) -> bool:
    """Whether a name in a job means a function of the user.

    Example:
        >>> is_import_path("my_module:my_loss"), is_import_path("l2")
        (True, False)
    """
    return ":" in name


def locate_function(name: str, folder: Path) -> str:
    """The name with its module as an absolute file, if that lies beside the job; other modules stay as they are.

    Example:
        >>> locate_function("my_module:my_loss", Path("/jobs"))  # where /jobs/my_module.py exists
        '/jobs/my_module.py:my_loss'
    """
    if not is_import_path(name):
        return name
    module, function = name.rsplit(":", 1)
    file = folder / (module if module.endswith(".py") else f"{module.replace('.', '/')}.py")
    return f"{file.resolve()}:{function}" if file.is_file() else name


def load_function(name: str, what: str, *, arguments: int) -> Callable:
    """Import a function.

    Args:
        name: ``module:function`` or ``file.py:function``.
        what: Name of the job's entry, for error sentences.
        arguments: How many it must take.
    """
    module_name, _, function = name.rpartition(":")
    try:
        module = _import(module_name)
    except (ImportError, OSError, SyntaxError) as error:
        raise InputError(f"{what} names '{name}', but '{module_name}' cannot be imported: {error}") from None
    found = getattr(module, function, None)
    if not callable(found):
        known = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise InputError(
            f"{what} names '{name}', but '{module_name}' has no such function{suggestion(function, known)}"
        )
    try:
        inspect.signature(found).bind(*range(arguments))
    except TypeError:
        raise InputError(f"{what} names '{name}', which must take {arguments} arguments") from None
    except ValueError:
        # Functions that are not written in Python may not say what they take
        return found
    return found


def _import(name: str) -> object:
    if not name.endswith(".py"):
        return importlib.import_module(name)
    if not Path(name).is_file():
        raise ImportError(f"the file '{name}' does not exist")
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    module = importlib.util.module_from_spec(spec)
    # Beside the file lie modules that it may import
    sys.path.insert(0, str(Path(name).parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(Path(name).parent))
    return module
