"""The generic integrator ``pbdr``: any interior estimator with any boundary term."""

from __future__ import annotations

import mitsuba as mi
from pbdr.plugins.common import DifferentialIntegrator

from pbdr import boundary
from pbdr.errors import InputError, suggestion

INTERIORS = ("replay", "taped")


class PbdrIntegrator(DifferentialIntegrator):
    """Path tracer whose derivatives are the sum of an interior and a boundary term.

    Properties:
        interior: ``replay`` (path replay: two passes, constant memory; default) or ``taped`` (automatic
            differentiation through the path loop, memory grows with the depth).
        boundary: Derivative of moving silhouettes and shadows, which costs nothing where nothing moves: ``silhouettes``
            samples the outlines of meshes, their instances, rectangles, spheres, disks and cylinders, ``warped_area``
            lets rays follow them (no point lights), ``auto`` (default) takes the first of these that knows all shapes
            of the scene, ``none`` leaves it out.
        boundary_spp: With ``silhouettes``: boundary samples per pixel, divided among kinds of boundaries by measured
            noise; 0 (default) takes half as many as interior samples.
        boundary_guide: With ``silhouettes``: whether later samples go where earlier ones changed the image
            (``contrast``, default) or, in reverse mode, the loss (``adjoint``).
        warp_depth: With ``warped_area``: path segments that are warped, counted from the camera; −1 (default) all.
        warp_field: With ``warped_area``: velocity field; ``blend`` (default) and ``caps`` interpolate between
            silhouettes, ``ratio`` weighs auxiliary rays and is biased. Further properties as in
            ``pbdr.boundary.warped_area``.
        warp_reach: With ``warped_area``: distance from a silhouette up to which rays follow it, about radians.
            Default 0.2.
        sampler: Random numbers of camera paths: ``sobol`` (default) stratifies them over blocks of pixels, so that the
            sums that gradients are have less noise; ``scene`` takes the sampler of the sensor. Samples on silhouettes
            are always stratified along them.
        derivative_sampling: Whether paths that derivatives are made of choose directions by the derivative of a lobe
            where the roughness of a material is unknown (``alpha`` of ``roughconductor``, ``roughness`` of
            ``principled``; others are refused). Default false. Images of ``mi.render`` stay as they
            are; those whose paths also serve derivatives (``pbdr.record``, ``pbdr.step``) have the same mean.
        max_depth: Longest path in segments; 1 is directly visible light, −1 no limit. Default 6.
        rr_depth: Segment from which on Russian roulette ends paths. Default 5.
        hide_emitters: Whether directly visible emitters are transparent. Default false.
        memory_budget: GiB that the intermediate arrays of one pass may take; more samples are split. Default 1. Where
            something moves, passes take a sixteenth of it, because larger ones are hardly faster.
    """

    def __init__(self, props: mi.Properties):
        interior = props.get("interior", "replay")
        if interior not in INTERIORS:
            raise InputError(f"'interior' is '{interior}', which does not exist{suggestion(interior, INTERIORS)}")
        term = boundary.find(props.get("boundary", "auto"))
        follows_lobes = props.get("derivative_sampling", False)
        super().__init__(props, taped=interior == "taped", boundary=term(props), derivative_sampling=follows_lobes)


mi.register_integrator("pbdr", lambda props: PbdrIntegrator(props))
