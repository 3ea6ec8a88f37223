"""Scenes with moving silhouettes, what moves in them, and what gradients are held to."""

from __future__ import annotations

import mitsuba as mi
import numpy as np
import pytest

from pbdr.compare.estimators import forward_gradient, reverse_gradient, smooth_adjoint
from pbdr.compare.perturbations import Perturbation
from pbdr.compare.references import central_differences
from pbdr.compare.statistics import assert_unbiased


def stage(
    light: dict,
    thing: dict | None = None,
    *,
    rfilter: str = "gaussian",
    sample_border: bool = False,
    near_clip: float = 0.01,
):
    """A box with split vertices, or something else, that floats over a floor."""
    transform = mi.ScalarTransform4f()
    return mi.load_dict(
        {
            "type": "scene",
            "camera": {
                "type": "perspective",
                "fov": 40,
                "near_clip": near_clip,
                "to_world": transform.look_at(origin=[0.5, -4, 2.5], target=[0, 0, 0.3], up=[0, 0, 1]),
                "film": {
                    "type": "hdrfilm",
                    "width": 24,
                    "height": 24,
                    "pixel_format": "rgb",
                    "sample_border": sample_border,
                    "rfilter": {"type": rfilter},
                },
                "sampler": {"type": "independent"},
            },
            "floor": {"type": "rectangle", "to_world": transform.scale(3)},
            **(thing or {"box": {"type": "cube", "to_world": floating(), "bsdf": green()}}),
            "lamp": light,
        },
        optimize=False,
    )


def floating() -> mi.ScalarTransform4f:
    return mi.ScalarTransform4f().translate([0, 0, 0.9]).rotate([0, 0, 1], 25).scale(0.4)


def green() -> dict:
    return {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.3, 0.6, 0.3]}}


def of(kind: str) -> dict:
    """A sphere, disk or cylinder that floats, seen from both sides."""
    return {"box": {"type": kind, "to_world": floating(), "bsdf": {"type": "twosided", "bsdf": green()}}}


def instance() -> dict:
    """Two instances of a cube, one of which moves."""
    group = {"type": "ref", "id": "group"}
    other = mi.ScalarTransform4f().translate([-0.6, 0.5, 0.3]).scale(0.3)
    return {
        "group": {"type": "shapegroup", "cube": {"type": "cube", "bsdf": green()}},
        "box": {"type": "instance", "g": group, "to_world": floating()},
        "other": {"type": "instance", "g": group, "to_world": other},
    }


def closed_cylinder() -> dict:
    """A cylinder with a disk on top, whose rims are one edge."""
    to_world = floating()
    top = to_world @ mi.ScalarTransform4f().translate([0, 0, 1])
    bsdf = {"type": "twosided", "bsdf": green()}
    return {
        "box": {"type": "cylinder", "to_world": to_world, "bsdf": bsdf},
        "top": {"type": "disk", "to_world": top, "bsdf": bsdf},
    }


def stacked_boxes() -> dict:
    """Two boxes of the same width, one on the other."""
    below = floating() @ mi.ScalarTransform4f().translate([0, 0, -1.3]).scale([1, 1, 0.3])
    return {
        "box": {"type": "cube", "to_world": floating(), "bsdf": green()},
        "below": {"type": "cube", "to_world": below, "bsdf": green()},
    }


def sunk() -> dict:
    """A white sphere that reaches through the floor: they meet in a curve that is no edge of either."""
    return {"box": {"type": "sphere", "radius": 0.6, "bsdf": {"type": "diffuse", "reflectance": 0.95}}}


def cut_away() -> dict:
    """The box, behind a screen that is nearer to the camera than its near clip."""
    screen = mi.ScalarTransform4f().look_at(origin=[0.375, -3, 1.95], target=[0.5, -4, 2.5], up=[0, 0, 1])
    return {
        "box": {"type": "cube", "to_world": floating(), "bsdf": green()},
        "screen": {"type": "rectangle", "to_world": screen @ mi.ScalarTransform4f().scale(0.6)},
    }


def glowing() -> dict:
    """A disk that floats and is much brighter than what lies behind."""
    to_world = mi.ScalarTransform4f().translate([0, -0.5, 1.2]).rotate([1, 0, 0], 60).scale(0.4)
    return {"box": {"type": "disk", "to_world": to_world, "emitter": {"type": "area", "radiance": 6.0}}}


