"""Five inverse problems, solved by plain Mitsuba scripts and with pbdr: lines, and seconds to an error.

python benchmarks/inverse/run.py [--problems material,pose] [--seeds 5] [--tune]

Both begin with the same scene file, guess and photographs and take equally many steps at equal learning rates; a plain
script is what somebody writes who knows Mitsuba well. ``--tune`` first tries each plain script with half and twice the
learning rate, half the samples, and every guiding where it has one, and goes on with what reached a tenth of the
initial error soonest. Runs are interleaved. Loading the scene and compiling count, looking at the error does not; what
pbdr shows is older by one step.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import mitsuba as mi
import numpy as np

import pbdr
from pbdr.errors import InputError
from pbdr.optimize.meshes.remeshing import surface_distance

HERE = Path(__file__).resolve().parent
SCENES = HERE.parents[1] / "scenes"
FRACTIONS = (0.5, 0.1)

#: Scene parameters by key
Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A problem with a known answer."""

    name: str
    scene: str  #: a bundled one, with photographs and a job that states what is true
    keys: tuple[str, ...]
    truth: Callable[[str], Values]  #: of the scene


class Watch:
    """A stopwatch that stands still while values are looked at."""

    def __init__(self):
        self.seen: list[tuple[float, Values]] = []
        self._began = time.perf_counter()

    def __call__(self, values: Mapping[str, object]) -> None:
        """Note values, once they are computed."""
        arrays = {key: np.array(value, np.float64).ravel() for key, value in values.items()}
        now = time.perf_counter()
        self.seen.append((now - self._began, arrays))
        self._began += time.perf_counter() - now


def stated(job: str) -> Values:
    """What a job says is true."""
    problem = pbdr.Problem.from_job(job)
    return {v.key: np.asarray(v.truth, np.float64).ravel() for v in problem.variables}


def posed(job: str) -> Values:
    """Where the vertices of the teapot truly are."""
    problem = pbdr.Problem.from_job(job)
    problem.write_scene({v.key: v.latent(v.truth) for v in problem.variables})
    return {key: np.array(problem.parameters[key], np.float64) for key in ("teapot.vertex_positions",)}


def nothing(job: str) -> Values:
    """For surfaces whose vertices do not correspond."""
    return {}


def cases() -> list[Case]:
    """All problems."""
    material = (
        "wall_left.brdf_0.reflectance.value", "wall_right.brdf_0.reflectance.value",
        "metal.alpha.value", "panel.emitter.radiance.value",
    )  # fmt: skip
    return [
        Case("material", "cornell_box", material, stated),
        Case("texture", "textured_wall", ("wall.bsdf.reflectance.data",), stated),
        Case("light", "envmap_probe", ("environment.data",), stated),
        Case("pose", "pose_from_image", ("teapot.vertex_positions",), posed),
        Case("shape", "bunny_like", ("bunny.vertex_positions",), nothing),
    ]


def error_of(case: Case, truth: Values) -> Callable[[Values], float]:
    """Root mean square error, the mean over parameters if there are several, each in units of its range; for the
    shape the mean distance between the surfaces."""
    if truth:
        spread = {key: np.sqrt(np.mean(np.square(t))) for key, t in truth.items()}
        return lambda v: float(np.mean([np.sqrt(np.mean(np.square(v[k] - t))) / spread[k] for k, t in truth.items()]))
    scenes = {
        "bunny": SCENES / case.scene / "meshes" / "bunny.ply",
        "start": SCENES / case.scene / "meshes" / "start.ply",
    }
    true, start = (mi.load_dict({"type": "ply", "filename": str(file)}) for file in scenes.values())
    goal, faces = _triangles(true), _triangles(start)[1]
    return lambda v: surface_distance((v[case.keys[0]].reshape(-1, 3), faces), goal)


def _triangles(mesh: mi.Mesh) -> tuple[np.ndarray, np.ndarray]:
    parameters = mi.traverse(mesh)
    positions = np.array(parameters["vertex_positions"], np.float64).reshape(-1, 3)
    return positions, np.array(parameters["faces"], np.int64).reshape(-1, 3)


