"""The only module that knows how Mitsuba stores triangle meshes."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError, suggestion

#: Positions closer than this fraction of a mesh's extent are one point
WELDING_TOLERANCE = 1e-6

_POSITIONS, _NORMALS, _FACES = "vertex_positions", "vertex_normals", "faces"
_BASIC = (_POSITIONS, _NORMALS, _FACES)


def corners(shape: mi.ShapePtr, prim_index: mi.UInt32, active: mi.Bool) -> tuple[mi.Point3f, mi.Point3f, mi.Point3f]:
    """The corners of triangles, attached, world space (object space for instanced meshes).

    Args:
        shape: Meshes; other lanes must be inactive. [N]
        prim_index: Triangle of each lane. [N]
    """
    mesh = mi.MeshPtr(shape)
    face = mesh.face_indices(prim_index, active)
    a, b, c = (mesh.vertex_position(face[k], active) for k in range(3))
    return a, b, c


def triangle_area(shape: mi.ShapePtr, prim_index: mi.UInt32, active: mi.Bool) -> mi.Float:
    """Area of triangles, attached to their vertices; squared scene units. Arguments as in :func:`corners`. [N]"""
    a, b, c = corners(shape, prim_index, active)
    return 0.5 * dr.norm(dr.cross(b - a, c - a))


def triangles(mesh: mi.Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Vertex positions [V, 3] and faces [F, 3], detached; rectangles, which have no buffers, are two triangles."""
    vertex = mesh.vertex_position(dr.arange(mi.UInt32, mesh.vertex_count()))
    face = mesh.face_indices(dr.arange(mi.UInt32, mesh.face_count()))
    return np.array(dr.detach(vertex), np.float64).T, np.array(face, np.int64).T


def face_buffer(shape: mi.Shape) -> mi.UInt32:
    """The array that holds a mesh's triangles, as it is stored; an empty one for rectangles and other shapes."""
    return shape.faces_buffer() if shape.is_mesh() and shape.class_name() != "Rectangle" else mi.UInt32()


def position_buffer(shape: mi.Shape) -> mi.Float:
    """The array that holds a mesh's vertices, detached; an empty one for rectangles and other shapes."""
    has_buffer = shape.is_mesh() and shape.class_name() != "Rectangle"
    return dr.detach(shape.vertex_positions_buffer()) if has_buffer else mi.Float()


def vertex_position(shape: mi.ShapePtr, index: mi.UInt32, active: mi.Bool) -> mi.Point3f:
    """World-space vertices of meshes and rectangles, attached. [N]"""
    return mi.MeshPtr(shape).vertex_position(index, active)


def weld(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which vertices are one point: seams of texture coordinates and flat shading store points several times.

    Args:
        positions: [V, 3]

    Returns:
        One vertex of each point [W], and the point of each vertex [V].

    Example:
        >>> weld(np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]]))[1].tolist()
        [0, 1, 0]
    """
    _, first, point = np.unique(_cells(positions), axis=0, return_index=True, return_inverse=True)
    return first, point.reshape(-1)


def point_count(positions: np.ndarray) -> int:
    """How many points :func:`weld` finds, or very rarely fewer, in a fraction of the time.

    Args:
        positions: [V, 3]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        keys = _cells(positions).astype(np.int64) @ np.array([73856093, 19349663, 83492791], np.int64)
    # Sorted: NumPy's unique hashes whole numbers, which takes a hundred times as long for these
    keys.sort()
    return int(np.count_nonzero(np.diff(keys))) + min(len(keys), 1)


def extent(positions: np.ndarray) -> float:
    """Longest side of the box around vertices. [V, 3]"""
    if not len(positions):
        return 0.0
    # One coordinate after the other in memory: several times faster
    return float(np.ptp(np.ascontiguousarray(positions.T), axis=1).max())


def _cells(positions: np.ndarray) -> np.ndarray:
    """Vertices in a grid whose cells are single points. [V, 3]"""
    return np.round(positions / (max(extent(positions), 1e-30) * WELDING_TOLERANCE))


def position_key(name: str) -> str:
    """Key of a mesh's vertex positions.

    Example:
        >>> position_key("bunny")
        'bunny.vertex_positions'
    """
    return f"{name}.{_POSITIONS}"


def face_key(name: str) -> str:
    """Key of a mesh's triangles."""
    return f"{name}.{_FACES}"


def find_meshes(scene: mi.Scene, pattern: str) -> list[str]:
    """Ids of the meshes whose vertices can move, by id, key of their positions, or glob.

    Example:
        >>> find_meshes(scene, "bunny*")
        ['bunny']
    """
    pattern = pattern.removesuffix(f".{_POSITIONS}")
    shapes = {shape.id(): shape for shape in scene.shapes()}
    keys = set(mi.traverse(scene).keys())
    meshes = [name for name in shapes if position_key(name) in keys]
    if pattern in shapes and pattern not in meshes:
        kind = shapes[pattern].class_name()
        raise InputError(f"shape '{pattern}' is a {kind}, which has no vertices{suggestion('', meshes)}")
    found = [name for name in meshes if name == pattern or fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise InputError(f"no mesh of the scene is called '{pattern}'{suggestion(pattern, meshes)}")
    return found


def surface_data(parameters: mi.SceneParameters, name: str) -> list[str]:
    """Names of what a mesh stores for each vertex or triangle besides positions and normals."""
    keys = [key for key in list(parameters.keys()) if key.startswith(f"{name}.")]
    owner = parameters.properties[position_key(name)][2]
    keys = [key for key in keys if parameters.properties[key][2] is owner]
    names = [key.removeprefix(f"{name}.") for key in keys if dr.width(parameters[key])]
    return [n for n in names if n.startswith(("vertex_", "face_")) and n not in _BASIC]


def set_meshes(parameters: mi.SceneParameters, values: Mapping[str, np.ndarray]) -> None:
    """Give all meshes their triangles of which the values, by key, hold positions and faces."""
    names = [key.removesuffix(f".{_FACES}") for key in values if key.endswith(f".{_FACES}")]
    for name in names:
        if position_key(name) in values:
            set_triangles(parameters, name, values[position_key(name)], values[face_key(name)])


def set_triangles(parameters: mi.SceneParameters, name: str, positions: np.ndarray, faces: np.ndarray) -> None:
    """Give a mesh other triangles, also other numbers of them; smooth normals are computed anew.

    Args:
        positions: World space. [V, 3]
        faces: [F, 3]
    """
    kind = type(parameters[face_key(name)])
    parameters[face_key(name)] = kind(np.ascontiguousarray(faces, np.uint32).ravel())
    kind = type(parameters[position_key(name)])
    parameters[position_key(name)] = kind(np.ascontiguousarray(positions, np.float32).ravel())
    parameters.update()
