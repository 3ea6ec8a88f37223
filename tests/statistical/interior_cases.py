"""Small scenes without moving silhouettes, one for each class of parameters that an interior estimator covers."""

from __future__ import annotations

import mitsuba as mi
import numpy as np

from pbdr.compare.perturbations import Perturbation


def _texture(seed: int, height: int = 6, width: int = 8, scale: float = 1.0) -> dict:
    data = np.random.default_rng(seed).uniform(0.1, 0.9, (height, width, 3)).astype(np.float32) * scale
    return {"type": "bitmap", "bitmap": mi.Bitmap(data), "raw": True}


def _bright_window() -> mi.Bitmap:
    """A dim sky with most of its light in one place."""
    sky = np.full((8, 16, 3), 0.1, np.float32)
    sky[1:3, 5:8] = 20
    return mi.Bitmap(sky)


def stage(**content: dict) -> mi.Scene:
    """A textured floor seen from above, with whatever else is given."""
    transform = mi.ScalarTransform4f()
    scene = {
        "type": "scene",
        "camera": {
            "type": "perspective",
            "fov": 45,
            "to_world": transform.look_at(origin=[0.3, -3, 2.6], target=[0, 0, 0.2], up=[0, 0, 1]),
            "film": {"type": "hdrfilm", "width": 20, "height": 16, "pixel_format": "rgb"},
            "sampler": {"type": "independent"},
        },
        "floor": {
            "type": "rectangle",
            "to_world": transform.scale(6),
            "bsdf": {"type": "diffuse", "reflectance": _texture(1)},
        },
        "lamp": {
            "type": "rectangle",
            "to_world": transform.translate([0.5, 0.3, 3]).rotate([1, 0, 0], 180).scale(0.8),
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": [6, 5, 4]}},
        },
    }
    scene.update(content)
    return mi.load_dict({key: value for key, value in scene.items() if value is not None}, optimize=False)


def _ball(bsdf: dict, sky: dict | None = None) -> mi.Scene:
    lamp = {"lamp": None, "sky": sky} if sky else {}
    return stage(ball={"type": "sphere", "radius": 0.8, "center": [0, 0, 0.8], "bsdf": bsdf}, **lamp)


def _even() -> dict:
    """A sky without small bright places, which specular surfaces would turn into noise."""
    return {"type": "envmap", "bitmap": _texture(3, 8, 16)["bitmap"]}


def rough_glass(lobe: str) -> mi.Scene:
    """A ball whose reflected or transmitted light is tinted."""
    return _ball({"type": "roughdielectric", "alpha": 0.3, lobe: 0.6}, sky=_even())


def _blend(first: dict, second: dict) -> dict:
    return {"type": "blendbsdf", "weight": 0.4, "first": first, "second": second}


def _normals() -> dict:
    """Normals that turn away from the surface by up to 20 degrees."""
    normals = np.random.default_rng(7).uniform(-0.25, 0.25, (6, 8, 3)).astype(np.float32)
    normals[..., 2] = 1
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return {"type": "bitmap", "bitmap": mi.Bitmap(0.5 * normals + 0.5), "raw": True}


def _lit(emitter: dict) -> mi.Scene:
    return stage(lamp=None, light=emitter, ball={"type": "sphere", "radius": 0.6, "center": [0, 0, 0.6]})


def _spot() -> dict:
    transform = mi.ScalarTransform4f().look_at(origin=[1, -1, 3], target=[0, 0, 0], up=[0, 0, 1])
    return {"type": "spot", "to_world": transform, "intensity": {"type": "rgb", "value": [20, 10, 5]}}


