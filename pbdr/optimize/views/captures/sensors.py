"""A folder of images, each with a Mitsuba XML file of the same name that holds its sensor."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import mitsuba as mi
import numpy as np

from ....errors import InputError
from ....scene_parameters import numbers
from .camera import Capture

_IMAGES = (".exr", ".png", ".jpg", ".jpeg")


def read_sensors(folder: Path) -> list[Capture]:
    """The images of a folder that have an XML file beside them."""
    captures = []
    for file in sorted(folder.glob("*.xml")):
        images = [file.with_suffix(suffix) for suffix in _IMAGES if file.with_suffix(suffix).is_file()]
        if images:
            captures.append(_capture(file, images[0]))
    if not captures:
        raise InputError(f"'{folder}' has no image with an XML file of the same name")
    return captures


def _capture(file: Path, image: Path) -> Capture:
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise InputError(f"{file}: no XML: {error}") from None
    element = root if root.tag == "sensor" else root.find("sensor")
    if element is None or element.get("type") not in ("perspective", "thinlens"):
        raise InputError(f"{file}: holds no perspective sensor")
    element.set("version", "3.0.0")
    try:
        sensor = mi.load_string(ElementTree.tostring(element, encoding="unicode"))
    except RuntimeError as error:
        raise InputError(f"{file}: {str(error).strip().splitlines()[-1]}") from None
    size = tuple(int(n) for n in sensor.film().crop_size())
    if size != tuple(int(n) for n in sensor.film().size()):
        raise InputError(f"{file}: films with a crop are not known here")
    held = mi.traverse(sensor)
    x_fov, dx, dy = (
        float(np.ravel(numbers(held[name]))[0])
        for name in ("x_fov", "principal_point_offset_x", "principal_point_offset_y")
    )
    to_world = np.array(numbers(held["to_world"]), np.float64).reshape(4, 4)
    focal = size[0] / (2 * np.tan(np.radians(x_fov) / 2))
    return Capture(file.stem, image, to_world, size, focal, ((0.5 - dx) * size[0], (0.5 - dy) * size[1]))
