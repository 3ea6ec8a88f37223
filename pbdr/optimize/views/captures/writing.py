"""Captures as sensors of a Mitsuba scene and views of a job."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import mitsuba as mi
import tomlkit

from ....errors import InputError
from ..images import is_low_range
from .camera import Capture


def write_captures(captures: Sequence[Capture], folder: Path) -> tuple[Path, Path]:
    """Write ``cameras.xml``, to be included in a scene, and ``views.toml``, to be named as ``views`` in a job.

    Example:
        >>> write_captures(read_captures("lego"), Path("job"))
        (PosixPath('job/cameras.xml'), PosixPath('job/views.toml'))
    """
    entries = [_view(capture, folder.resolve()) for capture in captures]
    folder.mkdir(parents=True, exist_ok=True)
    scene = ElementTree.Element("scene", version="3.0.0")
    for capture in captures:
        _add_sensor(scene, capture)
    ElementTree.indent(scene)
    cameras, views = folder / "cameras.xml", folder / "views.toml"
    cameras.write_text(ElementTree.tostring(scene, encoding="unicode") + "\n", encoding="utf-8")
    views.write_text(tomlkit.dumps({"views": entries}), encoding="utf-8")
    return cameras, views


def _add_sensor(scene: ElementTree.Element, capture: Capture) -> None:
    sensor = ElementTree.SubElement(scene, "sensor", type="perspective", id=capture.name)
    dx, dy = capture.offset
    floats = {"fov": capture.x_fov, "principal_point_offset_x": dx, "principal_point_offset_y": dy}
    ElementTree.SubElement(sensor, "string", name="fov_axis", value="x")
    for name, value in floats.items():
        ElementTree.SubElement(sensor, "float", name=name, value=f"{value:.9g}")
    place = ElementTree.SubElement(sensor, "transform", name="to_world")
    ElementTree.SubElement(place, "matrix", value=" ".join(f"{x:.9g}" for x in capture.to_world.ravel()))
    film = ElementTree.SubElement(sensor, "film", type="hdrfilm")
    for name, value in zip(("width", "height"), capture.size, strict=True):
        ElementTree.SubElement(film, "integer", name=name, value=str(value))
    ElementTree.SubElement(film, "string", name="pixel_format", value="rgba")
    ElementTree.SubElement(film, "rfilter", type="box")


def _view(capture: Capture, folder: Path) -> dict:
    entry = {"sensor": capture.name, "target": _relative(capture.image, folder)}
    if is_low_range(capture.image):
        entry["color_space"] = "srgb"
    try:
        has_alpha = mi.Bitmap(str(capture.image)).has_alpha()
    except RuntimeError as error:
        raise InputError(f"the image '{capture.image}' cannot be read: {str(error).splitlines()[-1]}") from None
    if has_alpha:
        entry["alpha"] = "composite"
    if capture.mask is not None:
        entry["mask"] = _relative(capture.mask, folder)
    return entry


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder)).as_posix()
