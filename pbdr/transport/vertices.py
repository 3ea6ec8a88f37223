"""Vertices of all paths in arrays without gaps, written by the path loop in the order of arrival."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import drjit as dr
import mitsuba as mi

from ..geometry.attachment import Attachment
from ..geometry.edges import has_instances
from ..packing import outline, pack, unpack
from .memory import Vertex
from .path import Traits

#: Stands for "no vertex" in a path's chain of vertices
NONE = 0xFFFFFFFF


@dataclasses.dataclass(frozen=True)
class Kept:
    """Which vertices are kept, and what of them."""

    attachment: Attachment
    delta_bsdfs: bool  #: random numbers of specular lobes are needed
    instances: bool  #: hits can lie on instances
    reusable: bool = False  #: all vertices, chained along their paths, so that other materials and lights can be put in

    @classmethod
    def of(cls, scene: mi.Scene, attachment: Attachment, *, reusable: bool = False) -> Kept:
        """What derivatives of a scene need, or other materials, textures and lights in the same places."""
        instances = has_instances(scene)
        return cls(attachment, Traits.of(scene, True).delta_bsdfs, instances, reusable)

    @property
    def tables(self) -> list[mi.UInt32]:
        """Which shapes and emitters matter."""
        return pack(self)

    def with_tables(self, tables: Sequence[mi.UInt32] | None) -> Kept:
        """The same with other tables, or without."""
        return outline(self) if tables is None else unpack(self, tables)

    @property
    def distant(self) -> bool:
        """Whether directions are enough, because nothing but the environment carries derivatives."""
        return self.attachment.distant and not self.reusable

    @property
    def fields(self) -> dict[str, type]:
        """Names of what is kept, with types."""
        if self.distant:
            return {
                "lane": mi.UInt32, "d": mi.Vector3f, "seen": mi.Spectrum, "light_d": mi.Vector3f, "lit": mi.Spectrum,
            }  # fmt: skip
        fields = {
            "lane": mi.UInt32, "t": mi.Float, "prim_uv": mi.Point2f, "prim_index": mi.UInt32, "shape": mi.UInt32,
            "o": mi.Point3f, "d": mi.Vector3f, "light_d": mi.Vector3f,
        }  # fmt: skip
        if self.instances:
            fields |= {"instance": mi.UInt32, "shape_index": mi.UInt32}
        if self.attachment.surfaces.any:
            fields |= {"ahead": mi.Vector3f, "collected": mi.Spectrum}
        if self.attachment.surfaces.any and self.delta_bsdfs:
            fields |= {"lobe": mi.UInt32, "lobe_sample_1": mi.Float, "lobe_sample_2": mi.Point2f}
        if self.attachment.emitters.any:
            fields |= {
                "throughput": mi.Spectrum, "mis": mi.Float, "scale": mi.Float, "emitter": mi.UInt32,
                "light_p": mi.Point3f, "light_n": mi.Normal3f, "light_uv": mi.Point2f, "light_dist": mi.Float,
            }  # fmt: skip
        else:
            fields |= {"light": mi.Spectrum}
        if self.reusable:
            fields |= {"previous": mi.UInt32, "weight": mi.Spectrum}
        return fields

    @property
    def bytes_per_vertex(self) -> int:
        """Memory of one vertex."""
        return sum(4 * (1 if dr.depth_v(kind) == 1 else dr.size_v(kind)) for kind in self.fields.values())

    def wants(self, vertex: Vertex) -> mi.Bool:
        """Whether light at a vertex depends on what carries derivatives, or may depend on anything at all. [N]"""
        if self.reusable:
            seen = (vertex.mis > 0) & (vertex.emitter != None)  # noqa: E711 (element-wise)
            return vertex.active & (seen | (vertex.light.scale > 0) | (dr.max(vertex.weight) > 0))
        wanted = mi.Bool(False)
        if self.attachment.surfaces.any:
            shape = dr.reinterpret_array(mi.UInt32, vertex.pi.shape)
            wanted |= vertex.pi.is_valid() & self.attachment.surfaces.has(shape)
        if self.attachment.emitters.any:
            wanted |= self.is_lit(vertex) | self.sees(vertex)
        return vertex.active & wanted

    def is_lit(self, vertex: Vertex) -> mi.Bool:
        """Whether the emitter sample at a vertex found an emitter that carries derivatives. [N]"""
        sampled = dr.reinterpret_array(mi.UInt32, vertex.light.ds.emitter)
        return (vertex.light.scale > 0) & self.attachment.emitters.has(sampled)

    def sees(self, vertex: Vertex) -> mi.Bool:
        """Whether a vertex lies on an emitter that carries derivatives. [N]"""
        seen = dr.reinterpret_array(mi.UInt32, vertex.emitter)
        return (vertex.mis > 0) & (seen != 0) & self.attachment.emitters.has(seen)


class VertexArrays:
    """Room for a number of vertices, and a counter that goes on where the room ends.

    Four numbers of a vertex lie side by side, so that one instruction stores them.
    """

    def __init__(self, kept: Kept, capacity: int, rows: list[mi.Float] | None = None, counter=None):
        """Make room, or take what is there.

        Args:
            capacity: Vertices that there is room for.
            rows: All numbers of ``kept.fields``, by fours. [4 · capacity] each
            counter: Vertices that wanted room. [1]
        """
        self.kept, self.capacity = kept, capacity
        self.rows = rows or [dr.empty(mi.Float, 4 * capacity) for _ in range(-(-kept.bytes_per_vertex // 16))]
        self.counter = dr.opaque(mi.UInt32, 0) if counter is None else counter

    def append(self, vertex: Vertex, lane: mi.UInt32, previous: mi.UInt32) -> mi.UInt32:
        """Keep the vertices that are wanted.

        Args:
            lane: Of their paths. [N]
            previous: Slots of the vertices kept before them on their paths. [N]

        Returns:
            The slot of the last vertex kept of each path, ``NONE`` where there is none. [N]
        """
        active = self.kept.wants(vertex)
        slot = dr.scatter_inc(self.counter, mi.UInt32(0), active)
        active &= slot < self.capacity
        values = _values(vertex, lane) | {"previous": previous}
        if self.kept.distant:
            throughput = vertex.throughput
            values["seen"] = dr.select(self.kept.sees(vertex), throughput * vertex.mis, 0)
            values["lit"] = dr.select(self.kept.is_lit(vertex), throughput * vertex.light.turned, 0)
        numbers = [
            dr.reinterpret_array(mi.Float, dr.detach(part)) if dr.is_integral_v(part) else dr.detach(part)
            for name in self.kept.fields
            for part in _components(values[name])
        ]
        for k, row in enumerate(self.rows):
            four = [*numbers[4 * k : 4 * k + 4], 0, 0, 0][:4]
            dr.scatter(row, mi.Vector4f(*four), slot, active)
        return dr.select(active, slot, previous)

    def load(self, camera_ray: mi.Ray3f) -> StoredVertices:
        """All of the room, with what is in it.

        Args:
            camera_ray: Of each path, for time and wavelengths.
        """
        index = dr.arange(mi.UInt32, self.capacity)
        used = index < dr.gather(mi.UInt32, self.counter, dr.zeros(mi.UInt32, self.capacity))
        # What was there before the first vertex is of no type: not even a pointer may be followed
        numbers = [number for row in self.rows for number in dr.gather(mi.Vector4f, row, index, used)]
        fields = {}
        for name, kind in self.kept.fields.items():
            types = _parts(kind)
            parts = [
                dr.reinterpret_array(part, number) if dr.is_integral_v(part) else number
                for part, number in zip(types, numbers, strict=False)
            ]
            del numbers[: len(types)]
            fields[name] = parts[0] if dr.depth_v(kind) == 1 else kind(*parts)
        return StoredVertices.of(fields, used, camera_ray)


@dr.syntax
def sum_along_paths(own: mi.Spectrum, factor: mi.Spectrum, previous: mi.UInt32, last: mi.UInt32) -> mi.Spectrum:
    """Light of paths from that of their vertices, from the last vertex to the first: X ← own + factor · X.

    Args:
        own: Light that starts at each vertex. [V]
        factor: What each vertex multiplies the light behind it with. [V]
        previous: Slot of the vertex before each, ``NONE`` at the first. [V]
        last: Slot of the last vertex of each path, ``NONE`` where there is none. [N]

    Returns:
        One value for each path. [N]
    """
    X, slot = mi.Spectrum(0), mi.UInt32(last)
    while slot != NONE:
        X = dr.gather(mi.Spectrum, own, slot) + dr.gather(mi.Spectrum, factor, slot) * X
        slot = dr.gather(mi.UInt32, previous, slot)
    return X


def _parts(kind: type) -> list[type]:
    return [kind] if dr.depth_v(kind) == 1 else [dr.value_t(kind)] * dr.size_v(kind)


def _components(value: object) -> list:
    return [value] if dr.depth_v(value) == 1 else list(value)


def _values(vertex: Vertex, lane: mi.UInt32) -> dict:
    """What a vertex consists of, by the names of ``Kept.fields``."""
    pi, light = vertex.pi, vertex.light
    number = dr.reinterpret_array
    return {
        "lane": lane, "t": pi.t, "prim_uv": pi.prim_uv, "prim_index": pi.prim_index, "shape_index": pi.shape_index,
        "shape": number(mi.UInt32, pi.shape), "instance": number(mi.UInt32, pi.instance),
        "o": vertex.o, "d": vertex.d, "ahead": vertex.ahead, "collected": vertex.collected,
        "lobe": vertex.lobe, "lobe_sample_1": vertex.lobe_samples[0], "lobe_sample_2": vertex.lobe_samples[1],
        "throughput": vertex.throughput, "mis": vertex.mis, "scale": light.scale,
        "light": vertex.throughput * light.weight, "light_d": light.ds.d, "light_p": light.ds.p,
        "light_n": light.ds.n, "light_uv": light.ds.uv, "light_dist": light.ds.dist,
        "emitter": number(mi.UInt32, light.ds.emitter), "weight": vertex.weight,
    }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class StoredVertices:
    """Vertices read back, detached."""

    lane: mi.UInt32  #: of the path [V]
    used: mi.Bool  #: whether there is a vertex at all [V]
    pi: mi.PreliminaryIntersection3f  #: hit [V]
    ray: mi.Ray3f  #: that found it [V]
    light_d: mi.Vector3f  #: direction of the emitter sample [V]
    fields: dict  #: the rest, by name

    @classmethod
    def of(cls, fields: dict, used: mi.Bool, camera_ray: mi.Ray3f) -> StoredVertices:
        """Put hits and rays together."""
        lane = fields["lane"]
        pi = dr.zeros(mi.PreliminaryIntersection3f, dr.width(lane))
        if "t" in fields:
            pi.t, pi.prim_uv, pi.prim_index = fields["t"], fields["prim_uv"], fields["prim_index"]
            pi.shape = dr.reinterpret_array(mi.ShapePtr, fields["shape"])
        if "instance" in fields:
            pi.instance = dr.reinterpret_array(mi.ShapePtr, fields["instance"])
            pi.shape_index = fields["shape_index"]
        pi.valid = used & ("t" in fields) & (pi.t < dr.inf)
        time, wavelengths = (
            dr.gather(type(value), value, lane) if dr.width(value) > 1 else value
            for value in (camera_ray.time, camera_ray.wavelengths)
        )
        return cls(
            lane,
            used,
            pi,
            mi.Ray3f(fields.get("o", mi.Point3f(0)), fields["d"], time, wavelengths),
            fields["light_d"],
            fields,
        )

    def direction_sample(self) -> mi.DirectionSample3f:
        """The emitter samples, as far as their radiance depends on them. [V]"""
        f = self.fields
        ds = dr.zeros(mi.DirectionSample3f, dr.width(self.lane))
        ds.d, ds.p, ds.n, ds.uv, ds.dist = self.light_d, f["light_p"], f["light_n"], f["light_uv"], f["light_dist"]
        ds.time = self.ray.time
        ds.emitter = dr.reinterpret_array(mi.EmitterPtr, f["emitter"])
        return ds
