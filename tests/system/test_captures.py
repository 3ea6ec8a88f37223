"""Cameras of other programs: glowing balls appear where each format's own formulas project them."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError
from pbdr.optimize.views.captures import read_captures, write_captures
from pbdr.optimize.views.captures.projections import decompose
from pbdr.scene import load_scene

WIDTH, HEIGHT, FOCAL, CX, CY = 64, 48, 70.0, 35.0, 22.0
#: World points, which no mirroring or turning maps onto each other
BALLS = np.array([[0.35, 0.1, 0.2], [-0.3, 0.25, -0.1], [0.05, -0.3, 0.3]])


def cameras() -> list[tuple[np.ndarray, np.ndarray]]:
    """World to camera with axes right, down, forward: rotation and translation of two views."""
    found = []
    for origin, up in (([0.6, -2.2, 0.7], [0.1, 0, 1]), ([-1.9, 0.9, 1.1], [0, 0.3, 1])):
        forward = -np.array(origin) / np.linalg.norm(origin)
        right = np.cross(forward, up)
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(forward, right), forward])
        found.append((R, -R @ np.array(origin)))
    return found


def projected(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Pixels of the balls, from the corner of the image. [3, 2]"""
    points = BALLS @ R.T + t
    return FOCAL * points[:, :2] / points[:, 2:] + [CX, CY]


def write_images(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    files = [folder / f"photo_{k}.png" for k in range(2)]
    for k, file in enumerate(files):
        mi.Bitmap(np.full((HEIGHT, WIDTH, 3), 50 * k, np.uint8)).write(str(file))
    return files


def quaternion(R: np.ndarray) -> np.ndarray:
    w = np.sqrt(max(0, 1 + np.trace(R))) / 2
    return np.array([w, *((np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])) / (4 * w))])


def nerfstudio(folder: Path) -> Path:
    files, frames = write_images(folder / "images"), []
    for file, (R, t) in zip(files, cameras(), strict=True):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = R.T @ np.diag([1, -1, -1]), -R.T @ t
        frames.append({"file_path": f"images/{file.name}", "transform_matrix": matrix.tolist()})
    camera = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "cx": CX, "cy": CY, "k1": 0.0}
    (folder / "transforms.json").write_text(json.dumps({"camera_model": "OPENCV", **camera, "frames": frames}))
    return folder / "transforms.json"


def nerf_synthetic(folder: Path) -> Path:
    """With its principal point in the middle, and names without suffix."""
    file = nerfstudio(folder)
    frames = json.loads(file.read_text())["frames"]
    for frame in frames:
        frame["file_path"] = "./" + frame["file_path"].removesuffix(".png")
    file.write_text(json.dumps({"camera_angle_x": 2 * np.arctan(WIDTH / 2 / FOCAL), "frames": frames}))
    return folder


def colmap_text(folder: Path) -> Path:
    files, model = write_images(folder / "images"), folder / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text(f"# cameras\n7 PINHOLE {WIDTH} {HEIGHT} {FOCAL} {FOCAL} {CX} {CY}\n")
    lines = ["# images"]
    for k, (file, (R, t)) in enumerate(zip(files, cameras(), strict=True)):
        lines += [" ".join(map(str, [k + 1, *quaternion(R), *t, 7, file.name])), "1.5 2.5 -1" if k else ""]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    return folder


def colmap_binary(folder: Path) -> Path:
    files, model = write_images(folder / "images"), folder / "sparse" / "0"
    model.mkdir(parents=True)
    camera = struct.pack("<iiQQ3d", 7, 0, WIDTH, HEIGHT, FOCAL, CX, CY)
    (model / "cameras.bin").write_bytes(struct.pack("<Q", 1) + camera)
    data = struct.pack("<Q", 2)
    for k, (file, (R, t)) in enumerate(zip(files, cameras(), strict=True)):
        data += struct.pack("<i7di", k + 1, *quaternion(R), *t, 7) + file.name.encode() + b"\0"
        data += struct.pack("<Q", 2 * k) + struct.pack("<ddq", 1.0, 2.0, -1) * (2 * k)
    (model / "images.bin").write_bytes(data)
    return folder


