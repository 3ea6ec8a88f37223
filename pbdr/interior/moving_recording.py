"""Images of a scene in which something moves, whose paths also serve their derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import drjit as dr
import mitsuba as mi

from ..transport.collection import without_collection
from ..transport.film import Pass
from ..transport.tangents import cut_graph


class MovingRecording:
    """Independent images of one view, and their derivatives by anything.

    The image of each set is what the first pass of its derivative traces anyway. Boundary samples are taken for each
    set; all sets share the densities of one gradient.
    """

    def __init__(self, integrator: mi.Integrator, scene: mi.Scene, sensor: mi.Sensor, *, spp: int, seed, sets: int):
        """Trace the images.

        Args:
            integrator: One of pbdr's.
            spp: Samples per pixel of each image.
            sets: Number of images.
        """
        self._integrator, self._scene, self._sensor = integrator, scene, sensor
        seeds = [mi.sample_tea_32(mi.UInt32(seed), mi.UInt32(k))[0] for k in range(sets)]
        passes, self._begun = integrator.begin(scene, sensor, seeds[0], spp, keep=True)
        self._passes = [Pass(passes[0].spp, seed, 1.0) for seed in seeds]
        #: Paths of each set; None if they do not fit into memory and are traced again
        self._traced = None
        if len(passes) == 1:
            self._traced = [integrator.trace_set(scene, sensor, p, self._begun) for p in self._passes]
            #: Images, detached. [H, W, C] each
            self.images = [traced.image for traced in self._traced]
        else:
            self.images = [integrator.render(scene, sensor, seed, spp) for seed in seeds]
        self._spp = spp

    @without_collection
    def backward(self, adjoints: Sequence[mi.TensorXf]) -> None:
        """Accumulate derivatives of a loss into the scene's parameters, once for each time that they were put into it.

        Args:
            adjoints: Derivative of the loss by each image. [H, W, C] each
        """
        one, scene, sensor = self._integrator, self._scene, self._sensor
        if self._traced is None:
            for p, adjoint in zip(self._passes, adjoints, strict=True):
                one.render_backward(scene, None, adjoint, sensor, p.seed, self._spp)
            return
        begun = self._begun
        for p, traced, adjoint in zip(self._passes, self._traced, adjoints, strict=True):
            begun = one.backward_pass(scene, sensor, p, begun, mi.TensorXf(adjoint), traced)
        one.end(scene, sensor, self._passes[0], begun)
        dr.eval()
        cut_graph(scene)
