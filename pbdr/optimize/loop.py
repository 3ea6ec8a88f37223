"""The optimization loop: views, loss, gradients, finite check, step, bounds, record."""

from __future__ import annotations

import dataclasses
import numbers
import time
from collections.abc import Sequence
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError, NonFiniteError, unwrapped
from ..seeds import derive_seed
from . import optimizers
from .control import Control
from .gradients import differentiate
from .grids import refine_due, with_levels
from .meshes.run import remesh_due, write_meshes
from .outcome import Progress, Result, Step
from .problem import Problem
from .record import Record, json_text, write_text
from .schedules import BEGIN, UNIFORM_BEGIN, rate_factor
from .second_order import make_method
from .symptoms import Symptoms, ambiguities, never_due
from .views.order import lines_of_sight
from .views.pictures import evaluated_pictures
from .watching import TensorBoard, WeightsAndBiases, require_extras

#: Steps with a non-finite loss or gradient that may follow each other before a run ends
NON_FINITE_LIMIT = 3


def optimize(
    problem: Problem,
    *,
    steps: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | Sequence[Progress] | None = None,
    keep_interrupted: bool = False,
) -> Result:
    """Recover the parameters of a problem.

    Args:
        problem: What is unknown, and the images to match.
        steps: Overrides the job's number of steps.
        out: Run folder for history, images, checkpoints, the recovered scene and a report.
        resume: Go on from the folder's last checkpoint.
        overwrite: Replace what an earlier run left in the folder.
        progress: Called after every step: a function, or several, e.g. from :mod:`pbdr.optimize.watching`.
        keep_interrupted: Return what was recovered so far after Ctrl-C, e.g. in a notebook.

    Raises:
        NonFiniteError: Loss or gradient was not finite three times in a row; the last good checkpoint is kept.
        KeyboardInterrupt: Ctrl-C, after a checkpoint was written, unless ``keep_interrupted``.

    Example:
        >>> result = pbdr.optimize(pbdr.Problem.from_job("cornell_box"), steps=20)
        >>> result.parameters["metal.alpha.value"]["final"]
    """
    if not isinstance(problem, Problem):
        raise InputError(
            f"a {type(problem).__name__} is no problem: pbdr.Problem.from_job(…) or from_scene(…) makes one"
        )
    if steps is not None:
        if not isinstance(steps, numbers.Integral) or steps < 1:
            raise InputError(f"'steps' must be a whole number of at least 1, got {steps!r}")
        problem = dataclasses.replace(problem, job=problem.job.model_copy(update={"steps": steps}))
    if resume and out is None:
        raise InputError("'resume' needs the run folder 'out'")
    callbacks = [progress] if callable(progress) else list(progress or [])
    run = _Run(problem, callbacks, keep_interrupted=keep_interrupted)
    if out is None:
        with unwrapped():
            return run.run(resume)
    require_extras(problem.job.output)
    run.record = Record(Path(out), problem.job, _images(problem), resume=resume, overwrite=overwrite)
    try:
        run.callbacks = [*callbacks, *_watchers(problem, run.record.folder)]
        with unwrapped():
            return run.run(resume)
    finally:
        run.record.close()


def _watchers(problem: Problem, folder: Path) -> list[Progress]:
    """What the job wants to look on."""
    output = problem.job.output
    watchers = [TensorBoard(folder / "tensorboard")] if output.tensorboard else []
    return watchers + ([WeightsAndBiases(project=output.wandb, dir=str(folder))] if output.wandb else [])


def _images(problem: Problem) -> dict[str, np.ndarray]:
    """Targets and masks by name."""
    images = {f"target of {view.name}": np.array(view.target) for view in problem.views}
    for view in problem.views:
        others = {"mask": view.mask, "depth": view.depth, "normals": view.normals, "alpha": view.alpha}
        images |= {f"{what} of {view.name}": np.array(image) for what, image in others.items() if image is not None}
    return images