def mesh(points: np.ndarray, faces: np.ndarray, *, smooth: bool = False) -> dict:
    """A mesh of green material."""
    props = mi.Properties()
    props["bsdf"] = mi.load_dict(green())
    made = mi.Mesh("box", len(points), len(faces), props=props, has_vertex_normals=smooth)
    params = mi.traverse(made)
    params["vertex_positions"] = np.float32(points).ravel()
    params["faces"] = np.uint32(faces).ravel()
    params.update()
    return {"box": made}


def tetrahedron_with_a_junction() -> dict:
    """One face is two, which meet in the middle of its neighbour's edge."""
    points = np.array([[-0.6, -0.5, 0.5], [0.7, -0.5, 0.6], [0, 0.6, 0.5], [0, 0, 1.6]])
    points = np.concatenate([points, [(points[0] + points[1]) / 2]])
    return mesh(points, np.array([[0, 4, 2], [4, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])[:, ::-1])


def fine_mesh(rings: int = 24, *, smooth: bool = False) -> dict:
    """A ball of 4 rings (rings − 1) triangles, of which few are near a silhouette."""
    columns = 2 * rings
    θ, φ = np.meshgrid(np.pi * np.arange(1, rings) / rings, 2 * np.pi * np.arange(columns) / columns, indexing="ij")
    inner = np.stack([np.sin(θ) * np.cos(φ), np.sin(θ) * np.sin(φ), np.cos(θ)], axis=-1).reshape(-1, 3)
    points = 0.4 * np.concatenate([inner, [[0, 0, 1], [0, 0, -1]]]) + [0, 0, 0.9]
    j = np.arange(columns)
    k, last = (j + 1) % columns, len(inner) - columns
    faces = [np.stack([0 * j + len(inner), j, k], 1), np.stack([0 * j + len(inner) + 1, last + k, last + j], 1)]
    for a in columns * np.arange(rings - 2):
        b = a + columns
        faces += [np.stack([a + j, b + j, b + k], 1), np.stack([a + j, b + k, a + k], 1)]
    return mesh(points, np.concatenate(faces), smooth=smooth)


def never_sampled() -> dict:
    """The box below a panel that light paths find by chance only."""
    to_world = mi.ScalarTransform4f().translate([0, 0, 2.6]).rotate([1, 0, 0], 180).scale(2.5)
    panel = {"type": "area", "radiance": 1.0, "sampling_weight": 0.0}
    return {
        "box": {"type": "cube", "to_world": floating(), "bsdf": green()},
        "panel": {"type": "rectangle", "to_world": to_world, "emitter": panel},
    }


def second_light() -> dict:
    """The box, and a light beside the one of the stage."""
    return {
        "box": {"type": "cube", "to_world": floating(), "bsdf": green()},
        "other": {"type": "point", "position": [-0.8, -1.2, 2.4], "intensity": 4.0},
    }


def ball_lamp() -> dict:
    return {"type": "sphere", "center": [0.6, -0.4, 2.6], "radius": 0.4, "emitter": {"type": "area", "radiance": 6.0}}


def area() -> dict:
    to_world = mi.ScalarTransform4f().translate([0.6, -0.4, 2.8]).rotate([1, 0, 0], 180).scale(0.5)
    return {"type": "rectangle", "to_world": to_world, "emitter": {"type": "area", "radiance": 6.0}}


def point() -> dict:
    return {"type": "point", "position": [0.6, -0.4, 2.8], "intensity": 6.0}


def sky() -> dict:
    return {"type": "constant"}


P = Perturbation


CASES = {
    "occluder, area light": (lambda: stage(area()), P.translate("box.vertex_positions", (1, 0.2, 0.1))),
    "occluder, point light": (lambda: stage(point()), P.translate("box.vertex_positions", (1, 0.2, 0.1))),
    "occluder, sky": (lambda: stage(sky()), P.translate("box.vertex_positions", (0, 0, 1))),
    "rotation": (lambda: stage(area()), P.rotate("box.vertex_positions", (0.3, 0.2, 1))),
    "receiver, point light": (lambda: stage(point()), P.translate("floor.to_world", (0.3, 0.1, 1))),
    "receiver slides": (lambda: stage(area()), P.translate("floor.to_world", (1, 0.3, 0))),
    "moving area light": (lambda: stage(area()), P.translate("lamp.to_world", (1, 0.5, 0.2))),
    "camera": (lambda: stage(area()), P.translate("camera.to_world", (1, 0, 0.3))),
    "field of view": (lambda: stage(area()), P.uniform("camera.x_fov")),
    "box filter": (lambda: stage(area(), rfilter="box"), P.translate("box.vertex_positions", (1, 0.2, 0.1))),
    "sphere": (lambda: stage(area(), of("sphere")), P.translate("box.to_world", (1, 0.2, 0.1))),
    "sphere grows": (lambda: stage(point(), of("sphere")), P.scale("box.to_world")),
    "sphere, sky": (lambda: stage(sky(), of("sphere")), P.translate("box.to_world", (0, 0, 1))),
    "sphere at rest, moving light": (lambda: stage(area(), of("sphere")), P.translate("lamp.to_world", (1, 0.5, 0.2))),
    "sphere below a sphere": (lambda: stage(ball_lamp(), of("sphere")), P.translate("lamp.to_world", (1, 0.5, 0.2))),
    "fine mesh": (lambda: stage(area(), fine_mesh()), P.translate("box.vertex_positions", (1, 0.2, 0.1))),
    "vertex in the middle of an edge": (
        lambda: stage(area(), tetrahedron_with_a_junction()),
        P.translate("box.vertex_positions", (1, 0.2, 0.1)),
    ),
    "disk": (lambda: stage(area(), of("disk")), P.rotate("box.to_world", (1, 0.3, 0))),
    "cylinder": (lambda: stage(area(), of("cylinder")), P.rotate("box.to_world", (1, 0.3, 0.2))),
    "cylinder, point light": (lambda: stage(point(), of("cylinder")), P.translate("box.to_world", (1, 0.2, 0.1))),
    "closed cylinder, moving light": (
        lambda: stage(area(), closed_cylinder()),
        P.translate("lamp.to_world", (1, 0.5, 0.2)),
    ),
    "stacked boxes, moving light": (
        lambda: stage(point(), stacked_boxes()),
        P.translate("lamp.position", (1, 0.5, 0.2)),
    ),
    "instance": (lambda: stage(area(), instance()), P.translate("box.to_world", (1, 0.2, 0.1))),
    "turning instance": (lambda: stage(area(), instance()), P.rotate("box.to_world", (0.3, 0.2, 1))),
    "member of instances": (
        lambda: stage(area(), instance()),
        P.translate("group.cube.vertex_positions", (1, 0.2, 0.1)),
    ),
    "receiver below an instance": (lambda: stage(point(), instance()), P.translate("floor.to_world", (0.3, 0.1, 1))),
    "sphere in the floor, camera": (lambda: stage(area(), sunk()), P.translate("camera.to_world", (1, 0, 0.3))),
    "one of two lights": (
        lambda: stage(point(), second_light()),
        P.translate("other.position", (1, 0.5, 0.2)),
    ),
    "lamp that is never sampled": (
        lambda: stage(point(), never_sampled()),
        P.translate("box.vertex_positions", (1, 0.2, 0.1)),
    ),
    "glowing disk": (lambda: stage(sky(), glowing()), P.translate("box.to_world", (1, 0.2, 0.1))),
    "cut away": (lambda: stage(area(), cut_away(), near_clip=2), P.translate("box.vertex_positions", (1, 0.2, 0.1))),
    "sampled border": (lambda: stage(area(), sample_border=True), P.translate("camera.to_world", (1, 0, 0.3))),
}


def integrator(boundary: str = "silhouettes", max_depth: int = 3) -> mi.Integrator:
    return mi.load_dict({"type": "pbdr", "boundary": boundary, "max_depth": max_depth})


def assert_transposes(scene, direction, make_integrator, *, spp: int, tolerance: float) -> None:
    """Forward and reverse mode agree at equal seed, relative to the sum of what they add up."""
    image = forward_gradient(scene, direction, make_integrator(), spp=spp, seed=3)
    adjoint = smooth_adjoint(image.shape)
    backward = reverse_gradient(scene, direction, make_integrator(), adjoint, spp=spp, seed=3)
    assert backward == pytest.approx(np.vdot(adjoint, image), abs=tolerance * np.abs(adjoint * image).sum())


def assert_mean(scene, direction, one: mi.Integrator, *, spp: int = 64, seeds: int = 10) -> None:
    """The mean of independent gradients equals central differences of the integrator's own images."""
    reference = central_differences(scene, direction, integrator=one, spp=8 * spp, repeats=12)
    samples = [forward_gradient(scene, direction, one, spp=spp, seed=seed) for seed in range(seeds)]
    assert_unbiased(np.stack(samples), reference)


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for the order in which threads add numbers."""
    return np.linalg.norm(a - b) < 1e-3 * np.linalg.norm(a)