def _room(bsdf: dict | None = None) -> mi.Scene:
    """The inside of a sphere that is lit by a patch of its own wall: nothing is hidden, whatever moves."""
    glow = np.full((8, 8, 3), 0.2, np.float32)
    glow[2:5, 3:6] = [4, 3, 2]
    transform = mi.ScalarTransform4f()
    return mi.load_dict(
        {
            "type": "scene",
            "camera": {
                "type": "perspective",
                "fov": 60,
                "to_world": transform.look_at(origin=[0.2, -0.5, 0.1], target=[0, 1, 0], up=[0, 0, 1]),
                "film": {"type": "hdrfilm", "width": 16, "height": 16, "pixel_format": "rgb"},
                "sampler": {"type": "independent"},
            },
            "wall": {
                "type": "sphere",
                "radius": 2.0,
                "flip_normals": True,
                "bsdf": bsdf or {"type": "diffuse", "reflectance": _texture(2)},
                "emitter": {"type": "area", "radiance": {"type": "bitmap", "bitmap": mi.Bitmap(glow), "raw": True}},
            },
        },
        optimize=False,
    )


P = Perturbation

_GLOSS = {"type": "roughconductor", "material": "Al", "alpha": 0.4}

_RED = {"type": "rgb", "value": [0.8, 0.2, 0.1]}

