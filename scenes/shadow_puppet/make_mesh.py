"""Build the rabbit whose shadow the scene shows from a few ellipsoids: ``python make_mesh.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FILE = Path(__file__).resolve().parent / "meshes" / "rabbit.ply"

#: Centre, half axes and tilt in degrees in the picture plane of body, head, ears, tail, foreleg and foot
ELLIPSOIDS = [
    ((-0.06, -0.10, 0.00), (0.30, 0.22, 0.17), 14),
    ((0.22, 0.13, 0.00), (0.17, 0.14, 0.12), -18),
    ((0.10, 0.37, 0.06), (0.065, 0.20, 0.04), 16),
    ((0.25, 0.40, -0.06), (0.065, 0.20, 0.04), -14),
    ((-0.36, -0.10, 0.00), (0.075, 0.07, 0.07), 0),
    ((0.16, -0.22, 0.04), (0.06, 0.16, 0.05), 4),
    ((-0.08, -0.31, 0.05), (0.18, 0.045, 0.06), 0),
]


def sphere(rings: int = 13, segments: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """A unit sphere. Vertices [V, 3] and faces [F, 3]"""
    polar = np.linspace(0, np.pi, rings)[1:-1, None]
    azimuth = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    ring = [np.sin(polar) * np.cos(azimuth), np.cos(polar) + 0 * azimuth, -np.sin(polar) * np.sin(azimuth)]
    vertices = np.concatenate([np.stack(ring, axis=-1).reshape(-1, 3), [[0, 1, 0], [0, -1, 0]]])
    i, j = np.meshgrid(np.arange(rings - 3), np.arange(segments), indexing="ij")
    a, b = i * segments + j, i * segments + (j + 1) % segments
    quads = np.stack([a, a + segments, b + segments, b], axis=-1).reshape(-1, 4)
    first, last, top = np.arange(segments), (rings - 3) * segments + np.arange(segments), (rings - 2) * segments
    caps = [np.stack([np.full(segments, top), first, np.roll(first, -1)], axis=1)]
    caps.append(np.stack([np.full(segments, top + 1), np.roll(last, -1), last], axis=1))
    return vertices, np.concatenate([quads[:, :3], quads[:, [0, 2, 3]], *caps])


def main() -> None:
    """Write the mesh as binary PLY."""
    unit, unit_faces = sphere()
    vertices, faces = [], []
    for center, axes, tilt in ELLIPSOIDS:
        c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        faces.append(unit_faces + sum(map(len, vertices)))
        vertices.append(unit * axes @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + center)
    V, F = np.concatenate(vertices), np.concatenate(faces)
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(V)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(F)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(F), [("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, F
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_bytes(header.encode() + V.astype("<f4").tobytes() + rows.tobytes())


if __name__ == "__main__":
    main()
