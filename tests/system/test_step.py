"""A gradient step: what it returns, what it compiles, what it keeps in memory."""

from __future__ import annotations

import gc
import resource
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.compare.estimators import forward_gradient
from pbdr.compare.perturbations import Perturbation
from pbdr.errors import InputError
from pbdr.scene import load_scene
from pbdr.transport.tangents import attached_copy
from tests.tiny import ALPHA, LAMP, VERTICES, WALL, write_image, write_scene


@pytest.fixture
def scene(tmp_path: Path) -> mi.Scene:
    # Kernels know which objects there are: scenes of other tests that are collected halfway would change them
    gc.collect()
    return load_scene(write_scene(tmp_path))


def loss(image: mi.TensorXf) -> mi.TensorXf:
    return dr.mean(dr.square(image - 0.2), axis=None)


def test_returns_image_loss_and_gradients(scene: mi.Scene) -> None:
    values = {WALL: mi.Color3f(0.4), ALPHA: mi.Float(0.2), LAMP: mi.Color3f(3)}
    done = pbdr.step(scene, values, 0, loss, spp=8, seed=1)
    assert done.images[0].shape == (16, 16, 3) and not dr.grad_enabled(done.images[0])
    assert done.loss[0] == pytest.approx(float(loss(done.images[0]).array[0]), rel=1e-5)
    assert done.gradients.keys() == values.keys()
    assert all(np.abs(np.array(g)).max() > 0 for g in done.gradients.values())


@pytest.mark.parametrize("kind", ["pbdr", "prb"])
def test_gradients_reach_optimizers(scene: mi.Scene, kind: str) -> None:
    optimizer = mi.ad.Adam(lr=0.05, params={WALL: mi.Color3f(0.4)})
    integrator = mi.load_dict({"type": kind, "max_depth": 3})
    done = pbdr.step(scene, optimizer, [0, 0], [loss, loss], spp=8, seed=1, integrator=integrator)
    assert len(done.images) == 2
    assert np.allclose(np.array(dr.grad(optimizer[WALL])), np.array(done.gradients[WALL]))
    optimizer.step()
    assert np.abs(np.array(optimizer[WALL]) - 0.4).max() == pytest.approx(0.05, rel=1e-3)


def test_moving_geometry_takes_the_other_way(scene: mi.Scene) -> None:
    value = mi.Float(mi.traverse(scene)[VERTICES])
    done = pbdr.step(scene, {VERTICES: value}, 0, loss, spp=8, seed=1)
    assert np.abs(np.array(done.gradients[VERTICES])).max() > 0


@pytest.mark.parametrize("name", ["vertex_normals", "vertex_texcoords"])
def test_normals_and_texture_coordinates(tmp_path: Path, name: str) -> None:
    """Recorded vertices do not follow them: their derivatives were 0."""
    texels = mi.TensorXf(np.random.default_rng(1).uniform(0, 1, (4, 4, 3)).astype(np.float32))
    box = {"type": "cube", "bsdf": {"type": "diffuse", "reflectance": {"type": "bitmap", "data": texels, "raw": True}}}
    camera = mi.traverse(load_scene(write_scene(tmp_path)))["camera.to_world"]
    sensor = {"type": "perspective", "to_world": mi.ScalarTransform4f(np.array(camera.matrix)[:, :, 0])}
    sensor["film"] = {"type": "hdrfilm", "width": 16, "height": 16}
    lamp = {"type": "point", "position": [1, 2, 4], "intensity": 20.0}
    scene = mi.load_dict({"type": "scene", "camera": sensor, "box": box, "lamp": lamp})
    key = f"box.{name}"
    value = mi.Float(mi.traverse(scene)[key])
    done = pbdr.step(scene, {key: value}, 0, loss, spp=8, seed=1)
    assert np.abs(np.array(done.gradients[key])).max() > 0
    recording = pbdr.record(mi.load_dict({"type": "pbdr"}), scene, 0, spp=1, seed=0, reusable=True)
    assert recording is None
    dr.disable_grad(mi.traverse(scene)[key])
    recording = pbdr.record(mi.load_dict({"type": "pbdr"}), scene, 0, spp=1, seed=0, reusable=True)
    with pytest.raises(InputError, match=f"do not keep what changes with parameter '{key}'"):
        recording.jvp([{key: value}])


