"""Groups, textures from coarse to fine, cameras by what they look at, and lights, on problems with known answers."""

from __future__ import annotations

import time
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError
from pbdr.optimize.constraints import find_reparameterization
from pbdr.optimize.grids import Grid, make_refinement
from pbdr.optimize.job import check_job
from pbdr.optimize.parameters import Variable, read_values
from pbdr.scene_parameters import scene_parameters

INTEGRATOR = {"type": "pbdr", "max_depth": 2}


def film(size: int = 24) -> dict:
    return {"type": "hdrfilm", "width": size, "height": size, "pixel_format": "rgb", "rfilter": {"type": "box"}}


def camera(**more: object) -> dict:
    place = mi.ScalarTransform4f().look_at(origin=[0, 0, 4], target=[0, 0, 0], up=[0, 1, 0])
    return {"type": "perspective", "id": "camera", "fov": 35, "film": film(), "to_world": place, **more}


# --------------------------------------------------------------------- groups


def test_groups_are_common_entries() -> None:
    data = {
        "scene": "",
        "views": [{"target": ""}],
        "groups": {"walls": {"learning_rate": 0.5, "initial": 0.1, "schedule": {"type": "cosine"}}},
        "parameters": [{"key": "a", "group": "walls"}, {"key": "b", "group": "walls", "initial": 0.7}, {"key": "c"}],
    }
    first, second, third = check_job(data).parameters
    assert (first.learning_rate, first.initial, first.schedule.type) == (0.5, 0.1, "cosine")
    assert (second.learning_rate, second.initial) == (0.5, 0.7) and third.learning_rate == 0.02
    with pytest.raises(InputError, match=r"no table \[groups.wals\]; did you mean 'walls'"):
        check_job(data | {"parameters": [{"key": "a", "group": "wals"}]})
    with pytest.raises(InputError, match="no parameter has group = 'walls'"):
        check_job(data | {"parameters": [{"key": "a"}]})


# ------------------------------------------------------------------- textures


def test_noise_as_a_beginning() -> None:
    held = np.full((8, 8, 3), [0.2, 0.4, 0.6])
    noise = read_values("noise", held, "x")
    assert (np.abs(noise / held - 1) <= 0.5).all() and np.std(noise[..., 0]) > 0.02
    assert np.array_equal(noise, read_values("noise", held, "x"))


def test_interpolation_keeps_slopes_and_wraps() -> None:
    ramp = np.repeat((np.arange(4) + 0.5)[:, None, None] / 4, 6, axis=1)
    fine = Grid((4, 6), wraps=False).resampled(ramp, (16, 12))
    assert np.allclose(fine[2:-2, 0, 0], ((np.arange(16) + 0.5) / 16)[2:-2])
    back = Grid((16, 12), wraps=False).resampled(fine, (4, 6))
    assert np.allclose(back[1:-1], ramp[1:-1])
    column = np.zeros((2, 4, 1))
    column[:, 0] = 1
    assert np.isclose(Grid((2, 4), wraps=True).resampled(column, (2, 8))[0, -1, 0], 0.25)


def test_resampling_of_large_grids() -> None:
    """The coarsest texels of a 1024 × 1024 texture took more than ten minutes."""
    start = time.monotonic()
    coarse = Grid((512, 512), wraps=False).resampled(np.ones((512, 512, 3)), (256, 256))
    assert time.monotonic() - start < 5
    assert coarse.shape == (256, 256, 3) and np.allclose(coarse, 1)


