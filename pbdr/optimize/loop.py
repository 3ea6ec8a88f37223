"""The optimization loop: views, loss, gradients, finite check, step, bounds, record."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError, NonFiniteError
from ..seeds import derive_seed
from . import optimizers
from .meshes.run import remesh_due
from .problem import Problem, View
from .record import Record, json_text, write_text

#: Steps with a non-finite loss or gradient that may follow each other before a run ends
NON_FINITE_LIMIT = 3

Progress = Callable[["Step"], None]


@dataclasses.dataclass(frozen=True)
class Step:
    """What one step did, for progress displays and histories."""

    index: int  #: counted from 0
    count: int  #: steps of the whole run
    loss: float
    seconds: float  #: of this step
    problem: str  #: empty, or what was not finite


@dataclasses.dataclass(frozen=True)
class Result:
    """The outcome of a run."""

    loss_initial: float  #: with many samples, before the first step
    loss_final: float  #: with many samples, after the last step
    steps: int
    seconds: float
    parameters: dict[str, dict]  #: key → initial, final, and true with error where the job states the truth
    values: dict[str, np.ndarray]  #: key → final numbers in the parameter's shape
    folder: Path | None  #: run folder, if there is one
    meshes: dict[str, dict]  #: id → vertices, triangles, and how many triangles are flipped, degenerate, …

    def to_dict(self) -> dict:
        """As JSON data."""
        return {
            "loss_initial": self.loss_initial,
            "loss_final": self.loss_final,
            "steps": self.steps,
            "seconds": self.seconds,
            "parameters": self.parameters,
            **({"meshes": self.meshes} if self.meshes else {}),
        }


def optimize(
    problem: Problem,
    *,
    steps: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Recover the parameters of a problem.

    Args:
        problem: What is unknown, and the images to match.
        steps: Overrides the job's number of steps.
        out: Run folder for history, images, checkpoints, the recovered scene and a report.
        resume: Go on from the folder's last checkpoint.
        overwrite: Replace what an earlier run left in the folder.
        progress: Called after every step.

    Raises:
        NonFiniteError: Loss or gradient was not finite three times in a row; the last good checkpoint is kept.
        KeyboardInterrupt: Ctrl-C, after a checkpoint was written.

    Example:
        >>> result = pbdr.optimize(pbdr.Problem.from_job("cornell_box"), steps=20)
        >>> result.parameters["metal.alpha.value"]["final"]
    """
    if steps is not None:
        if steps < 1:
            raise InputError(f"'steps' must be at least 1, got {steps}")
        problem = dataclasses.replace(problem, job=problem.job.model_copy(update={"steps": steps}))
    if resume and out is None:
        raise InputError("'resume' needs the run folder 'out'")
    run = _Run(problem, progress)
    if out is None:
        return run.run(resume)
    run.record = Record(Path(out), problem.job, _images(problem), resume=resume, overwrite=overwrite)
    try:
        return run.run(resume)
    finally:
        run.record.close()


def _images(problem: Problem) -> dict[str, np.ndarray]:
    """Targets and masks by name."""
    images = {f"target of {view.name}": np.array(view.target) for view in problem.views}
    return images | {f"mask of {view.name}": np.array(view.mask) for view in problem.views if view.mask is not None}


