"""A scene of 16 × 16 pixels with targets and a job, written into a folder, and what a run of it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import mitsuba as mi
import numpy as np

#: Keys of the scene's parameters
WALL, ALPHA, LAMP, VERTICES = (
    "wall.bsdf.reflectance.value",
    "box.bsdf.alpha.value",
    "lamp.emitter.radiance.value",
    "box.vertex_positions",
)

COLOR = '<rgb name="reflectance" value="0.6 0.3 0.1"/>'
EMITTER = '<emitter type="area"><rgb name="radiance" value="4"/></emitter>'

_SCENE = """<scene version="3.0.0">
    <integrator type="path"/>
    <sensor type="perspective" id="camera">
        <transform name="to_world"><lookat origin="0, 0, 4" target="0, 0, 0" up="0, 1, 0"/></transform>
        <film type="hdrfilm">
            <integer name="width" value="16"/><integer name="height" value="16"/>
            <string name="pixel_format" value="rgb"/><rfilter type="box"/>
        </film>
    </sensor>
    <shape type="rectangle" id="wall">
        <transform name="to_world"><scale value="2"/><translate z="-1"/></transform>
        <bsdf type="diffuse">{color}</bsdf>
    </shape>
    <shape type="cube" id="box">
        <transform name="to_world"><scale value="0.4"/><rotate x="1" angle="20"/><rotate y="1" angle="30"/></transform>
        <bsdf type="roughconductor"><float name="alpha" value="0.3"/></bsdf>
    </shape>
    <shape type="rectangle" id="lamp">
        <transform name="to_world"><lookat origin="1, 2, 3" target="0, 0, 0" up="0, 1, 0"/></transform>
        {emitter}
    </shape>
</scene>
"""

_JOB = """scene = "scene.xml"
spp = 4
spp_evaluation = 16
steps = 6

[integrator]
type = "pbdr"
max_depth = 3

[[views]]
target = "target.exr"

[[parameters]]
key = "wall.bsdf.reflectance.value"
initial = [0.4, 0.4, 0.4]
learning_rate = 0.05
true = [0.6, 0.3, 0.1]

[[parameters]]
key = "box.bsdf.alpha.value"
initial = 0.2

[output]
image_every = 0
checkpoint_seconds = 0.001
"""


def write_scene(folder: Path, *, color: str = COLOR, emitter: str = EMITTER) -> Path:
    """The scene: a wall, a metal box and a lamp.

    Args:
        color: XML of the wall's reflectance.
        emitter: XML inside the lamp.
    """
    file = folder / "scene.xml"
    file.write_text(_SCENE.format(color=color, emitter=emitter))
    return file


def write_image(file: Path, shape: tuple[int, ...] = (16, 16, 3), value: float = 0.2) -> Path:
    """A constant image."""
    mi.Bitmap(np.full(shape, value, np.float32)).write(str(file))
    return file


def write_job(folder: Path, **replacements: str) -> Path:
    """The scene, a constant target and the job.

    Args:
        replacements: ``old=…`` and ``new=…``: text of the job to change; ``extra=…``: lines to put at its top.
    """
    write_scene(folder)
    write_image(folder / "target.exr")
    old, new = replacements.get("old", ""), replacements.get("new", "")
    assert old in _JOB
    file = folder / "job.toml"
    file.write_text(replacements.get("extra", "") + (_JOB.replace(old, new, 1) if old else _JOB))
    return file


def line_of(file: Path, text: str) -> int:
    """Number of the first line that holds a text, counted from 1."""
    return next(n for n, line in enumerate(file.read_text().splitlines(), start=1) if text in line)


def history(run: Path) -> list[dict]:
    """What a run says of each of its steps."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def checkpoint(run: Path) -> dict[str, np.ndarray]:
    """What a run would go on from."""
    with np.load(run / "checkpoints" / "latest.npz", allow_pickle=False) as content:
        return dict(content)
