"""What recordings keep of all paths: vertices, and the light of emitters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import drjit as dr
import mitsuba as mi

from ..geometry.attachment import Attachment
from ..geometry.edges import has_instances
from ..packing import outline, pack, unpack
from .emitter import is_distant
from .memory import Vertex
from .path import Traits
from .records import NONE, PACKET, Records, row_count

#: Kinds of records, as :attr:`Kept.records` calls them
KINDS = VERTICES, LIGHTS = "vertices", "lights"


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is kept of paths: vertices, and where possible in their place the light of emitters that they meet."""

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
    def lights_apart(self) -> bool:
        """Whether light that comes from attached emitters is recorded by itself."""
        return self.attachment.emitters.any and self.attachment.flat_lamps and not self.reusable

    @property
    def records(self) -> dict[str, dict[str, type]]:
        """Names of what is kept, with types, of each kind of record."""
        lights = {}
        if self.lights_apart:
            light = {"lane": mi.UInt32, "emitter": mi.UInt32, "place": mi.Vector3f, "weight": mi.Spectrum}
            lights = {LIGHTS: light}
        if lights and not self.attachment.surfaces.any:
            return lights
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
        if self.attachment.emitters.any and not lights:
            fields |= {
                "throughput": mi.Spectrum, "mis": mi.Float, "scale": mi.Float, "emitter": mi.UInt32,
                "light_p": mi.Point3f, "light_n": mi.Normal3f, "light_uv": mi.Point2f, "light_dist": mi.Float,
            }  # fmt: skip
        else:
            fields |= {"light": mi.Spectrum}
        if self.reusable:
            fields |= {"previous": mi.UInt32, "weight": mi.Spectrum}
        return {VERTICES: fields} | lights

    @property
    def record_bytes(self) -> dict[str, int]:
        """Memory of one record of each kind."""
        return {kind: 4 * PACKET * row_count(fields) for kind, fields in self.records.items()}

    def wants(self, vertex: Vertex) -> mi.Bool:
        """Whether light at a vertex depends on what carries derivatives, or may depend on anything at all. [N]"""
        if self.reusable:
            seen = (vertex.mis > 0) & (vertex.emitter != None)  # noqa: E711 (element-wise)
            return vertex.active & (seen | (vertex.light.scale > 0) | (dr.max(vertex.weight) > 0))
        wanted = self.scatters(vertex)
        if self.attachment.emitters.any:
            wanted |= vertex.active & (self.is_lit(vertex) | self.sees(vertex))
        return wanted

    def scatters(self, vertex: Vertex) -> mi.Bool:
        """Whether the surface at a vertex carries derivatives. [N]"""
        if not self.attachment.surfaces.any:
            return mi.Bool(False)
        shape = dr.reinterpret_array(mi.UInt32, vertex.pi.shape)
        return vertex.active & vertex.pi.is_valid() & self.attachment.surfaces.has(shape)

    def is_lit(self, vertex: Vertex) -> mi.Bool:
        """Whether the emitter sample at a vertex found an emitter that carries derivatives. [N]"""
        sampled = dr.reinterpret_array(mi.UInt32, vertex.light.ds.emitter)
        return (vertex.light.scale > 0) & self.attachment.emitters.has(sampled)

    def sees(self, vertex: Vertex) -> mi.Bool:
        """Whether a vertex lies on an emitter that carries derivatives. [N]"""
        seen = dr.reinterpret_array(mi.UInt32, vertex.emitter)
        return (vertex.mis > 0) & (seen != 0) & self.attachment.emitters.has(seen)


class PathRecords:
    """What a pass keeps of all its paths."""

    def __init__(self, kept: Kept, capacities: Sequence[int], arrays: Sequence[list] | None = None):
        """Make room, or take what is there.

        Args:
            capacities: Records of each kind that there is room for.
            arrays: Of each kind of ``kept.records``.
        """
        self.kept = kept
        arrays = arrays or [None] * len(capacities)
        kinds = zip(kept.records.items(), capacities, arrays, strict=True)
        self._kinds = {kind: Records(fields, capacity, found) for (kind, fields), capacity, found in kinds}

    @property
    def arrays(self) -> list[list]:
        """Counters and numbers of each kind."""
        return [records.arrays for records in self._kinds.values()]

    def append(self, vertex: Vertex, lane: mi.UInt32, previous: mi.UInt32) -> mi.UInt32:
        """Keep what is wanted of a vertex.

        Args:
            lane: Of their paths. [N]
            previous: Slots of the vertices kept before them on their paths. [N]

        Returns:
            The slot of the last vertex kept of each path, ``NONE`` where there is none. [N]
        """
        if lights := self._kinds.get(LIGHTS):
            active = vertex.active & self.kept.is_lit(vertex)
            lights.append(_lit(vertex) | {"lane": lane}, active)
            active = vertex.active & self.kept.sees(vertex)
            lights.append(_seen(vertex) | {"lane": lane}, active, backwards=True)
        if not (vertices := self._kinds.get(VERTICES)):
            return previous
        wanted = self.kept.scatters(vertex) if lights else self.kept.wants(vertex)
        slot = vertices.append(_values(vertex, lane) | {"previous": previous}, wanted)
        return dr.select(slot != NONE, slot, previous)

    def vertices(self, camera_ray: mi.Ray3f) -> StoredVertices | None:
        """The vertices, if any are kept.

        Args:
            camera_ray: Of each path, for time and wavelengths.
        """
        records = self._kinds.get(VERTICES)
        return StoredVertices.of(*records.load(), camera_ray) if records else None

    def lights(self, camera_ray: mi.Ray3f) -> StoredLights | None:
        """Light that comes from emitters, if it is kept by itself."""
        records = self._kinds.get(LIGHTS)
        return StoredLights.of(*records.load(), camera_ray) if records else None


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