#: name → (scene, parameter direction); everything here moves no visibility boundary
STILL = {
    "diffuse texture": (lambda: stage(), P.random("floor.bsdf.reflectance.data")),
    "area light": (lambda: stage(), P.component("lamp.emitter.radiance.value", 0)),
    "conductor roughness": (
        lambda: _ball({"type": "roughconductor", "alpha": 0.25, "material": "Au"}),
        P.uniform("ball.bsdf.alpha.value"),
    ),
    "plastic reflectance": (
        lambda: _ball({"type": "roughplastic", "diffuse_reflectance": {"type": "rgb", "value": [0.2, 0.5, 0.3]}}),
        P.component("ball.bsdf.diffuse_reflectance.value", 1),
    ),
    "principled roughness": (
        lambda: _ball({"type": "principled", "roughness": 0.4, "metallic": 0.5}),
        P.uniform("ball.bsdf.roughness.value"),
    ),
    "principled metallic": (
        lambda: _ball({"type": "principled", "roughness": 0.4, "metallic": 0.5}),
        P.uniform("ball.bsdf.metallic.value"),
    ),
    "mirror tint": (
        lambda: _ball({"type": "conductor", "specular_reflectance": {"type": "rgb", "value": [0.8, 0.7, 0.6]}}),
        P.component("ball.bsdf.specular_reflectance.value", 2),
    ),
    "glass tint": (
        lambda: _ball({"type": "dielectric", "specular_transmittance": {"type": "rgb", "value": [0.8, 0.7, 0.6]}}),
        P.component("ball.bsdf.specular_transmittance.value", 0),
    ),
    "opacity": (
        lambda: _ball({"type": "mask", "opacity": 0.6, "nested": {"type": "diffuse"}}),
        P.uniform("ball.bsdf.opacity.value"),
    ),
    "blend weight": (
        lambda: _ball(
            {
                "type": "blendbsdf",
                "weight": 0.4,
                "a": {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.8, 0.1, 0.1]}},
                "b": {"type": "roughconductor", "alpha": 0.3},
            }
        ),
        P.uniform("ball.bsdf.weight.value"),
    ),
    "smooth plastic": (
        lambda: _ball({"type": "plastic", "diffuse_reflectance": _RED}, sky=_even()),
        P.uniform("ball.bsdf.diffuse_reflectance.value"),
    ),
    "index of thin glass": (
        lambda: _ball({"type": "thindielectric"}, sky=_even()),
        P.uniform("ball.bsdf.eta"),
    ),
    "share of a mirror": (
        lambda: _ball(_blend({"type": "diffuse", "reflectance": _RED}, {"type": "conductor"}), sky=_even()),
        P.uniform("ball.bsdf.weight.value"),
    ),
    "share of smooth plastic": (
        lambda: _ball(_blend({"type": "plastic", "diffuse_reflectance": _RED}, {"type": "diffuse"}), sky=_even()),
        P.uniform("ball.bsdf.weight.value"),
    ),
    "share of smooth plastic over a mirror": (
        lambda: _ball(_blend({"type": "plastic", "diffuse_reflectance": _RED}, {"type": "conductor"}), sky=_even()),
        P.uniform("ball.bsdf.weight.value"),
    ),
    "share of smooth plastic under thin glass": (
        lambda: _ball(
            _blend({"type": "thindielectric"}, {"type": "plastic", "diffuse_reflectance": _RED}), sky=_even()
        ),
        P.uniform("ball.bsdf.weight.value"),
    ),
    "share of two smooth plastics, twosided": (
        lambda: _ball(
            {
                "type": "twosided",
                "bsdf": _blend({"type": "plastic", "diffuse_reflectance": _RED}, {"type": "plastic"}),
            },
            sky=_even(),
        ),
        P.uniform("ball.bsdf.brdf_0.weight.value"),
    ),
    "opacity over a mirror in a blend": (
        lambda: _ball(
            {"type": "mask", "opacity": 0.6, "nested": _blend({"type": "conductor"}, {"type": "diffuse"})}, sky=_even()
        ),
        P.uniform("ball.bsdf.opacity.value"),
    ),
    "smooth plastic in a blend under a normal map": (
        lambda: _ball(
            {
                "type": "normalmap",
                "normalmap": _normals(),
                "nested": _blend({"type": "plastic", "diffuse_reflectance": _RED}, {"type": "diffuse"}),
            },
            sky=_even(),
        ),
        P.uniform("ball.bsdf.nested_bsdf.bsdf_0.diffuse_reflectance.value"),
    ),
    "opacity under a bump map": (
        lambda: _ball(
            {
                "type": "bumpmap",
                "bumps": _texture(2, scale=0.3),
                "nested": {"type": "mask", "opacity": 0.6, "nested": {"type": "diffuse"}},
            },
            sky=_even(),
        ),
        P.uniform("ball.bsdf.nested_bsdf.opacity.value"),
    ),
    "tint of thin glass under a normal map": (
        lambda: _ball(
            {
                "type": "normalmap",
                "normalmap": _normals(),
                "nested": {"type": "thindielectric", "specular_transmittance": 0.7},
            },
            sky=_even(),
        ),
        P.uniform("ball.bsdf.nested_bsdf.specular_transmittance.value"),
    ),
    # What gives the absorption otherwise is empty, where Mitsuba's own iteration over parameters fails
    "pigments of hair": (
        lambda: _ball({"type": "hair", "eumelanin": 0.2, "pheomelanin": 0.4}, sky=_even()),
        P.uniform("ball.bsdf.eumelanin"),
    ),
    "environment map": (
        lambda: _lit({"type": "envmap", "bitmap": _texture(3, 8, 16)["bitmap"]}),
        P.random("light.data"),
    ),
    "rotation of an environment map": (
        lambda: _lit({"type": "envmap", "bitmap": _bright_window()}),
        P.rotate("light.to_world", (0, 1, 0)),
    ),
    "constant environment": (
        lambda: _lit({"type": "constant", "radiance": {"type": "rgb", "value": [1, 0.8, 0.6]}}),
        P.component("light.radiance.value", 1),
    ),
    "spot intensity": (lambda: _lit(_spot()), P.component("light.intensity.value", 0)),
    "directional irradiance": (
        lambda: _lit({"type": "directional", "direction": [0.3, 0.2, -1]}),
        P.uniform("light.irradiance.value"),
    ),
}

#: Moving cameras, walls and lights in a closed round room: interior terms only, though everything moves
MOVING = {
    "camera position": (_room, P.translate("camera.to_world", (0.3, 1, 0.2))),
    # What leaves towards the camera depends on where it is
    "camera before gloss": (lambda: _room(_GLOSS), P.translate("camera.to_world", (0.3, 1, 0.2))),
    "camera rotation": (_room, P.rotate("camera.to_world", (0.2, 0.5, 1))),
    "field of view": (_room, P.uniform("camera.x_fov")),
    "principal point": (_room, P.uniform("camera.principal_point_offset_x")),
    "room position": (_room, P.translate("wall.to_world", (0.4, 1, 0.3))),
    "room rotation": (_room, P.rotate("wall.to_world", (0.3, 0.1, 1))),
    "room size": (_room, P.scale("wall.to_world", (1, 1, 1))),
}