def script(case: Case, folder: str) -> ModuleType:
    """A solution of a problem: ``plain`` or ``with_pbdr``."""
    spec = importlib.util.spec_from_file_location(f"{folder}_{case.name}", HERE / folder / f"{case.name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_plain(case: Case, seed: int, settings: Mapping) -> Watch:
    """One run of the plain script."""
    module = script(case, "plain")
    if "guiding" in settings:
        module.GUIDING = settings["guiding"]
    watch = Watch()
    module.solve(SCENES / case.scene, seed, watch, rate=settings.get("rate", 1.0), **settings.get("sampling", {}))
    return watch


def run_pbdr(case: Case, seed: int) -> Watch:
    """One run of pbdr's job."""
    watch = Watch()
    problem = script(case, "with_pbdr").problem(SCENES / case.scene, seed=seed, spp_evaluation=1)
    pbdr.optimize(problem, progress=lambda step: watch({key: problem.parameters[key] for key in case.keys}))
    return watch


def reach(watch: Watch, error: Callable[[Values], float], first: float) -> dict[str, float]:
    """Seconds to each fraction of the first error, seconds in all, and the last error."""
    errors = [error(values) / first for _, values in watch.seen]
    seconds = [t for t, _ in watch.seen]
    found = {f"{f:g}": next((t for t, e in zip(seconds, errors, strict=True) if e <= f), np.inf) for f in FRACTIONS}
    return found | {"seconds": seconds[-1], "final": errors[-1]}


def tuned(case: Case, error: Callable[[Values], float], first: float) -> dict:
    """The settings with which the plain script is fastest."""
    guidings = ("none", "grid", "octree") if hasattr(script(case, "plain"), "GUIDING") else (None,)
    best, time_of_best = {}, np.inf
    for guiding, rate, half in itertools.product(guidings, (1.0, 0.5, 2.0), (False, True)):
        settings: dict = {"rate": rate}
        settings |= {"guiding": guiding} if guiding else {}
        settings |= {"sampling": {"spp": 4}} if half else {}
        if guiding not in (None, "none") and (rate, half) != (1.0, False):
            continue
        found = reach(run_plain(case, 1000, settings), error, first)
        took = found["0.1"] if np.isfinite(found["0.1"]) else 1e3 + found["final"]
        print(f"    {json.dumps(settings)}: {_line([found])}", flush=True)
        if took < time_of_best:
            best, time_of_best = settings, took
        gc.collect()
    return best


def lines_of(folder: str, case: Case) -> int:
    """Lines that somebody has to write: no comments, docstrings or blank lines."""
    text = (HERE / folder / f"{case.name}.py").read_text(encoding="utf-8")
    return sum(1 for line in map(str.strip, text.splitlines()) if line and not line.startswith(("#", '"""')))


def first_error(case: Case, error: Callable[[Values], float]) -> float:
    """Error of the guess."""
    problem = script(case, "with_pbdr").problem(SCENES / case.scene)
    return error({key: np.array(problem.parameters[key], np.float64).ravel() for key in case.keys})


def _line(rows: list[dict]) -> str:
    def middle(key: str) -> str:
        values = [row[key] for row in rows]
        return f"{np.median(values):.3g} ({min(values):.3g}–{max(values):.3g})"

    return " | ".join(middle(key) for key in [*(f"{f:g}" for f in FRACTIONS), "seconds", "final"])


def main() -> None:
    """Print a table, two lines a problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default="", help="names with commas between; default all")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each")
    parser.add_argument("--tune", action="store_true", help="look for the plain script's best settings first")
    options = parser.parse_args()
    mi.set_variant("llvm_ad_rgb")
    mi.set_log_level(mi.LogLevel.Error)
    wanted = options.problems.split(",") if options.problems else [case.name for case in cases()]
    if unknown := set(wanted) - {case.name for case in cases()}:
        raise InputError(f"--problems: {', '.join(sorted(unknown))} do not exist")
    print("| problem | by | lines | s to half | s to a tenth | s in all | last error, share of the first |")
    print("| --- | --- | --: | --: | --: | --: | --: |")
    for case in cases():
        if case.name not in wanted:
            continue
        error = error_of(case, case.truth(case.scene))
        first = first_error(case, error)
        settings = tuned(case, error, first) if options.tune else {}
        rows: dict[str, list] = {"plain": [], "pbdr": []}
        # The first round compiles; its kernels are cached for all others
        for seed in range(-1, options.seeds):
            for by, run in {
                "plain": lambda: run_plain(case, seed + 1, settings),
                "pbdr": lambda: run_pbdr(case, seed + 1),
            }.items():
                found = reach(run(), error, first)
                rows[by] += [found] if seed >= 0 else []
                gc.collect()
        lines = {"plain": lines_of("plain", case), "pbdr": lines_of("with_pbdr", case)}
        chosen = {"plain": f"plain {json.dumps(settings)}" if settings else "plain", "pbdr": "pbdr"}
        for by, found in rows.items():
            print(f"| {case.name} | {chosen[by]} | {lines[by]} | {_line(found)} |", flush=True)


if __name__ == "__main__":
    main()