class _Run:
    """The state of one optimization."""

    def __init__(self, problem: Problem, progress: Progress | None):
        # An earlier run may have left other triangles in the scene
        self.problem = problem.with_meshes(problem.meshes) if problem.meshes else problem
        self.progress = progress
        self.record: Record | None = None
        self.optimizer = optimizers.make(problem.job.optimizer, problem.variables)
        self.step = 0
        self.seconds = 0.0
        self.loss_initial = float("nan")
        self.failures = 0
        self.saved = 0.0

    # ------------------------------------------------------------------- flow

    def run(self, resume: bool) -> Result:
        """All steps, from the beginning or from a checkpoint."""
        start = time.perf_counter()
        if not (resume and self._restore()):
            self.loss_initial = self._evaluate("before")
            self._save()
        if self.record:
            self.record.keep_history(self.step)
        base = self.seconds - (time.perf_counter() - start) if resume else 0.0
        try:
            while self.step < self.problem.job.steps:
                self.problem = remesh_due(self.problem, self.optimizer, self.step)
                done = self._take_step()
                if self.progress:
                    self.progress(done)
                self.seconds = base + time.perf_counter() - start
                if time.perf_counter() - self.saved > self.problem.job.output.checkpoint_seconds:
                    self._save()
        except KeyboardInterrupt:
            self._save()
            raise
        self.seconds = base + time.perf_counter() - start
        self._save()
        loss_final = self._evaluate("after")
        result = self._result(loss_final)
        if self.record:
            self._finish(result)
        return result

    def _take_step(self) -> Step:
        """One step with its line in the history, or nothing at all: Ctrl-C must not leave half a step."""
        before = dict(self.optimizer.state)
        try:
            done = self._advance()
            self._note(done)
            self.step += 1
        except KeyboardInterrupt:
            self.optimizer.state.update(before)
            raise
        return done

    def _advance(self) -> Step:
        """Change the variables, unless loss or gradient is not finite."""
        began, problem = time.perf_counter(), self.problem
        loss, flaw = self._differentiate()
        if flaw:
            self.failures += 1
            if self.failures >= NON_FINITE_LIMIT:
                raise NonFiniteError(
                    f"step {self.step}: {flaw}; {NON_FINITE_LIMIT} steps in a row were not finite, so the run ends at "
                    "its last good checkpoint"
                )
        else:
            self.failures = 0
            optimizers.set_learning_rates(self.optimizer, problem.variables, self._decay())
            optimizers.step(self.optimizer, problem.variables)
            for variable in problem.variables:
                self.optimizer[variable.key] = variable.project(self.optimizer[variable.key])
        return Step(self.step, problem.job.steps, loss, time.perf_counter() - began, flaw)

    def _differentiate(self) -> tuple[float, str]:
        """Loss and gradients of all views at the current variables, and what was not finite, if anything."""
        problem, job = self.problem, self.problem.job
        for variable in problem.variables:
            dr.set_grad(self.optimizer[variable.key], 0)
        checks = []
        for index, view in enumerate(problem.views):
            self._write_scene()
            image = mi.render(
                problem.scene,
                problem.parameters,
                sensor=view.sensor,
                integrator=problem.integrator,
                spp=job.spp,
                spp_grad=job.spp_gradient or job.spp,
                seed=self._seed("primal", index),
                seed_grad=self._seed("gradient", index),
            )
            loss = self._loss(image, view) / len(problem.views)
            dr.backward(loss)
            sums = [dr.sum(dr.ravel(dr.grad(self.optimizer[v.key]))) for v in problem.variables]
            checks += [dr.detach(loss).array, *sums]
        checks += self._regularize()
        # One look at numbers for the whole step
        table = np.array(dr.concat([mi.Float(x) for x in checks])).reshape(-1, 1 + len(problem.variables))
        return float(table[: len(problem.views), 0].sum()), self._flaw(table)

    def _regularize(self) -> list[mi.Float]:
        """Add the gradients of priors; a row for the finite check where there are any."""
        penalties = [mesh.penalty(self.optimizer[mesh.variable.key]) for mesh in self.problem.meshes]
        penalties = [penalty for penalty in penalties if penalty is not None]
        if not penalties:
            return []
        penalty = sum(penalties)
        dr.backward(penalty)
        return [dr.detach(penalty), *(dr.sum(dr.ravel(dr.grad(self.optimizer[v.key]))) for v in self.problem.variables)]

    def _decay(self) -> float:
        """Factor of all learning rates: 1, then in the last third exponentially to the job's last one.

        Small steps at the end average the noise of the gradients out.
        """
        job = self.problem.job
        third = job.steps / 3
        return job.learning_rate_final ** max(0.0, (self.step - 2 * third) / third)

    def _flaw(self, table: np.ndarray) -> str:
        """The first view and parameter whose numbers are not finite."""
        sources = [f"view '{view.name}'" for view in self.problem.views] + ["the regularization"]
        for row, source in zip(table, sources, strict=False):
            if not np.isfinite(row[0]):
                return f"the loss of {source} is {row[0]}"
            for value, variable in zip(row[1:], self.problem.variables, strict=True):
                if not np.isfinite(value):
                    return f"the gradient of parameter '{variable.key}' in {source} is not finite"
        return ""

    def _write_scene(self) -> None:
        """Apply the variables anew: a backward pass consumes the graph between variable and scene."""
        self.problem.write_scene(self.optimizer)

    def _loss(self, image: mi.TensorXf, view: View) -> mi.TensorXf:
        image = image[..., :3]
        values = self.problem.loss(image, view.target)
        if view.mask is None:
            return dr.mean(values, axis=None)
        weights = view.mask + dr.zeros(mi.TensorXf, values.shape)
        return dr.sum(values * weights, axis=None) / dr.sum(weights, axis=None)

    def _seed(self, label: str, view: int) -> mi.UInt32:
        """Opaque, so that no kernel is compiled again for the next step."""
        return dr.opaque(mi.UInt32, derive_seed(self.problem.job.seed, label, self.step, view))

    # ----------------------------------------------------------------- record

    def _evaluate(self, label: str) -> float:
        """Loss with many samples; writes the images if there is a folder."""
        problem, total = self.problem, 0.0
        with dr.suspend_grad():
            self._write_scene()
            for index, view in enumerate(problem.views):
                seed = dr.opaque(mi.UInt32, derive_seed(problem.job.seed, "evaluation", label, index))
                image = mi.render(
                    problem.scene,
                    sensor=view.sensor,
                    integrator=problem.integrator,
                    spp=problem.job.spp_evaluation,
                    seed=seed,
                )
                total += float(np.array(self._loss(image, view)).ravel()[0]) / len(problem.views)
                if self.record:
                    self.record.write_image(f"{label}_{view.name}", image)
                    if label == "before":
                        self.record.write_image(f"target_{view.name}", view.target)
        return total

    def _note(self, step: Step) -> None:
        job = self.problem.job
        if self.record:
            values = {v.key: v.summary(v.values(self.optimizer[v.key])) for v in self.problem.variables}
            line = {"step": step.index, "loss": step.loss, "seconds": step.seconds, "parameters": values}
            if self.problem.meshes and job.output.health_every and step.index % job.output.health_every == 0:
                line["meshes"] = self._health()
            self.record.append(line | ({"problem": step.problem} if step.problem else {}))
            if job.output.image_every and step.index % job.output.image_every == 0:
                with dr.suspend_grad():
                    view = self.problem.views[0]
                    image = mi.render(
                        self.problem.scene,
                        sensor=view.sensor,
                        integrator=self.problem.integrator,
                        spp=job.spp,
                        seed=self._seed("image", 0),
                    )
                self.record.write_image(f"step_{step.index:05d}_{view.name}", image)

    def _save(self) -> None:
        self.saved = time.perf_counter()
        if not self.record:
            return
        meta = {
            "step": self.step,
            "seconds": self.seconds,
            "loss_initial": self.loss_initial,
            "seed": self.problem.job.seed,
        }
        values = self.problem.scene_values(self.optimizer)
        arrays = {f"value/{key}": array for key, array in values.items()}
        for mesh in self.problem.meshes:
            arrays |= mesh.arrays()
        self.record.save(meta, arrays | optimizers.state_arrays(self.optimizer))

    def _restore(self) -> bool:
        found = self.record.load() if self.record else None
        if found is None:
            return False
        meta, arrays = found
        self.step, self.seconds = meta["step"], meta["seconds"]
        # null: it was not finite
        self.loss_initial = float("nan") if meta["loss_initial"] is None else meta["loss_initial"]
        if self.problem.meshes:
            self.problem = self.problem.with_meshes([mesh.restored(arrays) for mesh in self.problem.meshes])
        optimizers.restore(self.optimizer, arrays)
        return True

    def _health(self) -> dict[str, dict]:
        """What is wrong with the triangles of each mesh."""
        healths = {mesh.name: mesh.health(self.optimizer[mesh.variable.key]) for mesh in self.problem.meshes}
        for name, health in healths.items():
            mi.Log(mi.LogLevel.Info, f"step {self.step}: mesh '{name}': {health}")
        return {name: dataclasses.asdict(health) for name, health in healths.items()}

    def _result(self, loss_final: float) -> Result:
        parameters, values = {}, {}
        for variable in self.problem.variables:
            final = variable.values(self.optimizer[variable.key])
            values[variable.key] = final
            entry = {"initial": variable.summary(variable.initial), "final": variable.summary(final)}
            if variable.truth is not None:
                entry["true"] = variable.summary(variable.truth)
                entry["error"] = variable.error(final, variable.truth)
            if variable.unit:
                entry["unit"] = variable.unit
            parameters[variable.key] = entry
        for mesh in self.problem.meshes:
            values |= mesh.scene_values(self.optimizer[mesh.variable.key])
        folder = self.record.folder if self.record else None
        return Result(
            self.loss_initial, loss_final, self.step, self.seconds, parameters, values, folder, self._health()
        )

    def _finish(self, result: Result) -> None:
        """Write what a reader of the run looks for."""
        from .report import write_report

        folder = self.record.folder
        write_text(folder / "result.json", json_text(result.to_dict(), indent=2))
        write_report(folder)
        if self.problem.job.scene:
            self._export(self.problem.scene_values(self.optimizer), folder / "scene")

    def _export(self, values: dict[str, np.ndarray], folder: Path) -> None:
        """Write the recovered scene; a scene that has no place in XML does not cost the run its result."""
        from .export import export_scene

        try:
            export_scene(self.problem.scene, Path(self.problem.job.scene), {}, values, folder)
        except InputError as error:
            (folder / "scene.xml").unlink(missing_ok=True)
            mi.Log(mi.LogLevel.Warn, f"the recovered scene is not written: {error}")
