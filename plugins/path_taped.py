"""The preset ``path_taped``: automatic differentiation through the path loop."""

from __future__ import annotations

import mitsuba as mi
from pbdr.plugins.common import DifferentialIntegrator

from pbdr import boundary


class TapedPathIntegrator(DifferentialIntegrator):
    """Path tracer differentiated by Dr.Jit itself, without replay: the witness for the other interiors.

    Takes the properties ``max_depth`` (finite), ``rr_depth``, ``hide_emitters`` and ``memory_budget`` of ``pbdr``.
    Reverse mode keeps the state of every vertex.
    """

    def __init__(self, props: mi.Properties):
        super().__init__(props, taped=True, boundary=boundary.find("none")(props))


mi.register_integrator("path_taped", lambda props: TapedPathIntegrator(props))
