"""Fixtures for commands and runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import mitsuba as mi
import pytest

from ..conftest import Outcome

SCENE = """
<scene version="3.0.0">
  <integrator type="path"><integer name="max_depth" value="2"/></integrator>
  <sensor type="perspective" id="camera">
    <float name="fov" value="40"/>
    <transform name="to_world"><lookat origin="0, -3, 2" target="0, 0, 0" up="0, 0, 1"/></transform>
    <film type="hdrfilm">
      <integer name="width" value="24"/><integer name="height" value="24"/><rfilter type="gaussian"/>
    </film>
  </sensor>
  <shape type="rectangle" id="floor">
    <bsdf type="diffuse"><rgb name="reflectance" value="0.5, 0.4, 0.3"/></bsdf>
    <transform name="to_world"><scale value="3"/></transform>
  </shape>
  <shape type="sphere" id="ball"><float name="radius" value="0.3"/><point name="center" x="0" y="0" z="0.6"/></shape>
  <emitter type="point"><point name="position" x="1" y="-1" z="3"/><rgb name="intensity" value="9"/></emitter>
</scene>
"""


@pytest.fixture
def scene_file(tmp_path: Path) -> Path:
    """A ball over a floor under a point light, 24 × 24 pixels."""
    file = tmp_path / "scene.xml"
    file.write_text(SCENE)
    return file


@pytest.fixture
def refused(pbdr_command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable:
    """Run ``pbdr optimize`` and return its sentence: exit code 2, one line, nothing rendered, no run begun."""

    def render(*_: object, **__: object) -> None:
        raise RuntimeError("bad input reached the renderer")

    def run(*arguments: str | Path, out: Path | None = None) -> str:
        monkeypatch.setattr(mi, "render", render)
        outcome = pbdr_command("optimize", *arguments, "--out", out or tmp_path / "run")
        monkeypatch.undo()
        assert outcome.code == 2, outcome
        assert re.fullmatch(r"error: [^\n]+\n", outcome.stderr), outcome.stderr
        assert out or not (tmp_path / "run").exists()
        return outcome.stderr.removeprefix("error: ").strip()

    return run


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep references in the folder of the test."""
    monkeypatch.setenv("PBDR_CACHE", str(tmp_path / "cache"))