def test_directions_beside_a_camera_that_moves(tmp_path: Path) -> None:
    """A view at rest has no share in the pose of another."""
    file = write_scene(tmp_path)
    text = file.read_text()
    sensor = text[text.index("    <sensor") : text.index("    <shape")]
    file.write_text(text.replace(sensor, sensor + sensor.replace('id="camera"', 'id="other"'), 1))
    scene, integrator = load_scene(file), mi.load_dict({"type": "pbdr", "max_depth": 3})
    params, found = mi.traverse(scene), []
    for keys in ([WALL], [WALL, "other.to_world"]):
        leaves = {}
        for name in keys:
            leaves[name], params[name] = attached_copy(params[name])
        params.update()
        recording = pbdr.record(integrator, scene, 0, spp=8, seed=1)
        found.append(np.array(recording.jvp([{WALL: 1}])[0]))
        for leaf in leaves.values():
            dr.set_grad(leaf, 1)
        found.append(np.array(recording.forward()[0])[None])
    assert all(np.abs(tangent).max() > 0 for tangent in found)
    for tangent in found[1:]:
        np.testing.assert_allclose(tangent, found[0], rtol=1e-4, atol=1e-6)


def test_bad_input(scene: mi.Scene) -> None:
    with pytest.raises(InputError, match=r"no parameter of the scene is called 'wall\.bsdf\.reflectanc'.*did you mean"):
        pbdr.step(scene, {"wall.bsdf.reflectanc": mi.Float(0)}, 0, loss, spp=8, seed=1)
    with pytest.raises(InputError, match="1 sensors but 2 losses"):
        pbdr.step(scene, {WALL: mi.Color3f(0.4)}, 0, [loss, loss], spp=8, seed=1)
    with pytest.raises(InputError, match="'spp' must be a whole number from 1 to 4294967295, got 0"):
        pbdr.step(scene, {WALL: mi.Color3f(0.4)}, 0, loss, spp=0, seed=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sensors": 3}, "no sensor 3; allowed: 0 to 0"),
        ({"sensors": -1}, "no sensor -1"),
        ({"sensors": "camra"}, "did you mean 'camera'"),
        ({"values": {WALL: 0.4}}, f"the value of '{WALL}' must be an array of Dr.Jit, mi.Color3f, got a float"),
        ({"loss": lambda image: 3.0}, "a loss must return a number that depends on its image, got a float"),
        ({"loss": lambda image: dr.detach(loss(image))}, "a loss must return a number that depends on its image"),
        ({"spp": 1.5}, "'spp' must be a whole number"),
        ({"spp": 2**32}, "'spp' must be a whole number from 1 to 4294967295, got 4294967296"),
        ({"integrator": "pbdr"}, "'integrator' must be of type Integrator, got a str"),
        ({"memory": True}, r"'memory' must be of type Memory, got a bool; pbdr\.Memory\(\) makes one"),
        ({"scene": "scene.xml"}, r"'scene' must be of type Scene, got a str; pbdr\.scene\.load_scene loads one"),
        ({"sensors": None}, "'sensor' must be of type Sensor, got a NoneType"),
        ({"loss": None}, "a loss must be a function of an image, got a NoneType"),
    ],
)
def test_bad_arguments(scene: mi.Scene, changes: dict, words: str) -> None:
    arguments = {"values": {WALL: mi.Color3f(0.4)}, "sensors": "camera", "loss": loss, "spp": 4, "seed": 1}
    with pytest.raises(InputError, match=words):
        pbdr.step(**{"scene": scene, **arguments, **changes})


def test_bad_use_of_a_recording(scene: mi.Scene) -> None:
    integrator = mi.load_dict({"type": "pbdr", "max_depth": 2})
    with pytest.raises(InputError, match="'images' must be at least 1"):
        pbdr.record(integrator, scene, 0, spp=1, seed=0, images=0)
    with pytest.raises(InputError, match="'integrator' must be of type Integrator, got a str"):
        pbdr.record("pbdr", scene, 0, spp=1, seed=0)
    recording = pbdr.record(integrator, scene, "camera", spp=1, seed=0, reusable=True)
    with pytest.raises(InputError, match="'directions' is empty"):
        recording.jvp([])
    with pytest.raises(InputError, match="'adjoints' must be 1 of the images' shape"):
        recording.backward([])


