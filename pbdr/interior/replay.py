"""Path replay: constant memory and linear time, from a second pass over the same random numbers.

The radiance of a path is a sum of products; the derivative of one factor F multiplies all that the path collects after
it. A first pass leaves that sum L; the second subtracts from it what each vertex adds, so that the remainder at a
vertex is the light that comes in through it [Vicini et al. 2021, "Path replay backpropagation", section 4]:

    ∂L/∂θ = Σ_k ( ∂(Le_k + Ld_k)/∂θ + L_after(k) · ∂F_k/∂θ / F_k )

Sampling and its densities are detached; the factors F_k are those of the surface form (docs/architecture.md). The first
pass may also count the vertices up to the last one that depends on anything attached: the second pass ends there.
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ..transport.path import PathResult
from .base import Rule
from .marked import Marked


class _Replay(Rule):
    """Follows paths again, as far as they are needed."""

    attached = True

    def __init__(self, primal: PathResult):
        """Take what the first pass left.

        Args:
            primal: Of a rule that is ``Marked``.
        """
        self._L = primal.L
        self._needed = Marked.needed(primal.memory)
        self.active = primal.valid & (self._needed > 0)  #: paths to follow at all [N]
        self.touched = False  #: whether any vertex carried derivatives

    def proceeds(self, count: mi.UInt32, active: mi.Bool) -> mi.Bool:
        return active & (count < self._needed)

    def gather(self, L: mi.Spectrum, contribution: mi.Spectrum) -> mi.Spectrum:
        return L - dr.detach(contribution)


class ReplayForward(_Replay):
    """Pushes tangents of the scene parameters into the derivative of each path's radiance."""

    name = "replay, forward"

    def start(self) -> tuple[mi.Spectrum, mi.Spectrum]:
        return mi.Spectrum(self._L), mi.Spectrum(0)

    def differentiate(
        self, L: mi.Spectrum, δL: mi.Spectrum, contribution: mi.Spectrum, factor: mi.Spectrum
    ) -> mi.Spectrum:
        Lo = contribution + L * factor
        if not dr.grad_enabled(Lo):
            return δL
        self.touched = True
        return δL + mi.Spectrum(dr.forward_to(Lo))


class ReplayBackward(_Replay):
    """Deposits the adjoint radiance δL of each path into the scene parameters."""

    name = "replay, backward"

    def __init__(self, primal: PathResult, δL: mi.Spectrum):
        super().__init__(primal)
        self._δL = δL

    def start(self) -> tuple[mi.Spectrum, mi.Spectrum]:
        return mi.Spectrum(self._L), mi.Spectrum(self._δL)

    def differentiate(
        self, L: mi.Spectrum, δL: mi.Spectrum, contribution: mi.Spectrum, factor: mi.Spectrum
    ) -> mi.Spectrum:
        Lo = contribution + L * factor
        if dr.grad_enabled(Lo):
            self.touched = True
            dr.backward_from(δL * Lo)
        return δL
