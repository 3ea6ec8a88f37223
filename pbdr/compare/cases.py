"""A case: one scene, one moving parameter, and where its true derivative comes from."""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
import types
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import mitsuba as mi

from .. import resources
from ..errors import InputError, suggestion
from ..scene import Overrides, load_scene
from .perturbations import Perturbation
from .references import Reference

_SUITES = "pbdr.benchmarks"


@dataclasses.dataclass(frozen=True)
class Case:
    """One question to an estimator: the derivative of this image along this perturbation.

    Attributes:
        build: Makes the scene, afresh, for the active variant.
        direction: What moves.
        hard: What makes the case hard, for the tables.
        name: Short name; cases of a suite are named after their files.
        max_depth: Path length of the reference and of every estimator that has such a property.
        reference: Integrator of the finite differences, with its properties: ``path``, or ``volpath`` for media.
        truth: Closed form, if there is one: the reference of a scene.
        sensor: Index of the sensor.
        origin: How another process finds the case: ``{"suite": …, "case": …}`` or ``{"scene": …}``.
    """

    build: Callable[[], mi.Scene]
    direction: Perturbation
    hard: str = ""
    name: str = ""
    max_depth: int = 2
    reference: str = "path"
    truth: Callable[[mi.Scene], Reference] | None = None
    sensor: int = 0
    origin: dict = dataclasses.field(default_factory=dict)

    @property
    def source(self) -> str:
        """Where the true value comes from."""
        return "closed form" if self.truth else f"central differences of '{self.reference}'"


def suite_cases(suite: str, pattern: str = "*") -> list[Case]:
    """The cases of a benchmark suite whose names match a glob, sorted by name.

    Args:
        suite: Name of a folder in ``benchmarks``, e.g. ``gradients``.
        pattern: Glob over case names; several are separated by commas.
    """
    folder = resources.folder("benchmarks") / suite
    files = sorted(folder.glob("[a-z]*.py"))
    if not files:
        known = [path.name for path in resources.folder("benchmarks").glob("[a-z]*") if path.is_dir()]
        hint = suggestion(suite, known) or "; suites come with a checkout of pbdr, not with the wheel"
        raise InputError(f"there is no benchmark suite '{suite}'{hint}")
    patterns = [part.strip() for part in pattern.split(",")]
    names = [path.stem for path in files if any(fnmatch(path.stem, part) for part in patterns)]
    if not names:
        raise InputError(
            f"no case of the suite '{suite}' matches '{pattern}'{suggestion(pattern, [path.stem for path in files])}"
        )
    return [_load_case(suite, folder, name) for name in names]


def _load_case(suite: str, folder: Path, name: str) -> Case:
    """Import one case file, with its folder as a package so that cases share their builders."""
    package = f"{_SUITES}.{suite}"
    for parent, path in ((_SUITES, folder.parent), (package, folder)):
        if parent not in sys.modules:
            module = types.ModuleType(parent)
            module.__path__ = [str(path)]
            sys.modules[parent] = module
    case = importlib.import_module(f"{package}.{name}").CASE
    return dataclasses.replace(case, name=name, origin={"suite": suite, "case": name})


def scene_case(
    scene: str | Path | mi.Scene,
    direction: Perturbation,
    *,
    overrides: Overrides | None = None,
    max_depth: int | None = None,
    sensor: int = 0,
    hide_emitters: bool = False,
) -> Case:
    """A case from a scene file or a scene in memory.

    Args:
        scene: Path of an XML file, name of a bundled scene, or a loaded scene.
        direction: What moves.
        overrides: Values for the ``<default>`` parameters of a scene file.
        max_depth: Path length; by default that of the scene's own integrator.
        sensor: Index of the sensor.
        hide_emitters: Whether the reference leaves out emitters that are seen directly.
    """
    if isinstance(scene, str | Path):
        origin = {
            "scene": str(scene), "direction": direction.to_dict(), "max_depth": max_depth, "sensor": sensor,
            "hide_emitters": hide_emitters, "overrides": dict(overrides or {}),
        }  # fmt: skip

        def build() -> mi.Scene:
            return load_scene(scene, overrides, float_textures=[direction.key])

        loaded = build()
        stem = Path(scene).resolve().parent.name if Path(scene).name == "scene.xml" else Path(scene).stem
        stem += "".join(f" {name}={value}" for name, value in (overrides or {}).items())
    else:
        origin, build, loaded, stem = {}, (lambda: scene), scene, "scene"
    description = str(loaded.integrator())
    has_media = "Medium[" in str(loaded)
    return Case(
        build=build,
        direction=direction,
        name=f"{stem} {direction.label}",
        max_depth=max_depth if max_depth is not None else _depth_of(description),
        reference=("volpath" if has_media else "path") + (":hide_emitters=true" if hide_emitters else ""),
        sensor=sensor,
        origin=origin,
    )


def case_from_origin(origin: dict) -> Case:
    """The inverse of ``Case.origin``, in another process."""
    if "suite" in origin:
        return suite_cases(origin["suite"], origin["case"])[0]
    return scene_case(
        origin["scene"],
        Perturbation.from_dict(origin["direction"]),
        overrides=origin["overrides"],
        max_depth=origin["max_depth"],
        sensor=origin["sensor"],
        hide_emitters=origin["hide_emitters"],
    )


def _depth_of(description: str) -> int:
    """The path length that an integrator's description states; -1 (unlimited) if it states none."""
    match = re.search(r"max_depth = (-?\d+)", description)
    depth = int(match.group(1)) if match else -1
    return -1 if depth >= 2**31 - 1 else depth


def file_name(text: str) -> str:
    """A label as a file name."""
    return re.sub(r"[^A-Za-z0-9_.,=+-]+", "_", text).strip("_")
