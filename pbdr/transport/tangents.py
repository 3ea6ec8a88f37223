"""Tangents on their way from the user's variables to what a scene computes from them."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

#: Traversals consume the graph between variables but leave the tangents in them
KEEP_TANGENTS = dr.ADFlag.ClearEdges


def push_tangents(scene: mi.Scene) -> None:
    """Carry tangents from wherever the user set them to everything that derives from a scene parameter.

    Loops and passes differentiate in scopes of their own, which tangents cannot enter later.
    """
    attached = [value for _, value in mi.traverse(scene) if dr.grad_enabled(value)]
    if attached:
        dr.forward_to(attached, flags=KEEP_TANGENTS)
        dr.enqueue(dr.ADMode.Forward, attached)
        dr.traverse(dr.ADMode.Forward, flags=KEEP_TANGENTS)
