"""Build the start and the true mesh: ``python make_mesh.py``, with the extra ``mesh``."""

from __future__ import annotations

from pathlib import Path

import gpytoolbox
import numpy as np
from skimage.measure import marching_cubes

FOLDER = Path(__file__).resolve().parent / "meshes"

#: Centre, half axes and tilt in degrees in the plane of body and head of body, chest, head, snout, tail, haunches, feet
ELLIPSOIDS = [
    ((-0.10, -0.16, 0.00), (0.34, 0.27, 0.24), 12),
    ((0.13, -0.10, 0.00), (0.18, 0.22, 0.17), 30),
    ((0.25, 0.14, 0.00), (0.16, 0.145, 0.135), -20),
    ((0.38, 0.09, 0.00), (0.065, 0.055, 0.06), -20),
    ((-0.44, -0.15, 0.00), (0.085, 0.085, 0.085), 0),
    ((-0.17, -0.24, 0.17), (0.17, 0.15, 0.10), 10),
    ((-0.17, -0.24, -0.17), (0.17, 0.15, 0.10), 10),
    ((0.20, -0.37, 0.10), (0.12, 0.055, 0.06), 0),
    ((0.20, -0.37, -0.10), (0.12, 0.055, 0.06), 0),
    ((0.13, 0.40, 0.10), (0.075, 0.23, 0.05), 18),
    ((0.14, 0.39, -0.10), (0.075, 0.22, 0.05), 30),
]
#: Width of the fillets between them, height of the bumps and their waves per unit length
FILLET, BUMPS, WAVES = 0.035, 0.006, 45.0
#: Sides of the triangles of the true mesh; rings of triangles between two corners of the start's icosahedron
EDGE_LENGTH, RINGS = 0.0102, 16


def height(x: np.ndarray) -> np.ndarray:
    """Negative inside of the true shape, about the distance from it near its surface. [N]

    Args:
        x: [N, 3]
    """
    total = np.zeros(len(x))
    for center, axes, tilt in ELLIPSOIDS:
        c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        local = (x - center) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        r = np.maximum(np.linalg.norm(local / axes, axis=1), 1e-6)
        slope = np.maximum(np.linalg.norm(local / np.square(axes), axis=1), 1e-6 / max(axes))
        total += np.exp(-(r * (r - 1) / slope) / FILLET)
    bumps = np.sin(WAVES * x[:, 0]) * np.sin(WAVES * x[:, 1]) * np.sin(WAVES * x[:, 2] + 1)
    return -FILLET * np.log(np.maximum(total, 1e-30)) - BUMPS * bumps


def true_mesh() -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] and faces [F, 3] of the true shape."""
    low, high, cell = np.array([-0.6, -0.55, -0.4]), np.array([0.55, 0.75, 0.4]), 0.01
    axes = [np.arange(a, b, cell) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    heights = height(grid.reshape(-1, 3)).reshape(grid.shape[:3])
    V, F, _, _ = marching_cubes(heights, 0.0, spacing=(cell, cell, cell))
    return gpytoolbox.remesh_botsch(V + low, F.astype(np.int32), 10, EDGE_LENGTH, True)


def sphere(rings: int, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A sphere of nearly equal triangles: those of an icosahedron, divided. Vertices [V, 3] and faces [F, 3]"""
    corners, faces = gpytoolbox.icosphere(0)
    i, j = np.array([(i, j) for i in range(rings + 1) for j in range(rings + 1 - i)]).T
    weights = np.stack([rings - i - j, i, j], axis=1) / rings
    number = {pair: k for k, pair in enumerate(zip(i.tolist(), j.tolist(), strict=True))}
    small = [[number[p, q], number[p + 1, q], number[p, q + 1]] for p in range(rings) for q in range(rings - p)]
    small += [
        [number[p + 1, q], number[p + 1, q + 1], number[p, q + 1]] for p in range(rings) for q in range(rings - p - 1)
    ]
    points = np.concatenate([weights @ corners[face] for face in faces])
    triangles = np.concatenate([np.array(small) + k * len(weights) for k in range(len(faces))])
    points *= radius / np.linalg.norm(points, axis=1, keepdims=True)
    _, first, point = np.unique(np.round(points * 1e6), axis=0, return_index=True, return_inverse=True)
    return points[first], point.reshape(-1)[triangles]


def write_ply(file: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Write a mesh as binary PLY."""
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, faces
    file.write_bytes(header.encode() + vertices.astype("<f4").tobytes() + rows.tobytes())


def main() -> None:
    """Write both meshes."""
    FOLDER.mkdir(exist_ok=True)
    write_ply(FOLDER / "start.ply", *sphere(RINGS, 0.4))
    write_ply(FOLDER / "bunny.ply", *true_mesh())


if __name__ == "__main__":
    main()