class _Run:
    """The state of one optimization."""

    def __init__(self, problem: Problem, callbacks: Sequence[Progress] = (), *, keep_interrupted: bool = False):
        # An earlier run may have left other triangles in the scene
        self.problem = problem.with_meshes(problem.meshes) if problem.meshes else problem
        self.callbacks, self.keep_interrupted = callbacks, keep_interrupted
        self.symptoms = Symptoms()
        self.is_interrupted = False
        self.record: Record | None = None
        self.optimizer = optimizers.make(problem.job.optimizer, problem.variables)
        self.control = Control(problem.job, lines_of_sight([view.sensor for view in problem.views]))
        self.method = make_method(problem)
        self.step = 0
        self.seconds = 0.0
        self.loss_initial = float("nan")
        self.failures = 0
        self.saved = 0.0

    # ------------------------------------------------------------------- flow

    def run(self, resume: bool) -> Result:
        """All steps, from the beginning or from a checkpoint."""
        for note in [*ambiguities(self.problem), *never_due(self.problem, self.problem.job.steps)]:
            mi.Log(mi.LogLevel.Info, note)
        start = time.perf_counter()
        if not (resume and self._restore()):
            self.loss_initial = self._evaluate("before")
            self._save()
        if self.record:
            self.record.keep_history(self.step)
        base = self.seconds - (time.perf_counter() - start) if resume else 0.0
        try:
            while not self._end():
                self._refine()
                done = self._take_step()
                for callback in self.callbacks:
                    callback(done)
                self.seconds = base + time.perf_counter() - start
                if time.perf_counter() - self.saved > self.problem.job.output.checkpoint_seconds:
                    self._save()
        except KeyboardInterrupt:
            self._save()
            if not self.keep_interrupted:
                raise
            self.is_interrupted = True
        finally:
            for callback in self.callbacks:
                if close := getattr(callback, "close", None):
                    close()
        self.seconds = base + time.perf_counter() - start
        self._save()
        loss_final = self._evaluate("after")
        result = self._result(loss_final)
        if self.record:
            self._finish(result)
        return result

    def _refine(self) -> None:
        """Take the triangles and texels that are due."""
        before = self.problem
        self.problem = remesh_due(self.problem, self.optimizer, self.step)
        self.problem = refine_due(self.problem, self.optimizer, self.step)
        if self.method and self.problem is not before:
            self.method.forget()

    def _take_step(self) -> Step:
        """One step with its line in the history, or nothing at all: Ctrl-C must not leave half a step."""
        before, method = dict(self.optimizer.state), dict(self.method.state) if self.method else {}
        try:
            with unwrapped():
                done = self._note(self._advance())
            self.step += 1
        except KeyboardInterrupt:
            self.optimizer.state.update(before)
            if self.method:
                self.method.state = method
            raise
        return done

    def _advance(self) -> Step:
        """Change the variables, unless loss or gradient is not finite."""
        began, problem, notes = time.perf_counter(), self.problem, []
        spp = self.control.spp(self.step)
        views = self.control.views(self.step)
        if self.method:
            loss, flaw = self.method.advance(problem, self.optimizer, views, spp, self._seed, self.step)
        else:
            loss, flaw = differentiate(problem, self.optimizer, views, spp, self._seed)
        if flaw:
            self.failures += 1
            if self.failures >= NON_FINITE_LIMIT:
                raise NonFiniteError(
                    f"step {self.step}: {flaw}; {NON_FINITE_LIMIT} steps in a row were not finite, so the run ends at "
                    "its last good checkpoint"
                )
        elif self.method:
            self.failures = 0
            self.control.observe(loss, {})
        else:
            self.failures = 0
            gradients = {v.key: dr.ravel(dr.grad(self.optimizer[v.key])) for v in problem.variables}
            if change := self.control.observe(loss, gradients):
                notes.append(change)
            optimizers.set_learning_rates(self.optimizer, problem.variables, self._rate_factors())
            optimizers.step(self.optimizer, problem.variables)
            for variable in problem.variables:
                self.optimizer[variable.key] = variable.project(self.optimizer[variable.key])
            notes += self.symptoms.after_step(problem, self.optimizer, gradients)
        for note in notes:
            mi.Log(mi.LogLevel.Info, f"step {self.step}: {note}")
        return Step(self.step, problem.job.steps, loss, time.perf_counter() - began, flaw, spp, tuple(notes))

    def _rate_factors(self) -> dict[str, float]:
        """Factor of each variable's learning rate."""
        problem, job = self.problem, self.problem.job
        progress = self.step / job.steps
        if job.minutes is not None:
            # Rates fall in time even if the time ends before the steps
            progress = max(progress, min(1.0, self.seconds / (60 * job.minutes)))
        factors = {}
        for variable in problem.variables:
            entry = problem.schedules.get(variable.key, job.schedule)
            begin = UNIFORM_BEGIN if variable.is_uniform else BEGIN
            factors[variable.key] = rate_factor(entry, self.step, progress, job.learning_rate_final, begin=begin)
        return factors

    def _end(self) -> str:
        """Why the run is over; empty if it is not."""
        minutes = self.problem.job.minutes
        if self.step >= self.problem.job.steps:
            return "steps"
        if self.is_interrupted:
            return "interrupted"
        if minutes is not None and self.seconds >= 60 * minutes:
            return "minutes"
        is_stuck = self.method is not None and self.method.is_stuck and not self._changes_later()
        return "plateau" if is_stuck or self.control.is_plateau() else ""

    def _changes_later(self) -> bool:
        """Whether triangles, texels or samples become more in this step or a later one."""
        problem = self.problem
        steps = [wanted.step for mesh in problem.meshes for wanted in mesh.entry.remesh]
        steps += [at for refinement in problem.refinements for at in refinement.steps]
        return any(step >= self.step for step in [*steps, *(at for at, _ in problem.job.sampling.at)])

    def _seed(self, label: str, view: int, step: int | None = None) -> mi.UInt32:
        """Of this step, or another one; opaque, so that no kernel is compiled again for the next step."""
        step = self.step if step is None else step
        return dr.opaque(mi.UInt32, derive_seed(self.problem.job.seed, label, step, view))

    # ----------------------------------------------------------------- record

    def _evaluate(self, label: str) -> float:
        """Loss with many samples; writes the images if there is a folder."""
        problem, total = self.problem, 0.0
        with dr.suspend_grad():
            problem.write_scene(self.optimizer)
            for index, view in enumerate(problem.views):

                def seed(purpose: str, index: int = index) -> mi.UInt32:
                    return dr.opaque(mi.UInt32, derive_seed(problem.job.seed, purpose, label, index))

                pictures = evaluated_pictures(problem, view, self.optimizer, problem.job.spp_evaluation, seed)
                total += float(np.array(problem.objective(pictures)).ravel()[0]) / len(problem.views)
                if self.record:
                    renderings = pictures["image"].renderings
                    self.record.write_image(f"{label}_{view.name}", sum(renderings) / len(renderings))
                    if label == "before":
                        self.record.write_image(f"target_{view.name}", view.target)
        return total

    def _note(self, step: Step) -> Step:
        """Write the step's line in the history; returns it with what callbacks want to see."""
        if not self.record and not self.callbacks:
            return step
        job, images = self.problem.job, None
        values = {v.key: v.summary(v.values(self.optimizer[v.key])) for v in self.problem.variables}
        if job.output.image_every and step.index % job.output.image_every == 0:
            view = self.problem.views[0]
            with dr.suspend_grad():
                pictures = evaluated_pictures(
                    self.problem, view, self.optimizer, job.spp, lambda label: self._seed(f"image {label}", 0)
                )
            images = np.array(pictures["image"].renderings[0]), np.array(view.target)
        if self.record:
            line = {"step": step.index, "loss": step.loss, "seconds": step.seconds, "parameters": values}
            line |= {"spp": step.spp} if job.sampling.type != "constant" else {}
            line |= {"problem": step.problem} if step.problem else {}
            line |= {"notes": step.notes} if step.notes else {}
            if self.problem.meshes and job.output.health_every and step.index % job.output.health_every == 0:
                line["meshes"] = self._health()
            self.record.append(line)
            if images:
                self.record.write_image(f"step_{step.index:05d}_{self.problem.views[0].name}", images[0])
        return dataclasses.replace(step, parameters=values, images=images)

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
        arrays |= self.control.arrays() | (self.method.arrays() if self.method else {})
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
        if self.problem.refinements and self.step:
            # The next level, if one is due, begins with the next step
            self.problem = with_levels(self.problem, self.step - 1)
        optimizers.restore(self.optimizer, arrays)
        self.control.restore(arrays)
        if self.method:
            self.method.restore(arrays)
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
            loss_initial=self.loss_initial,
            loss_final=loss_final,
            steps=self.step,
            seconds=self.seconds,
            parameters=parameters,
            values=values,
            folder=folder,
            end=self._end(),
            meshes=self._health(),
        )

    def _finish(self, result: Result) -> None:
        """Write what a reader of the run looks for."""
        from .report import write_report

        folder = self.record.folder
        write_text(folder / "result.json", json_text(result.to_dict(), indent=2))
        write_report(folder)
        if self.problem.job.scene:
            self._export(self.problem.scene_values(self.optimizer), folder / "scene")
        else:
            write_meshes(self.problem, folder / "scene" / "meshes")

    def _export(self, values: dict[str, np.ndarray], folder: Path) -> None:
        """Write the recovered scene; a scene that has no place in XML does not cost the run its result."""
        from .export import export_scene

        job = self.problem.job
        try:
            export_scene(self.problem.scene, Path(job.scene), job.scene_parameters, values, folder)
        except InputError as error:
            (folder / "scene.xml").unlink(missing_ok=True)
            mi.Log(mi.LogLevel.Warn, f"the recovered scene is not written: {error}")
