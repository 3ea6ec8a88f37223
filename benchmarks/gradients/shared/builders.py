"""Parts that the cases share: cameras, lights, meshes and materials, each a few numbers away."""

from __future__ import annotations

import mitsuba as mi
import numpy as np

SIZE = 48
#: Stratified: finite differences of silhouettes have several times less noise
SAMPLER = {"type": "multijitter", "sample_count": 64}


def transform(position=(0, 0, 0), scale=1.0, rotate=None) -> mi.ScalarTransform4f:
    """Scale, then rotate by ``(axis, degrees)``, then move."""
    to_world = mi.ScalarTransform4f().translate(list(position))
    if rotate is not None:
        axis = np.array(rotate[0]) / np.linalg.norm(rotate[0])
        to_world = to_world @ mi.ScalarTransform4f().rotate(axis.tolist(), rotate[1])
    factors = [scale] * 3 if np.isscalar(scale) else list(scale)
    return to_world @ mi.ScalarTransform4f().scale(factors)


def look_at(origin, target) -> mi.ScalarTransform4f:
    """A transform whose +z axis points from origin to target; z is up, or y for a vertical view."""
    up = (0, 1, 0) if np.allclose(origin[:2], target[:2]) else (0, 0, 1)
    return mi.ScalarTransform4f().look_at(origin=list(origin), target=list(target), up=list(up))


def film(size: int = SIZE) -> dict:
    """A small square film with a Gaussian filter."""
    return {
        "type": "hdrfilm",
        "width": size,
        "height": size,
        "rfilter": {"type": "gaussian"},
        "pixel_format": "rgb",
        "component_format": "float32",
    }


def camera(origin=(0, -4, 2.5), target=(0, 0, 0), fov: float = 30, size: int = SIZE) -> dict:
    """A pinhole camera; z is up."""
    return {
        "type": "perspective",
        "fov": fov,
        "to_world": look_at(origin, target),
        "film": film(size),
        "sampler": SAMPLER,
    }


def flat_camera(half_width: float = 1.0, size: int = SIZE) -> dict:
    """A pinhole camera above the origin that images this square of the plane z = 0 without distortion."""
    height = 4.0
    return camera((0, 0, height), (0, 0, 0), 2 * np.degrees(np.arctan(half_width / height)), size)


def rgb(*values: float) -> dict:
    """A colour, or a grey."""
    return {"type": "rgb", "value": list(values) if len(values) == 3 else [float(values[0])] * 3}


def diffuse(*values: float) -> dict:
    """A diffuse material of one albedo or colour, seen from both sides."""
    return {"type": "twosided", "material": {"type": "diffuse", "reflectance": rgb(*values)}}


def texture(size: int = 8, seed: int = 0, low: float = 0.2, high: float = 0.8) -> dict:
    """A random colour texture in floating point."""
    data = np.random.default_rng(seed).uniform(low, high, (size, size, 3)).astype(np.float32)
    return {"type": "bitmap", "bitmap": mi.Bitmap(data), "raw": True, "format": "variant"}


def floor(material: dict | None = None, half_width: float = 4.0, height: float = 0.0) -> dict:
    """A large horizontal square, normal up."""
    return {
        "type": "rectangle",
        "to_world": transform((0, 0, height), half_width),
        "bsdf": material or diffuse(0.6, 0.5, 0.4),
    }


def area_light(origin=(1.5, -1, 3), target=(0, 0, 0), half_width: float = 0.5, radiance: float = 12.0) -> dict:
    """A square light that shines at a target."""
    return {
        "type": "rectangle",
        "to_world": look_at(origin, target) @ mi.ScalarTransform4f().scale(half_width),
        "emitter": {"type": "area", "radiance": rgb(radiance)},
    }


def point_light(position=(1.5, -1, 3), intensity: float = 20.0) -> dict:
    """A point light."""
    return {"type": "point", "position": list(position), "intensity": rgb(intensity)}


def sky(radiance: float = 0.5) -> dict:
    """A constant environment."""
    return {"type": "constant", "radiance": rgb(radiance)}


