"""Build the teapot of the scene from a few curves: ``python make_mesh.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FILE = Path(__file__).resolve().parent / "meshes" / "teapot.ply"

#: Radius and height of the body, lid and knob, from the bottom up
PROFILE = [
    (0.0, 0.0), (0.26, 0.0), (0.30, 0.02), (0.40, 0.12), (0.46, 0.26), (0.45, 0.38), (0.38, 0.50), (0.29, 0.56),
    (0.28, 0.59), (0.20, 0.63), (0.09, 0.67), (0.05, 0.69), (0.05, 0.71), (0.085, 0.745), (0.08, 0.785), (0.0, 0.81),
]  # fmt: skip
#: Centre line (x, y) and radius of spout and handle
SPOUT = [(0.36, 0.16, 0.12), (0.52, 0.22, 0.095), (0.62, 0.36, 0.065), (0.70, 0.50, 0.05), (0.80, 0.56, 0.045)]
HANDLE = [(-0.36, 0.48, 0.04), (-0.58, 0.54, 0.04), (-0.74, 0.44, 0.04), (-0.68, 0.24, 0.04), (-0.42, 0.14, 0.04)]


def smooth_curve(points: list[tuple[float, ...]], count: int) -> np.ndarray:
    """A Catmull–Rom curve through points. [count, D]"""
    P = np.array(points)
    P = np.concatenate([2 * P[:1] - P[1:2], P, 2 * P[-1:] - P[-2:-1]])
    at = np.linspace(0, len(points) - 1, count)
    k = np.minimum(at.astype(int), len(points) - 2)
    t = (at - k)[:, None]
    a, b, c, d = (P[k + i] for i in range(4))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def grid_faces(rows: int, columns: int) -> np.ndarray:
    """Triangles of a grid whose columns close to a ring. [F, 3]"""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    quads = np.stack([a, b, b + columns, a + columns], axis=-1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 2, 1]], quads[:, [0, 3, 2]]])


def body(rings: int = 34, segments: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """The profile turned around the vertical axis. Vertices [V, 3] and faces [F, 3]"""
    radius, height = smooth_curve(PROFILE, rings).T
    radius = np.maximum(radius, 0)
    radius[[0, -1]] = 0
    angle = -np.linspace(0, 2 * np.pi, segments, endpoint=False)
    x, z = radius[:, None] * np.cos(angle), radius[:, None] * np.sin(angle)
    y = np.broadcast_to(height[:, None], x.shape)
    return np.stack([x, y, z], axis=-1).reshape(-1, 3), grid_faces(rings, segments)


def tube(
    points: list[tuple[float, float, float]], rings: int = 16, segments: int = 14
) -> tuple[np.ndarray, np.ndarray]:
    """A tube in the plane z = 0 with closed ends. Vertices [V, 3] and faces [F, 3]"""
    x, y, radius = smooth_curve(points, rings).T
    direction = np.gradient(np.stack([x, y]), axis=1)
    normal = np.stack([-direction[1], direction[0]]) / np.linalg.norm(direction, axis=0)
    # A ring of radius zero at each end closes it
    x, y, normal = (np.concatenate([v[..., :1], v, v[..., -1:]], axis=-1) for v in (x, y, normal))
    radius = np.concatenate([[0], radius, [0]])
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    across = radius[:, None] * np.cos(angle)
    vertices = [x[:, None] + across * normal[0][:, None], y[:, None] + across * normal[1][:, None]]
    return np.stack([*vertices, radius[:, None] * np.sin(angle)], axis=-1).reshape(-1, 3), grid_faces(
        rings + 2, segments
    )


def smooth_normals(V: np.ndarray, F: np.ndarray) -> np.ndarray:
    """Sums of the normals of adjacent faces, by their area, at the same position. [V, 3]"""
    face = np.cross(V[F[:, 1]] - V[F[:, 0]], V[F[:, 2]] - V[F[:, 0]])
    _, welded = np.unique(V.round(6), axis=0, return_inverse=True)
    normals = np.zeros((welded.max() + 1, 3))
    for corner in range(3):
        np.add.at(normals, welded.ravel()[F[:, corner]], face)
    normals = normals[welded.ravel()]
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def write_ply(file: Path, V: np.ndarray, N: np.ndarray, F: np.ndarray) -> None:
    """Write a triangle mesh with normals as binary PLY."""
    names = "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz"))
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(V)}\n{names}"
        f"element face {len(F)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(F), [("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, F
    file.write_bytes(header.encode() + np.hstack([V, N]).astype("<f4").tobytes() + rows.tobytes())


def main() -> None:
    """Write the mesh."""
    vertices, faces, count = [], [], 0
    for part in (body(), tube(SPOUT), tube(HANDLE)):
        vertices.append(part[0])
        faces.append(part[1] + count)
        count += len(part[0])
    V, F = np.concatenate(vertices), np.concatenate(faces)
    corners = V[F]
    F = F[np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) > 1e-9]
    FILE.parent.mkdir(exist_ok=True)
    write_ply(FILE, V, smooth_normals(V, F), F)


if __name__ == "__main__":
    main()
