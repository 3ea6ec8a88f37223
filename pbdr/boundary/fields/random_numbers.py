"""Random numbers of fields: functions of a seed, so that both directions of differentiation draw the same."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi


def uniform_pair(stream: mi.UInt32, index: mi.UInt32 | int) -> list[mi.Float]:
    """Two uniform numbers in [0, 1), different for each stream and index. [N] each"""
    return [mi.Float(bits >> 8) * 2**-24 for bits in mi.sample_tea_32(stream, mi.UInt32(index))]


def disk_direction(frame: mi.Frame3f, u: mi.Float) -> mi.Vector3f:
    """Unit vectors across a frame's normal, by a uniform number. [N]"""
    sin, cos = dr.sincos(dr.two_pi * u)
    return frame.s * cos + frame.t * sin
