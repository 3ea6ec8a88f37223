"""Five inverse problems, solved by plain Mitsuba scripts and with pbdr: lines, and seconds to an error.

python benchmarks/inverse/run.py [--problems material,pose] [--seeds 5] [--limit 60] [--write]
python benchmarks/inverse/run.py --tune [--problems material,pose]

Both begin with the same scene file, guess and photographs; a plain script is what somebody writes who knows Mitsuba
well. Runs are interleaved. Loading the scene and compiling count, looking at the error does not; large parameters that
pbdr shows are older by one step. With five seeds and nothing else running, material, texture and light take a minute
or two each, pose five, shape eight.

``--tune`` looks for better settings of the plain scripts instead: every guiding where there is one, then other learning
rates, then fewer samples, each time going on with what reached a tenth of the initial error in the least processor
time, which other programs on the machine hardly change. What it prints last belongs into the scripts.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import inspect
import json
import sys
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
from pbdr.optimize.outcome import Step
from pbdr.optimize.parameters import LARGE

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


class TooLong(Exception):
    """A run has taken longer than it may."""


class Watch:
    """A stopwatch that stands still while values are looked at.

    Args:
        clock: Seconds since some time.
        limit: Seconds after which it raises :class:`TooLong`.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, limit: float = np.inf):
        self.seen: list[tuple[float, Values]] = []
        self._clock, self._limit = clock, limit
        self._began = clock()

    def __call__(self, values: Mapping[str, object]) -> None:
        """Note values, once they are computed."""
        arrays = {key: np.array(value, np.float64).ravel() for key, value in values.items()}
        now = self._clock()
        self.seen.append((now - self._began, arrays))
        if now - self._began > self._limit:
            raise TooLong
        self._began += self._clock() - now


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


def run_plain(case: Case, seed: int, watch: Watch, settings: Mapping | None = None) -> None:
    """One run of the plain script, with its own settings or others."""
    module, settings = script(case, "plain"), dict(settings or {})
    if "guiding" in settings:
        module.GUIDING = settings.pop("guiding")
    module.solve(SCENES / case.scene, seed, watch, **settings)


def run_pbdr(case: Case, seed: int, watch: Watch) -> None:
    """One run of pbdr's job."""
    # Nobody looks at pictures here
    quiet = {"spp_evaluation": 1, "output": {"image_every": 0}}
    problem = script(case, "with_pbdr").problem(SCENES / case.scene, seed=seed, **quiet)

    # Small parameters are told whole, as they are after the step; what the scene holds is older by one
    are_told = set(case.keys) <= {v.key for v in problem.variables if np.prod(v.shape) <= LARGE}

    def look(step: Step) -> None:
        whole = step.parameters if are_told else problem.parameters
        watch({key: whole[key] for key in case.keys})

    pbdr.optimize(problem, progress=look)


def reach(watch: Watch, error: Callable[[Values], float], first: float) -> dict[str, float]:
    """Seconds to each fraction of the first error, seconds in all, and the last error."""
    errors = [error(values) / first for _, values in watch.seen]
    seconds = [t for t, _ in watch.seen]
    found = {f"{f:g}": next((t for t, e in zip(seconds, errors, strict=True) if e <= f), np.inf) for f in FRACTIONS}
    return found | {"seconds": seconds[-1], "final": errors[-1]}


def tune(case: Case, error: Callable[[Values], float], first: float) -> None:
    """Look for settings with which the plain script is faster, one after the other."""
    module = script(case, "plain")
    spp = inspect.signature(module.solve).parameters["spp"].default
    with contextlib.suppress(TooLong):
        run_plain(case, 1000, Watch(limit=0))  # compiles
    best, least = {}, np.inf

    def attempt(**change: object) -> bool:
        nonlocal best, least
        # Later it cannot be the best any more
        settings, watch = {**best, **change}, Watch(time.process_time, least)
        with contextlib.suppress(TooLong):
            run_plain(case, 1000, watch, settings)
        found = reach(watch, error, first)
        print(f"    {case.name} {json.dumps(settings)}: {_line([found])}", flush=True)
        took = found["0.1"] if np.isfinite(found["0.1"]) else found["seconds"] * (1 + found["final"])
        gc.collect()
        if took > 0.95 * least:
            return False
        best, least = settings, took
        return True

    attempt()
    for guiding in ("grid", "octree") if hasattr(module, "GUIDING") else ():
        attempt(guiding=guiding)
    for factor in (2.0, 0.5):
        rate = factor
        while attempt(rate=rate):
            rate *= factor
        if "rate" in best:
            break
    fewer = spp // 2
    while fewer and attempt(spp=fewer):
        fewer //= 2
    print(f"{case.name}: {json.dumps(best)}", flush=True)