def idr(folder: Path) -> Path:
    """In a world three times as large and displaced, which ``scale_mat`` undoes; P is known up to a factor."""
    write_images(folder / "image")
    scale = np.diag([3.0, 3.0, 3.0, 1.0])
    scale[:3, 3] = [0.5, -1, 2]
    arrays = {}
    for k, (R, t) in enumerate(cameras()):
        P = np.eye(4)
        P[:3] = np.array([[FOCAL, 0, CX - 0.5], [0, FOCAL, CY - 0.5], [0, 0, 1]]) @ np.column_stack([R, t])
        arrays |= {f"world_mat_{k}": (2.5 * P) @ np.linalg.inv(scale), f"scale_mat_{k}": scale}
    np.savez(folder / "cameras_sphere.npz", **arrays)
    return folder


def mitsuba_folder(folder: Path) -> Path:
    """Sensors by ``lookat``, whose directions are those of the cameras."""
    files = write_images(folder)
    for file, (R, t) in zip(files, cameras(), strict=True):
        origin = -R.T @ t
        look = ", ".join(map(str, origin)), ", ".join(map(str, origin + R[2])), ", ".join(map(str, -R[1]))
        file.with_suffix(".xml").write_text(
            f"""<scene version="3.0.0"><sensor type="perspective">
            <float name="fov" value="{np.degrees(2 * np.arctan(WIDTH / 2 / FOCAL))}"/>
            <float name="principal_point_offset_x" value="{0.5 - CX / WIDTH}"/>
            <float name="principal_point_offset_y" value="{0.5 - CY / HEIGHT}"/>
            <transform name="to_world"><lookat origin="{look[0]}" target="{look[1]}" up="{look[2]}"/></transform>
            <film type="hdrfilm"><integer name="width" value="{WIDTH}"/><integer name="height" value="{HEIGHT}"/></film>
            </sensor></scene>"""
        )
    return folder


FORMATS = [nerfstudio, nerf_synthetic, colmap_text, colmap_binary, idr, mitsuba_folder]


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_balls_appear_where_they_are_projected(pbdr_command: Callable, tmp_path: Path, write: Callable) -> None:
    """One ball in each colour channel; the centre of its picture against the format's formula, in pixels."""
    source, job = write(tmp_path / "capture"), tmp_path / "job"
    outcome = pbdr_command("import-views", source, job)
    assert outcome.code == 0, outcome.stderr
    balls = "".join(
        f'<shape type="sphere"><point name="center" value="{", ".join(map(str, center))}"/>'
        '<float name="radius" value="0.03"/><emitter type="area"><rgb name="radiance" '
        f'value="{" ".join("1" if i == k else "0" for i in range(3))}"/></emitter></shape>'
        for k, center in enumerate(BALLS)
    )
    wall = '<shape type="rectangle" id="wall"><transform name="to_world"><translate z="-50"/></transform>'
    wall += '<bsdf type="diffuse" id="paint"><rgb name="reflectance" value="0.5"/></bsdf></shape>'
    (job / "scene.xml").write_text(f'<scene version="3.0.0"><include filename="cameras.xml"/>{balls}{wall}</scene>')
    scene = load_scene(job / "scene.xml")
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    for sensor, (R, t) in zip(scene.sensors(), cameras(), strict=True):
        image = np.array(mi.render(scene, sensor=sensor, spp=64, integrator=mi.load_dict({"type": "direct"})))[..., :3]
        expected = projected(R, t) - ([CX - WIDTH / 2, CY - HEIGHT / 2] if write is nerf_synthetic else [0, 0])
        for k in range(3):
            weight = image[..., k] / image[..., k].sum()
            assert np.allclose([(weight * x).sum(), (weight * y).sum()], expected[k], atol=0.08), (sensor.id(), k)
    text = 'scene = "scene.xml"\nviews = "views.toml"\n[[parameters]]\nkey = "wall.bsdf.reflectance.value"\n'
    (job / "job.toml").write_text(text)
    problem = pbdr.Problem.from_job(job)
    assert [np.array(view.target).max() > 0 for view in problem.views] == [False, True]


