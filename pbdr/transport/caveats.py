"""What gradients leave out although nothing is refused: said once, before anything is rendered."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np

from ..geometry import mesh
from ..geometry.edges import children, placed_shapes
from ..geometry.flags import all_shapes
from ..geometry.motion import MOTION_KEYS, carries_motion
from ..scene_parameters import attached_values
from .emitter import textured_meshes
from .lobes import parts
from .sensor import sensor_moves, window

#: Degrees between the vertex normals of a mesh and its faces, on average, from which on they are spoken of: derivatives
#: were off by one to two percent there
COARSE_NORMALS = 10.0

#: Share of a lamp's area that emitter samples may fail to reach, and points that are looked at
_UNREACHED, _ASKED = 0.01, 8192

#: Object-space corners of the triangles of a round shape, by kind, of this many columns
_COLUMNS = 32


def caveats(scene: mi.Scene) -> list[str]:
    """All that is to be said of a scene and of what is attached in it, but for its sensors."""
    return shading_caveats(scene) + lamp_caveats(scene)


def shading_caveats(scene: mi.Scene) -> list[str]:
    """What shading normals that differ from the surface cost, if something is attached for which it matters."""
    attached = {shape: attached_values(shape) for shape in all_shapes(scene)}
    moves, said = _moves(scene, attached), []
    for shape, values in attached.items():
        concerns = shape.is_mesh() and (moves or "vertex_normals" in values)
        if concerns and (tilt := _tilt(shape)) > COARSE_NORMALS:
            said.append(
                f"shape '{shape.id()}' has vertex normals {tilt:.0f} degrees off its faces on average: where light or "
                "a viewer is on different sides of the two, derivatives are incomplete (docs/silhouettes.md has "
                "numbers); finer triangles or 'face_normals' help"
            )
        for part in parts(shape.bsdf()) if shape.bsdf() is not None else ():
            kind = {"NormalMap": "normal", "BumpMap": "bump"}.get(part.class_name())
            if kind and (moves or any(map(attached_values, filter(_is_texture, children(part))))):
                said.append(
                    f"shape '{shape.id()}' has a {kind} map: where light or a viewer is on different sides of the "
                    "surface and of its normals, derivatives are incomplete (docs/silhouettes.md has numbers)"
                )
    return list(dict.fromkeys(said))


def lamp_caveats(scene: mi.Scene) -> list[str]:
    """Lamps of which emitter samples reach a part only, if anything moves."""
    lamps = textured_meshes(scene)
    if not lamps or not _moves(scene, {shape: attached_values(shape) for shape in all_shapes(scene)}):
        return []
    return [
        f"shape '{shape.id()}' shines with a texture, and {share:.0%} of its surface shares texture coordinates with "
        "another part or has none within 0 to 1: Mitsuba's image lacks light of it, and derivatives by what moves are "
        "off; give each point of the lamp its own"
        for shape in lamps
        if shape.has_vertex_texcoords() and (share := _unreached(shape)) > _UNREACHED
    ]


def _moves(scene: mi.Scene, attached: dict[mi.Shape, dict]) -> bool:
    """Whether anything that carries derivatives moves: a sensor, an emitter, a shape.

    Args:
        attached: Of each shape.
    """
    moves = any(map(sensor_moves, scene.sensors())) or any(map(carries_motion, scene.emitters()))
    return moves or any(MOTION_KEYS & values.keys() for values in attached.values())


def _unreached(shape: mi.Mesh) -> float:
    """Share of a mesh's area that is elsewhere than its texture coordinates say, or has none in the unit square."""
    with dr.suspend_grad():
        random, prim = np.random.default_rng(0), np.arange(_ASKED) * shape.face_count() // _ASKED
        inner = random.dirichlet((1, 1, 1), _ASKED)
        face = shape.face_indices(mi.UInt32(prim))
        uv, p = (
            sum(mi.Float(inner[:, k]) * value(face[k]) for k in range(3))
            for value in (shape.vertex_texcoord, shape.vertex_position)
        )
        found = shape.eval_parameterization(uv, mi.RayFlags.Minimal, mi.Bool(True))
        apart = dr.norm(found.p - p) > 1e-3 * float(dr.norm(shape.bbox().extents()))
        inside = dr.all((uv >= 0) & (uv <= 1))
        a, b, c = (shape.vertex_position(face[k]) for k in range(3))
        area = dr.norm(dr.cross(b - a, c - a))
        missed = dr.select(found.is_valid() & ~apart & inside, 0, area)
        return float((dr.sum(missed) / dr.maximum(dr.sum(area), 1e-30))[0])


def _is_texture(one: mi.Object) -> bool:
    return isinstance(one, mi.Texture)