def test_views_and_derivatives_have_random_numbers_of_their_own(scene: mi.Scene, monkeypatch) -> None:
    values, render, taken = {WALL: mi.Color3f(0.4)}, mi.render, []

    def watched(*arguments, seed: mi.UInt32, seed_grad: mi.UInt32, **options) -> mi.TensorXf:
        taken.extend([int(seed[0]), int(seed_grad[0])])
        return render(*arguments, seed=seed, seed_grad=seed_grad, **options)

    monkeypatch.setattr(mi, "render", watched)
    pbdr.step(scene, values, [0, 0], loss, spp=4, seed=1, integrator=mi.load_dict({"type": "prb", "max_depth": 2}))
    assert len(taken) == len(set(taken)) == 4
    first, second = pbdr.step(scene, values, [0, 0], loss, spp=4, seed=1).images
    assert not np.allclose(np.array(first), np.array(second))


@pytest.mark.parametrize("remember", [False, True])
def test_nothing_is_compiled_after_the_third_step(scene: mi.Scene, remember: bool) -> None:
    """Each step launches as many kernels as the one before, all of them known."""
    memory = pbdr.Memory(control_variate=True, allocation=True) if remember else None
    optimizer = mi.ad.Adam(lr=0.01, params={WALL: mi.Color3f(0.4), ALPHA: mi.Float(0.2), LAMP: mi.Color3f(3)})
    integrator = mi.load_dict({"type": "pbdr", "max_depth": 3})
    launched = []
    with dr.scoped_set_flag(dr.JitFlag.KernelHistory):
        for k in range(8):
            dr.kernel_history_clear()
            pbdr.step(scene, optimizer, 0, loss, spp=4, seed=k, integrator=integrator, memory=memory)
            optimizer.step()
            dr.eval(optimizer)
            launched.append([kernel for kernel in dr.kernel_history() if kernel["type"] == dr.KernelType.JIT])
    assert all(kernel["cache_hit"] for kernels in launched[3:] for kernel in kernels)
    assert len({len(kernels) for kernels in launched[3:]}) == 1


@pytest.mark.parametrize("remember", [False, True])
def test_memory_stays_flat(scene: mi.Scene, remember: bool) -> None:
    """The largest resident memory after 200 steps is that of the first 20."""
    memory = pbdr.Memory(control_variate=True, allocation=True) if remember else None
    optimizer = mi.ad.Adam(lr=0.001, params={WALL: mi.Color3f(0.4)})
    integrator = mi.load_dict({"type": "pbdr", "max_depth": 3})
    peaks = []
    for k in range(200):
        pbdr.step(scene, optimizer, 0, loss, spp=4, seed=k, integrator=integrator, memory=memory)
        optimizer.step()
        dr.eval(optimizer)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert peaks[-1] - peaks[20] < 8, "MiB"


@pytest.mark.parametrize("key", [WALL, LAMP])
def test_frozen_steps_are_the_same_steps(scene: mi.Scene, key: str) -> None:
    """Steps at several values and seeds, with kernels launched again and with everything traced anew."""
    frozen, anew = (mi.load_dict({"type": "pbdr", "max_depth": 3}) for _ in range(2))
    anew.experience.frozen.works = False
    for k in range(6):
        values = {key: mi.Color3f(0.3 + 0.1 * k, 0.4, 0.5)}
        first, second = (
            pbdr.step(scene, values, 0, loss, spp=8, seed=k, integrator=integrator) for integrator in (frozen, anew)
        )
        np.testing.assert_allclose(first.images[0], second.images[0], rtol=1e-4, atol=1e-6)
        gradients = [np.array(done.gradients[key]) for done in (first, second)]
        np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-5 * np.abs(gradients[0]).max())
    assert frozen.experience.frozen.works


@pytest.mark.parametrize("key", [WALL, ALPHA, LAMP])
def test_frozen_directions_are_the_same_directions(scene: mi.Scene, key: str) -> None:
    """Along one parameter or two, launched again and traced anew, also with numbers in memory from outside."""
    frozen, anew = (mi.load_dict({"type": "pbdr", "max_depth": 3}) for _ in range(2))
    anew.experience.frozen.works = False
    params = mi.traverse(scene)
    for k in range(6):
        for name in {key, WALL}:
            params[name] = type(params[name])(0.9 * params[name] + dr.opaque(mi.Float, 0))
            dr.enable_grad(params[name])
        params.update()
        directions = [{key: 1}, {key: 1, WALL: mi.Color3f(mi.Float(np.float32([0.1 * k])), 0, 1)}]
        first, second = (
            np.array(pbdr.record(one, scene, 0, spp=8, seed=k).jvp(directions)[0]) for one in (frozen, anew)
        )
        assert all(np.abs(tangent).max() > 0 for tangent in second)
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-5 * np.abs(second).max())
    assert frozen.experience.frozen.works
    assert frozen.experience.frozen.launched >= 6


