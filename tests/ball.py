"""A sphere of triangles, and a scene around it that is seen from three sides."""

from __future__ import annotations

from pathlib import Path

import mitsuba as mi
import numpy as np

PHI = (1 + 5**0.5) / 2
_CORNERS = [(-1, PHI, 0), (1, PHI, 0), (-1, -PHI, 0), (1, -PHI, 0)]
_FACES = [
    (0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6),
    (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7),
    (9, 8, 1),
]  # fmt: skip


def ball(levels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """A unit sphere by dividing an icosahedron. Positions [V, 3] and faces [F, 3]"""
    V = np.array([np.roll(corner, k) for k in range(3) for corner in _CORNERS], float)
    F = np.array(_FACES)
    for _ in range(levels):
        corners = V[F]
        middles = (corners + np.roll(corners, -1, axis=1)) / 2
        a, b, c = (3 * np.arange(len(F)) + k for k in range(3))
        V = np.concatenate([corners.reshape(-1, 3), middles.reshape(-1, 3)])
        ab, bc, ca = (3 * len(F) + 3 * np.arange(len(F)) + k for k in range(3))
        F = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        _, first, point = np.unique(V.round(9), axis=0, return_index=True, return_inverse=True)
        V, F = V[first], point.reshape(-1)[F]
    return V / np.linalg.norm(V, axis=1, keepdims=True), F


_SCENE = """<scene version="3.0.0">
    <integrator type="path"><integer name="max_depth" value="2"/></integrator>
    <sensor type="perspective" id="front">{film}<transform name="to_world">
        <lookat origin="0, 0, 4" target="0, 0, 0" up="0, 1, 0"/></transform></sensor>
    <sensor type="perspective" id="side">{film}<transform name="to_world">
        <lookat origin="4, 0, 0" target="0, 0, 0" up="0, 1, 0"/></transform></sensor>
    <sensor type="perspective" id="top">{film}<transform name="to_world">
        <lookat origin="0, 4, 0" target="0, 0, 0" up="0, 0, 1"/></transform></sensor>
    <shape type="ply" id="ball"><string name="filename" value="ball.ply"/>
        <bsdf type="diffuse"><rgb name="reflectance" value="0.8 0.7 0.6"/></bsdf></shape>
    <shape type="cube" id="box"><transform name="to_world"><scale value="0.2"/><translate x="1.5"/></transform></shape>
    <shape type="sphere" id="bead"><float name="radius" value="0.1"/><point name="center" x="0" y="1.5" z="0"/></shape>
    <emitter type="constant" id="sky"><rgb name="radiance" value="0.5 0.7 0.9"/></emitter>
</scene>
"""
_FILM = """<float name="fov" value="45"/><film type="hdrfilm"><integer name="width" value="24"/>
    <integer name="height" value="24"/><string name="pixel_format" value="rgb"/><rfilter type="box"/></film>"""

_JOB = """scene = "scene.xml"
spp = 4
spp_evaluation = 16
steps = 6
loss = "l2"

[integrator]
type = "pbdr"
boundary = "auto"
max_depth = 2
hide_emitters = true
{views}
[[parameters]]
kind = "mesh"
key = "ball"
learning_rate = 0.1
{mesh}

[output]
image_every = 0
health_every = 2
checkpoint_seconds = 0.001
"""
SENSORS = ("front", "side", "top")


def write_mesh(file: Path, positions: np.ndarray, faces: np.ndarray) -> Path:
    """A mesh with smooth normals as PLY.

    Args:
        positions: [V, 3]
        faces: [F, 3]
    """
    mesh = mi.Mesh("mesh", len(positions), len(faces), has_vertex_normals=True)
    parameters = mi.traverse(mesh)
    parameters["faces"] = mi.UInt32(faces.astype(np.uint32).ravel())
    parameters["vertex_positions"] = mi.Float(positions.astype(np.float32).ravel())
    parameters.update()
    mesh.write_ply(str(file))
    return file


def write_ball_job(folder: Path, mesh: str = "") -> Path:
    """A ball of 162 vertices among a box and a bead, images of an ellipsoid in its place, ``true.ply``, and a job.

    Args:
        mesh: More entries of the mesh.
    """
    V, F = ball(2)
    scene = folder / "scene.xml"
    scene.write_text(_SCENE.format(film=_FILM))
    write_mesh(folder / "true.ply", V * (0.9, 1.2, 0.8) + (0, 0.1, 0), F)
    write_mesh(folder / "ball.ply", V * (0.9, 1.2, 0.8) + (0, 0.1, 0), F)
    integrator = mi.load_dict({"type": "path", "max_depth": 2, "hide_emitters": True})
    true = mi.load_file(str(scene))
    for k, name in enumerate(SENSORS):
        mi.Bitmap(mi.render(true, sensor=k, integrator=integrator, spp=256)).write(str(folder / f"{name}.exr"))
    write_mesh(folder / "ball.ply", V, F)
    views = "".join(f'\n[[views]]\nsensor = "{name}"\ntarget = "{name}.exr"\n' for name in SENSORS)
    file = folder / "job.toml"
    file.write_text(_JOB.format(views=views, mesh=mesh))
    return file