@pytest.mark.parametrize("halo", [0, 1])
def test_coarse_variables_have_all_texels(halo: int) -> None:
    shape = (8, 12 + 2 * halo, 3)
    mapping = find_reparameterization("positive", "x", (0, np.inf))
    full = Variable("x.data", shape, (0.0, np.inf), 0.1, mapping, np.full(shape, 0.3), None)
    refinement = make_refinement(full, (5, 9), bool(halo), "parameters.0")
    for step, size in ((0, (2, 3)), (5, (4, 6)), (9, (8, 12))):
        at = refinement.at_step(step)
        latent = at.variable.latent(full.initial)
        assert at.grid.size == size and dr.width(latent) == 3 * size[0] * size[1]
        assert np.allclose(at.variable.values(latent), 0.3)
        varied = mi.Float(np.random.default_rng(1).normal(size=dr.width(latent)).astype(np.float32))
        values = at.variable.values(varied)
        assert not halo or np.allclose(values[:, [0, -1]], values[:, [-2, 1]])
        dr.enable_grad(varied)
        weights = np.random.default_rng(2).normal(size=values.size).astype(np.float32)
        dr.backward(dr.sum(at.variable.attached(varied) * mi.Float(weights)))
        direction = np.random.default_rng(3).normal(size=dr.width(latent)).astype(np.float32)
        high, low = (
            float((at.variable.values(dr.detach(varied) + s * 1e-2 * mi.Float(direction)).ravel() * weights).sum())
            for s in (1, -1)
        )
        assert np.isclose((high - low) / 2e-2, float(np.array(dr.grad(varied)) @ direction), rtol=0.01)


@pytest.mark.parametrize("kind", ["texture", "environment"])
def test_from_coarse_to_fine(tmp_path: Path, kind: str) -> None:
    """A smooth picture of 16 × 16 texels, or of a sky, with a stop and going on in the middle of the levels."""
    v, u = np.meshgrid((np.arange(16) + 0.5) / 16, (np.arange(16) + 0.5) / 16, indexing="ij")
    truth = np.stack([0.5 + 0.3 * np.sin(2 * np.pi * u), 0.3 + 0.4 * v, 0.5 + 0.3 * np.cos(2 * np.pi * u) * v], axis=-1)

    def scene(pixels: np.ndarray) -> mi.Scene:
        bitmap = mi.Bitmap(pixels.astype(np.float32))
        if kind == "environment":
            ball = {"type": "sphere", "id": "ball", "bsdf": {"type": "conductor"}}
            light = {"type": "envmap", "id": "sky", "bitmap": bitmap}
            return mi.load_dict({"type": "scene", "camera": camera(), "ball": ball, "sky": light}, optimize=False)
        texture = {"type": "bitmap", "bitmap": bitmap, "raw": True, "format": "variant"}
        wall = {"type": "rectangle", "id": "wall", "bsdf": {"type": "diffuse", "reflectance": texture}}
        light = {"type": "constant", "radiance": 1.0}
        return mi.load_dict({"type": "scene", "camera": camera(), "wall": wall, "light": light}, optimize=False)

    image = np.array(mi.render(scene(truth), spp=256, integrator=mi.load_dict(INTEGRATOR)))
    key = "sky.data" if kind == "environment" else "wall.bsdf.reflectance.data"

    def run(folder: str, steps: int, resume: bool) -> pbdr.optimize.Result:
        entry = {"initial": 0.5, "learning_rate": 0.03, "refine": [15, 30]}
        settings = {"integrator": INTEGRATOR, "spp": 32, "spp_evaluation": 32, "loss": "l2"}
        schedule = {"type": "constant"}
        guess = scene(np.full((16, 16, 3), 0.5))
        problem = pbdr.Problem.from_scene(guess, {key: entry}, [image], steps=steps, schedule=schedule, **settings)
        return pbdr.optimize(problem, out=tmp_path / folder, resume=resume)

    run("parts", 20, False)
    found = run("parts", 60, True)
    values = found.values[key]
    if kind == "texture":
        # Of all texels; a flat guess is off by 0.21
        assert np.sqrt(np.mean((values - truth) ** 2)) < 0.03
    else:
        assert values.shape == (16, 18, 3) and found.loss_final < found.loss_initial / 40
        assert np.allclose(values[:, [0, -1]], values[:, [-2, 1]], atol=1e-6), "repeated columns follow"