def test_directions_beside_another_scene(scene: mi.Scene, tmp_path: Path) -> None:
    """Calls reach the materials of all scenes in memory: neither takes the other's derivatives."""
    integrator, other = mi.load_dict({"type": "pbdr", "max_depth": 3}), load_scene(write_scene(tmp_path))
    optimizer = mi.ad.Adam(lr=0.05, params={WALL: mi.Color3f(0.4), ALPHA: mi.Float(0.2)})
    there = mi.traverse(other)
    there.update({key: 0.5 * optimizer[key] for key in optimizer})
    recording = pbdr.record(mi.load_dict({"type": "pbdr", "max_depth": 3}), other, 0, spp=4, seed=1)
    here = mi.traverse(scene)
    dr.enable_grad(here[WALL])
    here.update()
    alone = None
    for _ in range(3):
        (found,) = pbdr.record(integrator, scene, 0, spp=4, seed=2).jvp([{WALL: 1}])
        alone = found if alone is None else alone
        np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-6)
    assert integrator.experience.frozen.works
    dr.set_grad(here[WALL], 1)
    with pytest.raises(InputError, match="another scene in memory has parameters that were computed from variables"):
        integrator.render_forward(scene, here, 0, seed=2, spp=4)
    recording.backward(recording.images)
    assert all(np.abs(np.array(dr.grad(optimizer[key]))).max() > 0 for key in optimizer)