def _tilt(shape: mi.Mesh) -> float:
    """Mean angle between the normals at a mesh's corners and its faces, degrees, by area; 0 without such normals."""
    if not shape.has_vertex_normals() or shape.has_face_normals():
        return 0.0
    positions, faces = mesh.triangles(shape)
    normals = np.array(dr.detach(shape.vertex_normal(dr.arange(mi.UInt32, len(positions)))), np.float64).T
    a, b, c = (positions[faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    twice = np.linalg.norm(across, axis=1)
    cosine = np.einsum("fkj,fj->fk", normals[faces], across) / np.maximum(twice, 1e-30)[:, None]
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean(axis=1)
    return float(np.average(angle, weights=twice)) if twice.sum() > 0 else 0.0


def clipping_caveats(scene: mi.Scene, sensor: mi.Sensor) -> list[str]:
    """Surfaces that move, against the camera too, and that a clipping plane of the camera cuts in view."""
    view, all_move = window(sensor), sensor_moves(sensor)
    origin, to_local = (np.array(x, np.float64) for x in (view.origin, view.to_local))
    said = []
    for owner in scene.shapes():
        members = placed_shapes(scene, owner)
        if not (all_move or any(map(carries_motion, {owner, *members}))):
            continue
        box = owner.bbox()
        corners = np.array([[(box.min, box.max)[i][k] for k, i in enumerate(ijk)] for ijk in np.ndindex(2, 2, 2)])
        depth = _local(corners, origin, to_local)[:, 2]
        for name, plane in (("near", sensor.near_clip()), ("far", sensor.far_clip())):
            if depth.min() < plane < depth.max() and any(
                _is_cut_in_view(_local(_corners(owner, member), origin, to_local), plane, view) for member in members
            ):
                said.append(
                    f"the {name} clipping plane of sensor '{sensor.id()}' cuts shape '{owner.id()}' in view: the "
                    f"derivative of the cut is missing where one moves against the other; change '{name}_clip'"
                )
    return said


def _local(points: np.ndarray, origin: np.ndarray, to_local: np.ndarray) -> np.ndarray:
    return (points - origin.reshape(3)) @ to_local.reshape(3, 3).T


def _is_cut_in_view(corners: np.ndarray, plane: float, view) -> bool:
    """Whether triangles meet a plane of constant depth within the film.

    Args:
        corners: In the camera's frame. [F, 3, 3]
        view: The sensor's window.
    """
    z = corners[..., 2] - plane
    corners, z = (x[(z.min(axis=1) < 0) & (z.max(axis=1) > 0)] for x in (corners, z))
    following, z_following = np.roll(corners, -1, axis=1), np.roll(z, -1, axis=1)
    crosses = (z < 0) != (z_following < 0)
    s = np.where(crosses, z / np.where(crosses, z - z_following, 1), 0)
    slopes = ((corners + s[..., None] * (following - corners)) / plane)[..., :2]
    low = np.where(crosses[..., None], slopes, np.inf).min(axis=1)
    high = np.where(crosses[..., None], slopes, -np.inf).max(axis=1)
    return bool(((low < np.array(view.high)) & (high > np.array(view.low))).all(axis=1).any())


def _corners(owner: mi.Shape, member: mi.Shape) -> np.ndarray:
    """Corners of a shape's triangles, roughly those of other shapes, world space. [F, 3, 3]"""
    placement = mi.traverse(owner)["to_world"].matrix if "to_world" in mi.traverse(owner) else None
    if member.is_mesh():
        positions, faces = mesh.triangles(member)
        corners = positions[faces]
        placement = placement if member is not owner else None
    else:
        corners = _grid(member.class_name())
    if placement is None:
        return corners
    matrix = np.array(dr.detach(placement), np.float64).reshape(4, 4)
    return corners @ matrix[:3, :3].T + matrix[:3, 3]


def _grid(kind: str) -> np.ndarray:
    """Triangles of a disk, a cylinder, or the unit sphere, which stands for all others; object space. [F, 3, 3]"""
    v, φ = np.meshgrid(np.linspace(0, 1, _COLUMNS // 2), np.linspace(0, 2 * np.pi, _COLUMNS), indexing="ij")
    r, z = {"Disk": (v, 0 * v), "Cylinder": (0 * v + 1, v)}.get(kind, (np.sin(np.pi * v), np.cos(np.pi * v)))
    p = np.stack([r * np.cos(φ), r * np.sin(φ), z], axis=-1)
    a, b, c, d = p[:-1, :-1], p[1:, :-1], p[:-1, 1:], p[1:, 1:]
    return np.concatenate([np.stack([a, b, c], axis=-2), np.stack([d, c, b], axis=-2)]).reshape(-1, 3, 3)