def lines_of(folder: str, case: Case) -> int:
    """Lines that somebody has to write: no comments, docstrings or blank lines."""
    text = (HERE / folder / f"{case.name}.py").read_text(encoding="utf-8")
    return sum(1 for line in map(str.strip, text.splitlines()) if line and not line.startswith(("#", '"""')))


def first_error(case: Case, error: Callable[[Values], float]) -> float:
    """Error of the guess."""
    problem = script(case, "with_pbdr").problem(SCENES / case.scene)
    return error({key: np.array(problem.parameters[key], np.float64).ravel() for key in case.keys})


def _line(rows: list[dict]) -> str:
    def number(value: float) -> str:
        return f"{value:.3g}" if np.isfinite(value) else "not reached"

    def middle(key: str) -> str:
        values = [row[key] for row in rows]
        if np.isinf(values).all():
            return number(np.inf)
        return f"{number(np.median(values))} ({number(min(values))}–{number(max(values))})"

    return " | ".join(middle(key) for key in [*(f"{f:g}" for f in FRACTIONS), "seconds", "final"])


def rows_of(case: Case, error: Callable[[Values], float], first: float, seeds: int, limit: float) -> list[str]:
    """Two lines of the table.

    Args:
        limit: Seconds after which a run is given up.
    """
    found: dict[str, list] = {"plain": [], "pbdr": []}
    # The first round compiles; its kernels are cached for all others
    for seed in range(-1, seeds):
        for by, run in {"plain": run_plain, "pbdr": run_pbdr}.items():
            watch = Watch(limit=limit)
            with contextlib.suppress(TooLong):
                run(case, seed + 1, watch)
            row = reach(watch, error, first)
            found[by] += [row] if seed >= 0 else []
            gc.collect()
    lines = {"plain": lines_of("plain", case), "pbdr": lines_of("with_pbdr", case)}
    return [f"| {case.name} | {by} | {lines[by]} | {_line(rows)} |" for by, rows in found.items()]


def main() -> None:
    """Print a table, two lines a problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default="", help="names with commas between; default all")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each")
    parser.add_argument("--limit", type=float, default=np.inf, help="seconds after which a run is given up")
    parser.add_argument("--tune", action="store_true", help="look for the plain scripts' best settings")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    if options.write and (options.problems or options.tune):
        parser.error("--write needs all problems, and no --tune")
    mi.set_variant("llvm_ad_rgb")
    mi.set_log_level(mi.LogLevel.Error)
    wanted = options.problems.split(",") if options.problems else [case.name for case in cases()]
    if unknown := set(wanted) - {case.name for case in cases()}:
        raise InputError(f"--problems: {', '.join(sorted(unknown))} do not exist")
    lines = [
        "| problem | by | lines | s to half | s to a tenth | s in all | last error, share of the first |",
        "| --- | --- | --: | --: | --: | --: | --: |",
    ]
    print(*([] if options.tune else lines), sep="\n", flush=True)
    for case in cases():
        if case.name not in wanted:
            continue
        error = error_of(case, case.truth(case.scene))
        first = first_error(case, error)
        if options.tune:
            tune(case, error, first)
            continue
        began = time.perf_counter()
        rows = rows_of(case, error, first, options.seeds, options.limit)
        print(*rows, f"({case.name} took {time.perf_counter() - began:.0f} s)", sep="\n", flush=True)
        lines += rows
    if options.write:
        sys.path.append(str(HERE.parent / "step"))
        import table

        table.write("run.py", lines)


if __name__ == "__main__":
    main()