def test_frozen_images_are_the_same_images(scene: mi.Scene) -> None:
    integrator = mi.load_dict({"type": "pbdr", "max_depth": 3})
    params = mi.traverse(scene)
    for k in range(6):
        params[WALL] = mi.Color3f(0.1 + 0.1 * k) + dr.opaque(mi.Float, 0)
        params["camera.film.size"] = mi.ScalarVector2u(16, 12 + k // 3)
        params.update()
        expected = integrator.render(scene, 0, seed=k, spp=4)
        np.testing.assert_allclose(integrator.image(scene, 0, dr.opaque(mi.UInt32, k), 4), expected, rtol=1e-5)
    assert integrator.experience.frozen.works
    assert integrator.experience.frozen.launched == 4


def test_frozen_steps_below_a_textured_lamp(tmp_path: Path) -> None:
    """Mitsuba makes what finds points on it at the first sample, which no recording may do."""
    file = write_image(tmp_path / "texels.exr", (2, 3, 3))
    texels = f'<texture type="bitmap" name="radiance"><string name="filename" value="{file}"/></texture>'
    scene = load_scene(write_scene(tmp_path, emitter=f'<emitter type="area">{texels}</emitter>'))
    frozen = mi.load_dict({"type": "pbdr", "max_depth": 3})
    for k in range(3):
        pbdr.step(scene, {WALL: mi.Color3f(0.4 + 0.1 * k)}, 0, loss, spp=8, seed=k, integrator=frozen)
    assert frozen.experience.frozen.works


def test_frozen_steps_follow_a_camera(scene: mi.Scene) -> None:
    """One that the caller holds on to, and that moves between steps."""
    frozen, anew = (mi.load_dict({"type": "pbdr", "max_depth": 3}) for _ in range(2))
    anew.experience.frozen.works = False
    sensor, params = scene.sensors()[0], mi.traverse(scene)
    start, images = mi.Transform4f(params["camera.to_world"]), []
    for k in range(5):
        params["camera.to_world"] = mi.Transform4f().translate([dr.opaque(mi.Float, 0.2 * k), 0, 0]) @ start
        params["camera.x_fov"] = dr.opaque(mi.Float, 40 - k)
        params.update()
        first, second = (
            pbdr.step(scene, {WALL: mi.Color3f(0.4)}, sensor, loss, spp=4, seed=1, integrator=integrator)
            for integrator in (frozen, anew)
        )
        np.testing.assert_allclose(first.images[0], second.images[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(first.gradients[WALL], second.gradients[WALL], rtol=1e-3)
        found = frozen.image(scene, sensor, dr.opaque(mi.UInt32, k), 4)
        expected = frozen.render(scene, sensor, seed=k, spp=4)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        images.append(np.array(second.images[0]))
    assert frozen.experience.frozen.works and frozen.experience.frozen.launched >= 6
    assert np.abs(images[-1] - images[0]).max() > 0.1


def test_frozen_steps_notice_what_changes(scene: mi.Scene, tmp_path: Path) -> None:
    """Numbers that are part of kernels, arrays of other sizes, and another scene."""
    frozen, anew = (mi.load_dict({"type": "pbdr", "max_depth": 3}) for _ in range(2))
    anew.experience.frozen.works = False

    def compare(scene: mi.Scene, seed: int, spp: int = 4) -> None:
        first, second = (
            pbdr.step(scene, {WALL: mi.Color3f(0.4)}, 0, loss, spp=spp, seed=seed, integrator=integrator)
            for integrator in (frozen, anew)
        )
        np.testing.assert_allclose(first.images[0], second.images[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(first.gradients[WALL], second.gradients[WALL], rtol=1e-3)

    params = mi.traverse(scene)
    changes = [
        ("camera.near_clip", 3.7),
        ("camera.film.crop_offset", mi.ScalarVector2u(3, 2)),
        ("box.vertex_positions", 0.7 * params["box.vertex_positions"]),
        ("camera.to_world", mi.Transform4f().translate([0.3, 0, 4]) @ mi.Transform4f().rotate([0, 1, 0], 180)),
    ]
    params["camera.film.crop_size"] = mi.ScalarVector2u(10, 10)
    params.update()
    for k in range(4):
        compare(scene, k)
    for key, value in changes:
        params[key] = value
        params.update()
        for k in range(3):
            compare(scene, k)
    compare(scene, 1, spp=8)
    other = load_scene(write_scene(tmp_path, color='<rgb name="reflectance" value="0.1"/>'))
    for k in range(4):
        compare(other, k)
    compare(scene, 2)
    assert frozen.experience.frozen.works


def test_other_parameters_from_step_to_step(scene: mi.Scene) -> None:
    """What was learned about one parameter is not taken for another."""
    values = {WALL: mi.Color3f(0.4), LAMP: mi.Color3f(3), ALPHA: mi.Float(0.2)}
    kept = mi.load_dict({"type": "pbdr", "max_depth": 3})
    for k, key in enumerate([WALL, WALL, WALL, LAMP, LAMP, LAMP, ALPHA, WALL, LAMP, LAMP]):
        params = mi.traverse(scene)
        for name, value in values.items():
            params[name] = type(value)(value + dr.opaque(mi.Float, 0))
        params.update()
        first, second = (
            pbdr.step(scene, {key: values[key]}, 0, loss, spp=8, seed=k, integrator=integrator).gradients[key]
            for integrator in (kept, mi.load_dict({"type": "pbdr", "max_depth": 3}))
        )
        assert np.abs(np.array(second)).max() > 0
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-6)


def test_what_moved_in_an_earlier_step_rests(scene: mi.Scene) -> None:
    """A memory needs a scene at rest, and gets one although a step has moved things before."""
    vertices = mi.Float(mi.traverse(scene)[VERTICES])
    pbdr.step(scene, {VERTICES: vertices}, 0, loss, spp=8, seed=1)
    values = {WALL: mi.Color3f(0.4)}
    pbdr.step(scene, values, 0, loss, spp=8, seed=2, memory=pbdr.Memory())
    assert [key for key, value in mi.traverse(scene) if dr.grad_enabled(value)] == [WALL]
    np.testing.assert_array_equal(vertices, mi.traverse(scene)[VERTICES])


def test_no_gradient_is_left_for_forward_mode(scene: mi.Scene) -> None:
    """Derivatives along one parameter are the same after a step has differentiated by another."""
    direction, one = Perturbation.uniform(LAMP), mi.load_dict({"type": "pbdr", "max_depth": 3})
    value = mi.Color3f(mi.traverse(scene)[WALL])
    before = forward_gradient(scene, direction, one, spp=8, seed=3)
    pbdr.step(scene, {WALL: value}, 0, lambda image: 1e3 * loss(image), spp=8, seed=1)
    after = forward_gradient(scene, direction, one, spp=8, seed=3)
    assert np.abs(before).max() > 0
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4 * np.abs(before).max())


def test_what_cannot_be_frozen_is_traced_anew(scene: mi.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(dr, "freeze", lambda function, **options: fail)
    integrator = mi.load_dict({"type": "pbdr", "max_depth": 3})
    for k in range(4):
        done = pbdr.step(scene, {WALL: mi.Color3f(0.4)}, 0, loss, spp=8, seed=k, integrator=integrator)
        assert np.abs(np.array(done.gradients[WALL])).max() > 0
    assert not integrator.experience.frozen.works