def test_the_error_of_an_environment_map_counts_solid_angles() -> None:
    """The root of the mean of cos² θ over the sphere is √(1/3); over the texels it would be √(1/2)."""
    sky = {"type": "envmap", "id": "sky", "bitmap": mi.Bitmap(np.ones((33, 8, 3), np.float32))}
    scene = mi.load_dict({"type": "scene", "camera": camera(), "sky": sky}, optimize=False)
    truth = np.ones((24, 24, 3), np.float32)
    variable = pbdr.Problem.from_scene(scene, {"sky.data": {"true": 1.0}}, [truth]).variables[0]
    assert variable.shape == (33, 10, 3)
    # Mitsuba puts the first and the last row into the poles
    heights = np.cos(np.linspace(0, np.pi, 33))
    other = variable.truth + heights[:, None, None]
    assert variable.error(other, variable.truth) == pytest.approx(np.sqrt(1 / 3), rel=2e-3)
    other[:, [0, -1]] = 100
    assert variable.error(other, variable.truth) == pytest.approx(np.sqrt(1 / 3), rel=2e-3), (
        "repeated columns count once"
    )


def test_rows_of_an_environment_map_reach_the_poles() -> None:
    """A sky of which only the first row is bright: it is brightest at the pole and dark one row further."""
    pixels = np.zeros((9, 16, 3), np.float32)
    pixels[0] = 1
    sky = mi.load_dict({"type": "envmap", "bitmap": mi.Bitmap(pixels), "scale": 1.0})

    def seen(angle: float) -> float:
        si = dr.zeros(mi.SurfaceInteraction3f)
        si.wi = -mi.Vector3f(float(np.sin(angle)), float(np.cos(angle)), 0)
        return float(sky.eval(si)[0][0])

    step = np.pi / 8
    assert np.allclose([seen(share * step) for share in (0, 0.5, 1)], [1, 0.5, 0], atol=1e-3)


# -------------------------------------------------------------------- cameras


def test_a_camera_that_looks_at_a_point() -> None:
    """Where a camera stands and looks, from one image of three balls."""

    def scene(origin: list[float], target: list[float]) -> mi.Scene:
        place = mi.ScalarTransform4f().look_at(origin=origin, target=target, up=[0, 1, 0])
        parts = {"type": "scene", "camera": camera(to_world=place), "light": {"type": "constant"}}
        for k, (x, y, z) in enumerate([(-0.6, 0.3, 0), (0.5, 0.5, -0.8), (0.1, -0.6, 0.5)]):
            color = {
                "type": "diffuse",
                "reflectance": {"type": "rgb", "value": [0.8 * (k == j) + 0.1 for j in range(3)]},
            }
            parts[f"ball_{k}"] = {"type": "sphere", "center": [x, y, z], "radius": 0.4, "bsdf": color}
        return mi.load_dict(parts, optimize=False)

    integrator = {**INTEGRATOR, "boundary": "silhouettes"}
    origin, target = [0.25, 0.1, 4.1], [0.1, -0.1, 0.0]
    image = np.array(mi.render(scene(origin, target), spp=256, integrator=mi.load_dict(integrator)))
    entry = {
        "kind": "look_at",
        "origin": {"learning_rate": 0.03, "true": origin},
        "target": {"initial": [0, 0, 0], "bounds": [[-1, -1, 0], [1, 1, 0]], "true": target},
        "up": [0, 1, 0],
    }
    problem = pbdr.Problem.from_scene(
        scene([0, 0, 4], [0, 0, 0]),
        {"camera": entry},
        [image],
        integrator=integrator,
        optimizer={"type": "levenberg_marquardt"},
        loss="l2",
        spp=64,
        spp_evaluation=64,
        steps=12,
    )
    result = pbdr.optimize(problem)
    assert result.parameters["camera.origin"]["error"] < 0.05
    assert result.parameters["camera.target"]["error"] < 0.02


# --------------------------------------------------------------------- lights


