"""Finding out which format a capture has."""

from __future__ import annotations

from pathlib import Path

from ....errors import InputError
from .camera import Capture
from .colmap import read_colmap
from .projections import read_projections
from .sensors import read_sensors
from .transforms import read_transforms

_MODELS = ("", "sparse/0", "sparse", "colmap/sparse/0")


def read_captures(source: str | Path, images: Path | None = None) -> list[Capture]:
    """Photographs and cameras of a capture.

    Args:
        source: A ``transforms….json``, a ``cameras….npz``, a folder that holds one or a COLMAP model, or a folder of
            images with XML files of their sensors.
        images: Folder of a COLMAP model's photographs; by default ``images`` beside the model or above it.

    Example:
        >>> captures = read_captures("lego/transforms_train.json")
    """
    try:
        captures = _read(Path(source), images)
    except InputError:
        raise
    except (AttributeError, ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        # Formats that others write can be damaged in more ways than are checked
        problem = (
            f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}" if str(error) else type(error).__name__
        )
        raise InputError(f"the capture '{source}' cannot be read: {problem}") from error
    names = [capture.name for capture in captures]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"'{source}' has two images called '{twice[0]}'")
    if not captures:
        raise InputError(f"'{source}' holds no images")
    return captures


def _read(path: Path, images: Path | None) -> list[Capture]:
    if path.suffix in (".json", ".npz") and path.is_file():
        if images:
            raise InputError(f"a folder of images is for COLMAP models; '{path}' says itself where its images are")
        return read_transforms(path) if path.suffix == ".json" else read_projections(path)
    if path.is_dir():
        return _read_folder(path, images)
    raise InputError(f"the capture '{path}' is neither a folder nor a .json or .npz file")


def _read_folder(path: Path, images: Path | None) -> list[Capture]:
    for name, read in (
        ("transforms.json", read_transforms),
        ("transforms_train.json", read_transforms),
        ("cameras_sphere.npz", read_projections),
    ):
        if (path / name).is_file():
            return read(path / name)
    for name in _MODELS:
        folder = path / name
        if (folder / "images.bin").is_file() or (folder / "images.txt").is_file():
            near = [images] if images else [p / "images" for p in (folder, *folder.parents)]
            found = [p for p in near if p.is_dir()]
            if not found:
                raise InputError(f"there is no folder of images for the model in '{folder}'; name it with --images")
            return read_colmap(folder, found[0])
    return read_sensors(path)