def environment(seed: int = 0, size: int = 8) -> dict:
    """A random environment map with one bright patch."""
    data = np.random.default_rng(seed).uniform(0.1, 0.6, (size, 2 * size, 3)).astype(np.float32)
    data[size // 4, size // 2 : size // 2 + 2] = 6.0
    return {
        "type": "envmap",
        "bitmap": mi.Bitmap(data),
        "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], 90),
    }


def mesh(
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    material: dict | None = None,
    emission: float | None = None,
    smooth: bool = False,
) -> mi.Mesh:
    """A triangle mesh.

    Args:
        vertices: World-space positions. [V, 3]
        faces: Vertex indices. [F, 3]
        material: Diffuse grey if it is not given.
        emission: Radiance, if the mesh is a light.
        smooth: Whether it has interpolated vertex normals.
    """
    props = mi.Properties()
    props["bsdf"] = mi.load_dict(material or diffuse(0.6, 0.5, 0.4))
    if emission is not None:
        props["emitter"] = mi.load_dict({"type": "area", "radiance": rgb(emission)})
    shape = mi.Mesh("mesh", len(vertices), len(faces), props=props, has_vertex_normals=smooth)
    params = mi.traverse(shape)
    params["vertex_positions"] = np.ravel(np.float32(vertices))
    params["faces"] = np.ravel(np.uint32(faces))
    params.update()
    return shape


def box(position=(0, 0, 0), half_width=0.4, *, rotate=None, split: bool = False, **options) -> mi.Mesh:
    """A cube of 12 triangles: 8 shared vertices, or 24 with one set for each side."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    sides = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = [[s[0], s[i], s[i + 1]] for s in sides for i in (1, 2)]
    if split:
        corners = np.concatenate([corners[side] for side in sides])
        faces = [[4 * k, 4 * k + i, 4 * k + i + 1] for k in range(6) for i in (1, 2)]
    return mesh(_placed(corners, position, half_width, rotate), np.array(faces), **options)


def ball(position=(0, 0, 0), radius: float = 0.5, *, rings: int = 12, bumps: float = 0.0, **options) -> mi.Mesh:
    """A sphere of 2 · rings · (2 · rings − 2) triangles with shared vertices, smooth or bumpy."""
    columns = 2 * rings
    theta = np.pi * np.arange(1, rings) / rings
    phi = 2 * np.pi * np.arange(columns) / columns
    inner = np.stack(
        [
            np.outer(np.sin(theta), np.cos(phi)).ravel(),
            np.outer(np.sin(theta), np.sin(phi)).ravel(),
            np.outer(np.cos(theta), np.ones(columns)).ravel(),
        ],
        axis=1,
    )
    points = np.concatenate([[[0, 0, 1]], inner, [[0, 0, -1]]])
    points = points * (1 + bumps * np.prod(np.sin(7 * points + 1), axis=1, keepdims=True))
    last, faces = len(points) - 1, []
    for j in range(columns):
        k = (j + 1) % columns
        faces += [[0, 1 + j, 1 + k], [last, last - columns + k, last - columns + j]]
        for i in range(rings - 2):
            a, b = 1 + i * columns, 1 + (i + 1) * columns
            faces += [[a + j, b + j, b + k], [a + j, b + k, a + k]]
    return mesh(_placed(points, position, radius, None), np.array(faces), **options)


def sheet(position=(0, 0, 0), half_width=0.5, *, rotate=None, **options) -> mi.Mesh:
    """A square of two triangles: every silhouette is an open border."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    return mesh(_placed(corners, position, half_width, rotate), np.array([[0, 1, 2], [0, 2, 3]]), **options)


def room(half_width: float = 1.5) -> dict:
    """The six walls of a closed room, seen from inside."""
    tints = {
        "x": ((-1, 0, 0), (0.6, 0.3, 0.3)),
        "y": ((1, 0, 0), (0.3, 0.6, 0.3)),
        "z": ((0, -1, 0), (0.5, 0.5, 0.5)),
        "u": ((0, 1, 0), (0.5, 0.5, 0.6)),
        "v": ((0, 0, -1), (0.6, 0.6, 0.5)),
        "w": ((0, 0, 1), (0.6, 0.6, 0.6)),
    }
    return {
        f"wall_{name}": {
            "type": "rectangle",
            "to_world": look_at(half_width * np.array(side), (0, 0, 0)) @ mi.ScalarTransform4f().scale(half_width),
            "bsdf": diffuse(*tint),
        }
        for name, (side, tint) in tints.items()
    }


def _placed(points: np.ndarray, position, half_width, rotate) -> np.ndarray:
    """Points of a unit shape, scaled, rotated and moved. [V, 3]"""
    matrix = np.array(transform(position, half_width, rotate).matrix, dtype=np.float64)
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def scene(**parts) -> mi.Scene:
    """A scene of named parts; the names are the first words of the parameter keys."""
    return mi.load_dict({"type": "scene", **parts}, optimize=False)


def sdf_ball(position=(0, 0, 0), half_width: float = 0.6, radius: float = 0.35, resolution: int = 24) -> dict:
    """A ball as a signed distance field on a grid over a cube of this half width."""
    axis = (np.arange(resolution) + 0.5) / resolution - 0.5
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    distance = np.sqrt(x**2 + y**2 + z**2) - radius
    corner = np.array(position) - half_width
    return {
        "type": "sdfgrid",
        "to_world": transform(corner, 2 * half_width),
        "grid": mi.TensorXf(np.float32(distance[..., None])),
        "normals": "smooth",
        "bsdf": diffuse(0.6, 0.5, 0.4),
    }


def smoke(density: np.ndarray, albedo: float = 0.7) -> dict:
    """A cube around the origin, of half width 0.8, filled with a medium of this density grid. [Z, Y, X, 1]"""
    to_world = transform((-0.8, -0.8, -0.8), 1.6)
    return {
        "type": "cube",
        "to_world": transform((0, 0, 0), 0.8),
        "bsdf": {"type": "null"},
        "interior": {
            "type": "heterogeneous",
            "albedo": albedo,
            "sigma_t": {"type": "gridvolume", "grid": mi.VolumeGrid(np.float32(density)), "to_world": to_world},
            "scale": 2.0,
        },
    }