def lit(light: dict, **shapes: dict) -> mi.Scene:
    wall = {"type": "rectangle", "id": "wall", "bsdf": {"type": "diffuse", "reflectance": 0.8}}
    scene = {"type": "scene", "camera": camera(), "wall": wall, "light": light, **shapes}
    return mi.load_dict(scene, optimize=False)


def spot(**more: float) -> dict:
    place = mi.ScalarTransform4f().look_at(origin=[0, 0, 3], target=[0, 0, 0], up=[0, 1, 0])
    return {
        "type": "spot",
        "id": "spot",
        "to_world": place,
        "intensity": 5.0,
        "cutoff_angle": 14,
        "beam_width": 8,
        **more,
    }


@pytest.mark.parametrize("name", ["cutoff_angle", "beam_width"])
def test_angles_of_a_spot_against_differences(name: str) -> None:
    images, h = [], 0.2
    integrator = mi.load_dict(INTEGRATOR)
    base = spot()
    for sign in (1, -1):
        scene = lit(spot(**{name: base[name] + sign * h}))
        images.append(np.array(mi.render(scene, integrator=integrator, spp=64, seed=3)))
    difference = (images[0] - images[1]) / (2 * h)
    scene = lit(base)
    parameters = mi.traverse(scene)
    angle = mi.Float(base[name])
    dr.enable_grad(angle)
    dr.set_grad(angle, 1)
    parameters[f"spot.{name}"] = angle
    parameters.update()
    found = np.array(dr.forward_to(mi.render(scene, parameters, integrator=integrator, spp=64, seed=3)))
    assert np.abs(difference).max() > 0.01
    assert np.sqrt(np.mean((found - difference) ** 2)) < 0.1 * np.sqrt(np.mean(difference**2))


def test_a_spot_from_its_picture() -> None:
    image = np.array(mi.render(lit(spot()), integrator=mi.load_dict(INTEGRATOR), spp=256))
    problem = pbdr.Problem.from_scene(
        lit(spot(cutoff_angle=17, beam_width=6)),
        {"spot.cutoff_angle": {"true": 14.0}, "spot.beam_width": {"true": 8.0}},
        [image],
        integrator=INTEGRATOR,
        optimizer={"type": "levenberg_marquardt"},
        loss="l2",
        spp=64,
        steps=12,
    )
    result = pbdr.optimize(problem)
    assert all(result.parameters[key]["error"] < 0.1 for key in ("spot.cutoff_angle", "spot.beam_width"))


@pytest.mark.parametrize("name", ["turbidity", "sky_scale", "sun_scale", "sun_direction", "hour", "albedo.value"])
def test_suns_and_skies_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"'sky.{name}' cannot be differentiated: .* an 'envmap' in its place"):
        pbdr.Problem.from_scene(
            lit({"type": "sunsky", "id": "sky", "turbidity": 3.0}), [f"sky.{name}"], [np.zeros((24, 24, 3), np.float32)]
        )


def test_a_sun_that_moves_is_refused() -> None:
    """Mitsuba marks its direction as differentiable, but the derivative leaves the sun's disc out: a tenth is left."""
    sky = lit({"type": "sunsky", "id": "sky", "sun_direction": [0, -0.6, 0.8]})
    with pytest.raises(InputError, match=r"'sky.sun_direction' cannot be differentiated: .*disc"):
        pbdr.Problem.from_scene(sky, ["sky.sun_direction"], [np.zeros((24, 24, 3), np.float32)])


@pytest.mark.parametrize("name", ["latitude", "timezone", "hour", "year", "sun_direction"])
def test_places_and_times_of_skies_are_refused_in_python(name: str) -> None:
    scene, key = lit({"type": "sunsky", "id": "sky", "latitude": 40.0, "hour": 14.0}), f"sky.{name}"
    value = mi.traverse(scene)[key]
    with pytest.raises(InputError, match=f"'{key}' cannot be differentiated: .* an 'envmap' in its place"):
        pbdr.step(scene, {key: type(value)(value)}, 0, dr.mean, spp=1, seed=0)
    if name in ("year", "sun_direction"):
        return
    params = mi.traverse(scene)
    dr.enable_grad(params[key])
    params.update()
    with pytest.raises(InputError, match=f"'{key}' cannot be differentiated: .* an 'envmap' in its place"):
        mi.load_dict({"type": "pbdr"}).render_backward(scene, params, mi.TensorXf(1), spp=1)


