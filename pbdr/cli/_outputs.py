"""Refusing places where nothing can be written, before anything is computed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError


def check_image(output: Path, endings: Sequence[str] = (".exr", ".png")) -> None:
    """Refuse an image that cannot be written."""
    if output.suffix.lower() not in endings:
        raise InputError(f"the image '{output}' must have one of the endings {', '.join(endings)}")
    check_file(output)


def check_file(output: Path) -> None:
    """Refuse a file that cannot be written; nothing is made."""
    if output.is_dir():
        raise InputError(f"'{output}' is a folder; a file is needed")
    if output.exists() and not os.access(output, os.W_OK):
        raise InputError(f"the file '{output}' cannot be written")
    check_folder(output.parent)


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or in which nothing can be written; nothing is made."""
    absolute = folder.absolute()
    existing = next(place for place in (absolute, *absolute.parents) if os.path.lexists(place))
    if not existing.is_dir():
        raise InputError(f"the folder '{folder}' cannot be made: '{existing}' is a file")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"nothing can be written to the folder '{existing}': {error.strerror}") from error