def _values(vertex: Vertex, lane: mi.UInt32) -> dict:
    """What a vertex consists of, by the names of ``Kept.records``."""
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


def _lit(vertex: Vertex) -> dict:
    """Light of an emitter sample, likewise."""
    ds = vertex.light.ds
    place = dr.select(is_distant(ds.emitter), ds.d, mi.Vector3f(ds.uv.x, ds.uv.y, -dr.dot(ds.d, ds.n)))
    weight = vertex.throughput * vertex.light.turned
    return {"emitter": dr.reinterpret_array(mi.UInt32, ds.emitter), "place": place, "weight": weight}


def _seen(vertex: Vertex) -> dict:
    """Light of an emitter that the path met, likewise."""
    si, emitter = vertex.si, vertex.emitter
    place = dr.select(si.is_valid(), mi.Vector3f(si.uv.x, si.uv.y, si.wi.z), vertex.d)
    weight = vertex.throughput * vertex.mis
    return {"emitter": dr.reinterpret_array(mi.UInt32, emitter), "place": place, "weight": weight}


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
        pi.t, pi.prim_uv, pi.prim_index = fields["t"], fields["prim_uv"], fields["prim_index"]
        pi.shape = dr.reinterpret_array(mi.ShapePtr, fields["shape"])
        if "instance" in fields:
            pi.instance = dr.reinterpret_array(mi.ShapePtr, fields["instance"])
            pi.shape_index = fields["shape_index"]
        pi.valid = used & (pi.t < dr.inf)
        ray = mi.Ray3f(fields["o"], fields["d"], *_of_lanes(camera_ray, lane))
        return cls(lane, used, pi, ray, fields["light_d"], fields)

    def direction_sample(self) -> mi.DirectionSample3f:
        """The emitter samples, as far as their radiance depends on them. [V]"""
        f = self.fields
        ds = dr.zeros(mi.DirectionSample3f, dr.width(self.lane))
        ds.d, ds.p, ds.n, ds.uv, ds.dist = self.light_d, f["light_p"], f["light_n"], f["light_uv"], f["light_dist"]
        ds.time = self.ray.time
        ds.emitter = dr.reinterpret_array(mi.EmitterPtr, f["emitter"])
        return ds


@dataclasses.dataclass(frozen=True)
class StoredLights:
    """Light of emitters read back, detached."""

    lane: mi.UInt32  #: of the path [V]
    used: mi.Bool  #: whether there is any at all [V]
    emitter: mi.EmitterPtr  #: where it comes from [V]
    si: mi.SurfaceInteraction3f  #: the place that it comes from, as far as emitters ask for it [V]
    weight: mi.Spectrum  #: its share of radiance along the path, for emitted radiance 1 [V]

    @classmethod
    def of(cls, fields: dict, used: mi.Bool, camera_ray: mi.Ray3f) -> StoredLights:
        """Make places: texture coordinates and the side of a surface, or a direction into the distance."""
        lane, place = fields["lane"], fields["place"]
        emitter = dr.reinterpret_array(mi.EmitterPtr, fields["emitter"])
        si = dr.zeros(mi.SurfaceInteraction3f, dr.width(lane))
        si.uv = mi.Point2f(place.x, place.y)
        si.wi = dr.select(is_distant(emitter), -place, mi.Vector3f(0, 0, place.z))
        si.time, si.wavelengths = _of_lanes(camera_ray, lane)
        return cls(lane, used, emitter, si, fields["weight"])

    def emission(self) -> mi.Spectrum:
        """What the emitters as they are now add to the radiance of each path, attached. [V]"""
        return dr.select(self.used, self.weight * self.emitter.eval(self.si, self.used), 0)


def _of_lanes(camera_ray: mi.Ray3f, lane: mi.UInt32) -> tuple[mi.Float, mi.Wavelength]:
    """Time and wavelengths of the paths that records belong to. [V]"""
    return tuple(
        dr.gather(type(value), value, lane) if dr.width(value) > 1 else value
        for value in (camera_ray.time, camera_ray.wavelengths)
    )
