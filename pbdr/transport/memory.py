"""Vertices of paths in memory local to each thread: written by the path loop, read by a walk in the same kernel."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi


@dataclasses.dataclass
class LightSample:
    """Light from one sampled emitter before the BSDF turns it, detached."""

    ds: mi.DirectionSample3f  #: direction, and the point on the emitter [N]
    weight: mi.Spectrum  #: radiance over density, with the MIS weight; 0 where hidden [N]
    scale: mi.Float  #: the same for radiance 1 [N]
    turned: mi.Spectrum  #: the same after the BSDF: f_s |n·ω| × scale [N]


@dataclasses.dataclass
class Vertex:
    """What the path loop hands over of one vertex, detached."""

    pi: mi.PreliminaryIntersection3f  #: hit [N]
    active: mi.Bool  #: whether the path got here [N]
    o: mi.Point3f  #: origin of the ray that found it [N]
    d: mi.Vector3f  #: direction of that ray [N]
    throughput: mi.Spectrum  #: β toward the sensor [N]
    mis: mi.Float  #: weight of emission found by BSDF sampling [N]
    sample: mi.Point2f  #: random numbers of its emitter sample [N]
    collected: mi.Spectrum  #: light collected up to and including this vertex [N]
    emitter: mi.EmitterPtr | None = None  #: emitter that was hit, if any [N]
    light: LightSample | None = None  #: its emitter sample [N]
    ahead: mi.Vector3f | None = None  #: direction in which the path goes on [N]
    lobe: mi.UInt32 | None = None  #: kind of the BSDF sample that led there [N]
    lobe_samples: tuple[mi.Float, mi.Point2f] | None = None  #: its random numbers [N]
    si: mi.SurfaceInteraction3f | None = None  #: the point itself [N]
    weight: mi.Spectrum | None = None  #: what it multiplies the throughput with; 0 where the path ends [N]


#: Fields of ``Vertex`` beside the hit that stay with the path
_FIELDS = ("o", "d", "throughput", "mis", "sample", "collected")

#: Fields of a hit that are stored. Local memory of masks does not compile with Dr.Jit 1.5 and LLVM; whether a hit is
#: valid follows from its distance
_HIT_FIELDS = ("t", "prim_uv", "prim_index", "shape_index", "shape", "instance")


def allocate(max_depth: int) -> dict[str, dr.Local]:
    """Local memory for the vertices of one path."""
    hit = mi.PreliminaryIntersection3f.DRJIT_STRUCT
    kinds = {name: hit[name] for name in _HIT_FIELDS} | {
        "o": mi.Point3f, "d": mi.Vector3f, "throughput": mi.Spectrum, "mis": mi.Float, "sample": mi.Point2f,
        "collected": mi.Spectrum,
    }  # fmt: skip
    return {name: dr.alloc_local(kind, max_depth + 1) for name, kind in kinds.items()}


def store(memory: dict[str, dr.Local], index: mi.UInt32, vertex: Vertex, active: mi.Bool) -> None:
    """Write one vertex of each path. [N]"""
    for name in _HIT_FIELDS:
        memory[name].write(getattr(vertex.pi, name), index, active)
    for name in _FIELDS:
        memory[name].write(getattr(vertex, name), index, active)


def load(memory: dict[str, dr.Local], index: mi.UInt32, active: mi.Bool) -> Vertex:
    """Read one vertex of each path; lanes that are not active have no hit. [N]"""
    fields = {name: memory[name].read(index, active) for name in _HIT_FIELDS}
    fields["t"] = dr.select(active, fields["t"], dr.inf)
    pi = hit_of(fields)
    return Vertex(pi, mi.Bool(active), *(memory[name].read(index, active) for name in _FIELDS))


def hit_fields(pi: mi.PreliminaryIntersection3f, *, has_instances: bool) -> dict:
    """What a hit consists of; without instances no more than the shape's own. [N]"""
    left_out = () if has_instances else ("shape_index", "instance")
    return {name: getattr(pi, name) for name in _HIT_FIELDS if name not in left_out}


def hit_of(fields: dict) -> mi.PreliminaryIntersection3f:
    """The hit that :func:`hit_fields` took apart. [N]"""
    pi = dr.zeros(mi.PreliminaryIntersection3f, dr.width(fields["t"]))
    for name, value in fields.items():
        setattr(pi, name, value)
    pi.valid = pi.t < dr.inf
    return pi