def test_pigments_of_hair() -> None:
    """Its absorption is a parameter without a value then, at which iterating over ``mi.traverse(scene)`` fails."""
    ball = {"type": "sphere", "id": "ball", "bsdf": {"type": "hair", "eumelanin": 0.2}}
    scene, key = lit({"type": "constant"}, ball=ball), "ball.bsdf.eumelanin"
    params = scene_parameters(scene)
    assert key in params and "ball.bsdf.sigma_a" not in params
    done = pbdr.step(scene, {key: mi.Float(0.3)}, 0, lambda image: dr.sum(image, axis=None), spp=16, seed=0)
    params[key] = mi.Float(0.3 + 1e-6)
    dr.enable_grad(params[key])
    params.update()
    image = mi.render(scene, params, integrator=mi.load_dict({"type": "pbdr"}), spp=16)
    dr.backward(dr.sum(image, axis=None))
    assert dr.grad(params[key])[0] < 0
    assert dr.grad(params[key])[0] == pytest.approx(done.gradients[key][0], rel=0.1)


@pytest.mark.parametrize("integrator", ["pbdr", "prb", "path"])
def test_media_need_an_integrator_that_sees_them(integrator: str) -> None:
    """pbdr's derivative of a fog that it does not render would be zero."""
    fog = {"type": "homogeneous", "id": "fog", "albedo": 0.8, "sigma_t": 0.5}
    box = {"type": "cube", "id": "box", "bsdf": {"type": "null"}, "interior": fog}
    key, target = "box.interior_medium.sigma_t.value.value", np.zeros((24, 24, 3), np.float32)
    with pytest.raises(
        InputError, match=f"'{key}' belongs to a medium, which .* leaves out; use integrator 'prbvolpath'"
    ):
        pbdr.Problem.from_scene(lit({"type": "constant"}, box=box), [key], [target], integrator=integrator)
    pbdr.Problem.from_scene(lit({"type": "constant"}, box=box), [key], [target], integrator="prbvolpath")


def test_logarithms_between_bounds() -> None:
    mapping = find_reparameterization("log", "alpha", (1e-3, 1.0))
    variable = Variable("alpha", (3,), (1e-3, 1.0), 0.1, mapping, np.array([0.002, 0.1, 0.9]), None)
    latent = variable.latent(variable.initial)
    assert np.allclose(variable.values(latent), variable.initial, rtol=1e-4)
    assert abs(float(latent[1]) - np.log(2)) < 1e-3, "0.1 lies at two thirds of the logarithms"
    with pytest.raises(InputError, match="greater than 0"):
        find_reparameterization("log", "x", (0.0, 1.0))


@pytest.mark.parametrize(
    ("key", "words"), [("sky.hour", "an 'envmap' in its place"), ("ball.bsdf.azimuthal_roughness", "another density")]
)
def test_commands_say_once_what_has_no_derivative(key: str, words: str, pbdr_command, scene_file: Path) -> None:
    text = scene_file.read_text().replace('id="ball">', 'id="ball"><bsdf type="hair"/>')
    sky = '<emitter type="sunsky" id="sky"><float name="hour" value="13"/></emitter>'
    scene_file.write_text(text.replace("</scene>", f"{sky}</scene>"))
    outcome = pbdr_command("gradient", scene_file, "--param", key, "-o", scene_file.parent / "gradient.png")
    assert outcome.code == 2 and words in outcome.stderr
    assert outcome.stderr.count("\n") == 1 and f"'{key}' cannot be differentiated" in outcome.stderr
