"""Path replay: constant memory and linear time, from a second pass over the same random numbers.

The radiance of a path is a sum of products; the derivative of one factor F multiplies all that the path collects after
it. A first pass leaves that sum L; the second subtracts from it what each vertex adds, so that the remainder at a
vertex is the light that comes in through it [Vicini et al. 2021, "Path replay backpropagation", section 4]:

    ∂L/∂θ = Σ_k ( ∂(Le_k + Ld_k)/∂θ + L_after(k) · ∂F_k/∂θ / F_k )

Sampling and its densities are detached; the factors F_k are those of the surface form (docs/architecture.md).
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from .base import Rule


class ReplayForward(Rule):
    """Pushes tangents of the scene parameters into the derivative of each path's radiance."""

    attached = True
    name = "replay, forward"

    def __init__(self, L: mi.Spectrum):
        self._L = L
        self.touched = False  #: whether any vertex carried derivatives

    def start(self) -> tuple[mi.Spectrum, mi.Spectrum]:
        return mi.Spectrum(self._L), mi.Spectrum(0)

    def gather(self, L: mi.Spectrum, contribution: mi.Spectrum) -> mi.Spectrum:
        return L - dr.detach(contribution)

    def differentiate(
        self, L: mi.Spectrum, δL: mi.Spectrum, contribution: mi.Spectrum, factor: mi.Spectrum
    ) -> mi.Spectrum:
        Lo = contribution + L * factor
        if not dr.grad_enabled(Lo):
            return δL
        self.touched = True
        return δL + mi.Spectrum(dr.forward_to(Lo))


class ReplayBackward(Rule):
    """Deposits the adjoint radiance δL of each path into the scene parameters."""

    attached = True
    name = "replay, backward"

    def __init__(self, L: mi.Spectrum, δL: mi.Spectrum):
        self._L = L
        self._δL = δL
        self.touched = False  #: whether any vertex carried derivatives

    def start(self) -> tuple[mi.Spectrum, mi.Spectrum]:
        return mi.Spectrum(self._L), mi.Spectrum(self._δL)

    def gather(self, L: mi.Spectrum, contribution: mi.Spectrum) -> mi.Spectrum:
        return L - dr.detach(contribution)

    def differentiate(
        self, L: mi.Spectrum, δL: mi.Spectrum, contribution: mi.Spectrum, factor: mi.Spectrum
    ) -> mi.Spectrum:
        Lo = contribution + L * factor
        if dr.grad_enabled(Lo):
            self.touched = True
            dr.backward_from(δL * Lo)
        return δL