def test_projections_are_decomposed() -> None:
    R, t = cameras()[0]
    K = np.array([[70.0, 0.4, 30], [0, 71, 20], [0, 0, 1]])
    for factor in (0.3, -2.0):
        found = decompose(factor * K @ np.column_stack([R, t]))
        for one, other in zip(found, (K, R, t), strict=True):
            assert np.allclose(one, other)


def test_captures_that_are_refused(tmp_path: Path) -> None:
    file = nerfstudio(tmp_path / "one")
    data = json.loads(file.read_text())
    for change, words in (
        ({"k1": 0.1}, "the lens distorts (k1 = 0.1); undistort"),
        ({"fl_y": 90.0}, "pixels that are not square"),
        ({"camera_model": "OPENCV_FISHEYE"}, "are not pinhole cameras"),
        ({"frames": [{**data["frames"][0], "file_path": "images/gone.png"}]}, "gone.png' does not exist"),
        ({"frames": [{**data["frames"][0], "transform_matrix": np.zeros((4, 4)).tolist()}]}, "no rotation"),
        ({"frames": [{**data["frames"][0], "transform_matrix": [["a"], [0, 1]]}]}, "must hold 4 × 4 numbers"),
        ({"fl_x": "wide"}, "'fl_x' must be a number, got 'wide'"),
        ({"frames": [1]}, "no list 'frames'"),
    ):
        file.write_text(json.dumps(data | change))
        with pytest.raises(InputError, match=re.escape(words)), np.errstate(invalid="ignore"):
            read_captures(file)
    with pytest.raises(InputError, match="a folder of images is for COLMAP models"):
        read_captures(file, tmp_path)
    for source, words in ((tmp_path / "gone", "neither a folder nor"), (tmp_path, "no image with an XML file")):
        with pytest.raises(InputError, match=words):
            read_captures(source)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 3},
        {"frames": [3]},
        {"frames": []},
        {"fl_x": "wide"},
        {"fl_x": 0},
        {"cx": None},
        {"transform_matrix": [[1, 0], [0]]},
        [],
    ],
    ids=str,
)
def test_damaged_captures_end_in_one_sentence(tmp_path: Path, change: dict | list) -> None:
    file = nerfstudio(tmp_path / "one")
    data = json.loads(file.read_text())
    if "transform_matrix" in change:
        change = {"frames": [data["frames"][0] | change]}
    file.write_text(json.dumps(data | change if change else change))
    with pytest.raises(InputError) as error:
        read_captures(file)
    assert "\n" not in str(error.value) and str(file) in str(error.value)


def test_damaged_files_of_captures_end_in_one_sentence(tmp_path: Path) -> None:
    model = tmp_path / "sparse"
    (model / "images").mkdir(parents=True)
    (tmp_path / "cameras.npz").write_bytes(b"PK no archive")
    (model / "cameras.txt").write_text("1 PINHOLE 24\n")
    (model / "images.txt").write_text("1 1 0 0 0 0 0 0 1 a.png\n\n")
    for source, words in ((tmp_path / "cameras.npz", "cannot be read"), (model, "IndexError")):
        with pytest.raises(InputError, match=words):
            read_captures(source)
    for name in ("cameras", "images"):
        (model / f"{name}.txt").rename(model / f"{name}.bin")
    with pytest.raises(InputError, match="sparse"):
        read_captures(model)
    file = nerfstudio(tmp_path / "one")
    for image in (tmp_path / "one").rglob("*.png"):
        image.write_text("no picture")
    with pytest.raises(InputError, match="cannot be read"):
        write_captures(read_captures(file), tmp_path / "job")
    assert not (tmp_path / "job").exists()
