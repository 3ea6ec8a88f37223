"""Methods that know about curvature, for few parameters or smooth problems: Gauss–Newton and its kin, L-BFGS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import drjit as dr
import drjit.opt
import mitsuba as mi
import numpy as np
import pydantic

from ..errors import InputError, suggestion
from ..messages import requirement
from .columns import Units, ViewColumns
from .gradients import Seeds, differentiate, sum_of_priors
from .parameters import Variable
from .problem import Problem
from .section import NonNegative, Positive, Section
from .views.pictures import evaluated_pictures

#: Numbers that may be unknown where each costs a derivative image
MOST_COLUMNS = 50
#: Step of the differences that give the curvature of priors, relative to numbers above 1
_DIFFERENCE = 1e-3
_PREFIX = "method/"


class MarquardtOptions(Section):
    """Options of ``levenberg_marquardt``."""

    damping: Positive = 1e-2
    trials: int = pydantic.Field(default=6, ge=1)


class GaussNewtonOptions(Section):
    """Options of ``gauss_newton``."""

    damping: NonNegative = 0.0


class LbfgsOptions(Section):
    """Options of ``lbfgs``."""

    memory: int = pydantic.Field(default=8, ge=1)
    trials: int = pydantic.Field(default=10, ge=1)


class _Method:
    """What the methods share: all variables as one vector."""

    #: Whether further steps would change nothing
    is_stuck = False

    def __init__(self, problem: Problem):
        self.state: dict[str, np.ndarray] = {}
        name = problem.job.optimizer.type
        if problem.memory:
            raise InputError(f"optimizer '{name}' takes neither 'control_variate' nor 'allocation'; use 'adam'")
        if problem.job.sampling.type == "adaptive":
            raise InputError(f"optimizer '{name}' takes no sampling of type 'adaptive'; use 'steps', or 'adam'")
        self.check(problem)

    def check(self, problem: Problem) -> None:
        """Refuse what the method cannot do."""

    def forget(self) -> None:
        """Variables have other sizes from now on."""

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint must hold. See :meth:`restore`."""
        return {_PREFIX + name: value for name, value in self.state.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from :meth:`arrays`."""
        self.state = {name.removeprefix(_PREFIX): arrays[name] for name in arrays if name.startswith(_PREFIX)}


class _LeastSquares(_Method):
    """Steps −(A + λ diag A)⁻¹ b with A = JᵀJ + H/2 and b = Jᵀr + g/2.

    J has a column for each number from forward mode, r are residuals; g and H are the gradient of the priors and the
    part of its derivative that curves upward.
    """

    #: Whether two independent images may share the samples of a step
    crossed = True

    def check(self, problem: Problem) -> None:
        name = problem.job.optimizer.type
        if problem.meshes:
            raise InputError(
                f"optimizer '{name}' does not know meshes, such as '{problem.meshes[0].name}'; use 'adam' or 'lbfgs'"
            )
        variables = {v.key: v for v in problem.variables} | {r.full.key: r.full for r in problem.refinements}
        size = sum(dr.width(variable.latent(variable.initial)) for variable in variables.values())
        if size > MOST_COLUMNS:
            raise InputError(f"optimizer '{name}' takes at most {MOST_COLUMNS} unknown numbers, got {size}; use 'adam'")
        for term in problem.objective.terms:
            if term.name not in ("l2", "relative_l2") or term.pyramid > 1 or term.of != "image":
                raise InputError(f"optimizer '{name}' needs losses 'l2' or 'relative_l2' of images without pyramid")

    def system(
        self, problem: Problem, latents: drjit.opt.Optimizer, views: Sequence[int], spp: int, seeds: Seeds
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """A, b and the loss rᵀr of the views, whose residuals are normalized accordingly."""
        size = sum(dr.width(latents[v.key]) for v in problem.variables)
        A, b, loss = np.zeros((size, size)), np.zeros(size), 0.0
        units = Units(problem, latents)
        for index in views:
            found = ViewColumns(problem, units, index, spp, seeds, crossed=self.crossed).columns()
            r, J = (sum(parts) / len(found) for parts in zip(*found, strict=True))
            A, loss = A + J.T @ J / len(views), loss + float(r @ r) / len(views)
            # Residuals of one image go with the derivatives of the other
            pairs = zip(found, reversed(found), strict=True)
            b += sum(columns.T @ other for (_, columns), (other, _) in pairs) / (len(found) * len(views))
        if problem.priors:
            g, H = _prior_derivatives(problem, latents)
            A, b = A + H / 2, b + g / 2
        return A, b, loss


class GaussNewton(_LeastSquares):
    """Undamped steps, for problems that are nearly linear; shorter ones where only noise is left.

    A step s that turns back, sᵀ A s' < 0 with s' the one before it, has gone past the minimum or was noise. After the
    n-th of them steps are divided by n + 1, which averages the noise of those that follow [Kesten 1958, *Accelerated
    Stochastic Approximation*].
    """

    def __init__(self, problem: Problem, options: GaussNewtonOptions):
        super().__init__(problem)
        self.options = options

    def forget(self) -> None:
        self.state = {}

    def advance(self, problem, latents, views, spp, seeds, step) -> tuple[float, str]:
        """Take a step. Returns the loss before it and what was not finite."""
        A, b, loss = self.system(problem, latents, views, spp, lambda label, view: seeds(label, view, step))
        if flaw := _not_finite(problem, A, b, loss):
            return loss, flaw
        start = _vector(problem, latents)
        whole = _solve_within(problem, latents, start, A, b, self.options.damping)
        turns = int(self.state.get("turns", 0))
        if "last" in self.state and whole @ A @ self.state["last"] < 0:
            turns += 1
        self.state = {"last": whole, "turns": np.array(turns)}
        _put(problem, latents, start + whole / (turns + 1))
        return loss, ""


class LevenbergMarquardt(_LeastSquares):
    """Damped steps: more damping where a step does not lower the loss of equal random numbers, less where it does."""

    # Trials look at the image of the residuals
    crossed = False

    def __init__(self, problem: Problem, options: MarquardtOptions):
        super().__init__(problem)
        self.options = options
        self.state = {"damping": np.array(options.damping)}

    def advance(self, problem, latents, views, spp, seeds, step) -> tuple[float, str]:
        """Take a step, or none if no trial lowers the loss. Returns the loss before it and what was not finite."""

        def seed(label: str, view: int) -> mi.UInt32:
            return seeds(label, view, step)

        A, b, loss = self.system(problem, latents, views, spp, seed)
        start = _vector(problem, latents)
        if any(isinstance(problem.views[index].exposure, Variable) for index in views):
            # Trials take the exposure from their own image, residuals from another
            loss = _loss(problem, latents, views, spp, seed)
        whole = loss + _penalty(problem, latents)
        if flaw := _not_finite(problem, A, b, whole):
            return loss, flaw
        damping = float(self.state["damping"])
        for _ in range(self.options.trials):
            _put(problem, latents, start + _solve_within(problem, latents, start, A, b, damping))
            if _loss(problem, latents, views, spp, seed) + _penalty(problem, latents) < whole:
                self.state["damping"] = np.array(max(damping / 4, 1e-8))
                return loss, ""
            damping *= 4
        self.state["damping"] = np.array(min(damping, 1e8))
        _put(problem, latents, start)
        return loss, ""


class Lbfgs(_Method):
    """Limited-memory BFGS with backtracking, on the loss of fixed random numbers."""

    def __init__(self, problem: Problem, options: LbfgsOptions):
        super().__init__(problem)
        self.options = options

    def check(self, problem: Problem) -> None:
        if problem.job.batch is not None and problem.job.batch < len(problem.views):
            raise InputError("optimizer 'lbfgs' looks at all views in each step, so it takes no 'batch'; use 'adam'")

    @property
    def is_stuck(self) -> bool:
        """Whether the last step failed without a memory: with the same random numbers the next one would, too."""
        return "stuck" in self.state

    def forget(self) -> None:
        self.state = {}

    def advance(self, problem, latents, views, spp, seeds, step) -> tuple[float, str]:
        """Take a step. Returns the loss before it and what was not finite."""

        # One function to minimize: the same random numbers in every step, also for the derivative
        def seed(label: str, view: int) -> mi.UInt32:
            return seeds(f"fixed {label}", view, 0)

        loss, flaw = differentiate(problem, latents, views, spp, seed, crossed=False)
        if flaw:
            return loss, flaw
        whole = loss + _penalty(problem, latents)
        x = _vector(problem, latents)
        g = np.concatenate([np.array(dr.grad(latents[v.key]), np.float64).ravel() for v in problem.variables])
        self._remember(x, g)
        direction = -self._apply_inverse(g)
        if direction @ g >= 0:
            self.state, direction = {}, -g
        rates = np.concatenate([np.full(dr.width(latents[v.key]), v.learning_rate) for v in problem.variables])
        # The first step has no curvature yet: as long as learning rates say
        length = 1.0 if "s" in self.state else float(np.min(rates / np.maximum(np.abs(direction), 1e-30)))
        for _ in range(self.options.trials):
            _put(problem, latents, x + length * direction)
            moved = _vector(problem, latents) - x
            tried = _loss(problem, latents, views, spp, seed) + _penalty(problem, latents)
            if tried <= whole + 1e-4 * (moved @ g):
                break
            length *= 0.4
        else:
            _put(problem, latents, x)
            # Curvature may have misled: once more along the gradient
            self.state = {} if "s" in self.state else {"stuck": np.array(True)}
            return loss, ""
        self.state = {name: rows for name, rows in self.state.items() if name != "stuck"} | {"x": x, "g": g}
        return loss, ""

    def _remember(self, x: np.ndarray, g: np.ndarray) -> None:
        """Keep the last step and the change of the gradient along it, where it curves upward."""
        if "x" not in self.state:
            return
        s, y = x - self.state["x"], g - self.state["g"]
        if s @ y > 1e-10 * np.linalg.norm(s) * np.linalg.norm(y) > 0:
            for name, new in (("s", s), ("y", y)):
                rows = [*self.state.get(name, []), new][-self.options.memory :]
                self.state[name] = np.array(rows)

    def _apply_inverse(self, g: np.ndarray) -> np.ndarray:
        """The inverse Hessian's estimate times a vector: two-loop recursion [Nocedal and Wright 2006, Alg. 7.4]."""
        if "s" not in self.state:
            return g
        pairs, q, factors = list(zip(self.state["s"], self.state["y"], strict=True)), g.copy(), []
        for s, y in reversed(pairs):
            factors.append((s @ q) / (s @ y))
            q -= factors[-1] * y
        s, y = pairs[-1]
        q *= (s @ y) / (y @ y)
        for (s, y), factor in zip(pairs, reversed(factors), strict=True):
            q += (factor - (y @ q) / (s @ y)) * s
        return q


#: By the name that a job gives
METHODS: dict[str, tuple[Callable, type[Section]]] = {
    "gauss_newton": (GaussNewton, GaussNewtonOptions),
    "levenberg_marquardt": (LevenbergMarquardt, MarquardtOptions),
    "lbfgs": (Lbfgs, LbfgsOptions),
}


def make_method(problem: Problem) -> GaussNewton | LevenbergMarquardt | Lbfgs | None:
    """The method that a job's optimizer names, checked; None for Dr.Jit's optimizers.

    Example:
        >>> make_method(Problem.from_job("cornell_box", {"optimizer.type": "lbfgs"})).options.memory
        8
    """
    entry = problem.job.optimizer
    if entry.type.lower() not in METHODS:
        return None
    kind, section = METHODS[entry.type.lower()]
    try:
        options = section.model_validate(entry.model_extra or {})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        if name not in section.model_fields:
            hint = suggestion(name, section.model_fields)
            raise InputError(f"optimizer '{entry.type}' has no option '{name}'{hint}") from None
        raise InputError(f"optimizer '{entry.type}': '{name}' {requirement(first)}, got {first['input']!r}") from None
    return kind(problem, options)


def _loss(problem: Problem, latents: drjit.opt.Optimizer, views: Sequence[int], spp: int, seeds: Seeds) -> float:
    """Mean loss of some views with the random numbers of the gradient's images."""
    total = 0.0
    with dr.suspend_grad():
        problem.write_scene(latents)
        for index in views:
            pictures = evaluated_pictures(
                problem,
                problem.views[index],
                latents,
                spp,
                lambda label, k=index: seeds(label.replace("evaluation", "primal"), k),
            )
            total += float(np.array(problem.objective(pictures)).ravel()[0]) / len(views)
    return total


def _penalty(problem: Problem, latents: drjit.opt.Optimizer) -> float:
    with dr.suspend_grad():
        penalty = sum_of_priors(problem, latents)
        return 0.0 if penalty is None else float(np.array(penalty).ravel()[0])


def _vector(problem: Problem, latents: drjit.opt.Optimizer) -> np.ndarray:
    return np.concatenate([np.array(dr.detach(latents[v.key]), np.float64).ravel() for v in problem.variables])


def _put(problem: Problem, latents: drjit.opt.Optimizer, vector: np.ndarray, *, within_bounds: bool = True) -> None:
    """Set all variables."""
    for variable, value in _parts(problem, latents, vector):
        latents[variable.key] = variable.project(value) if within_bounds else value


def _project(problem: Problem, latents: drjit.opt.Optimizer, vector: np.ndarray) -> np.ndarray:
    """The nearest numbers within bounds."""
    nearest = [variable.project(value) for variable, value in _parts(problem, latents, vector)]
    return np.concatenate([np.array(value, np.float64) for value in nearest])


def _parts(problem: Problem, latents: drjit.opt.Optimizer, vector: np.ndarray) -> Iterator[tuple[Variable, mi.Float]]:
    """All variables, with their shares of a vector."""
    start = 0
    for variable in problem.variables:
        size = dr.width(latents[variable.key])
        yield variable, mi.Float(vector[start : start + size].astype(np.float32))
        start += size


def _prior_derivatives(problem: Problem, latents: drjit.opt.Optimizer) -> tuple[np.ndarray, np.ndarray]:
    """Gradient g of the priors by all variables, and of their Hessian H, from differences of g, what curves upward."""
    start = _vector(problem, latents)
    keys = [prior.variable.key for prior in problem.priors]
    at = [mi.Float(dr.detach(latents[key])) for key in keys]

    def gradient(vector: np.ndarray) -> np.ndarray:
        _put(problem, latents, vector, within_bounds=False)
        for variable in problem.variables:
            dr.set_grad(latents[variable.key], 0)
        parts = zip(problem.priors, keys, at, strict=True)
        dr.backward(sum(prior.curved(latents[key], place) for prior, key, place in parts))
        return np.concatenate([np.array(dr.grad(latents[v.key]), np.float64).ravel() for v in problem.variables])

    steps = _DIFFERENCE * np.maximum(1.0, np.abs(start))
    rows = [(gradient(start + move) - gradient(start - move)) / (2 * move.sum()) for move in np.diag(steps)]
    g = gradient(start)
    if not np.isfinite(rows).all():
        return g, np.array(rows)
    values, vectors = np.linalg.eigh((np.array(rows) + np.transpose(rows)) / 2)
    return g, (vectors * np.maximum(values, 0)) @ vectors.T


def _solve(A: np.ndarray, b: np.ndarray, damping: float) -> np.ndarray:
    """The step; numbers that no image shows stay where they are."""
    diagonal = np.diag(A)
    seen = diagonal > 1e-12 * diagonal.max(initial=0)
    step = np.zeros(len(b))
    reduced = A[np.ix_(seen, seen)] + damping * np.diag(diagonal[seen])
    step[seen] = -np.linalg.lstsq(reduced, b[seen], rcond=1e-10)[0]
    return step


def _solve_within(
    problem: Problem, latents: drjit.opt.Optimizer, start: np.ndarray, A: np.ndarray, b: np.ndarray, damping: float
) -> np.ndarray:
    """The step within bounds: numbers that would pass a bound go half the way to it, others take that into account.

    On a bound the linear model often says nothing any more, as at a roughness of almost 0.
    """
    free, step = np.full(len(b), True), np.zeros(len(b))
    while free.any():
        step[free] = _solve(A[np.ix_(free, free)], b[free] + A[np.ix_(free, ~free)] @ step[~free], damping)
        bounded = _project(problem, latents, start + step) - start
        outside = free & (np.abs(bounded - step) > 1e-5 * np.maximum(np.abs(step), 1e-3))
        if not outside.any():
            break
        step[outside] = bounded[outside] / 2
        free &= ~outside
    return step


def _not_finite(problem: Problem, A: np.ndarray, b: np.ndarray, loss: float) -> str:
    if not np.isfinite(loss):
        return f"the loss of the views is {loss}"
    if not (np.isfinite(A).all() and np.isfinite(b).all()):
        return "the derivative of an image is not finite"
    return ""
