"""Gradients whose kernels are launched again equal those that are traced anew, while everything moves and changes."""

from __future__ import annotations

import gc
import resource

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.compare.estimators import forward_gradient, smooth_adjoint
from pbdr.compare.perturbations import Perturbation

from .silhouette_cases import area, closed_cylinder, equal, glowing, instance, integrator, of, point, sky, stage

#: Scene, what is differentiated, and what moves between gradients beside it
CASES = {
    "box": (lambda: stage(area()), "box.vertex_positions", ["camera.to_world", "lamp.to_world"]),
    "box filter": (lambda: stage(area(), rfilter="box"), "box.vertex_positions", ["floor.to_world"]),
    "sampled border": (lambda: stage(area(), sample_border=True), "camera.to_world", ["box.vertex_positions"]),
    "light": (lambda: stage(area(), of("cylinder")), "lamp.to_world", ["box.to_world"]),
    "closed cylinder": (lambda: stage(point(), closed_cylinder()), "lamp.position", ["camera.to_world"]),
    "instance": (lambda: stage(area(), instance()), "box.to_world", ["camera.to_world"]),
    "glowing disk": (lambda: stage(sky(), glowing()), "box.to_world", ["camera.to_world"]),
    "field of view": (lambda: stage(area(), of("sphere")), "camera.x_fov", ["box.to_world"]),
    "albedo": (lambda: stage(area()), "box.bsdf.reflectance.value", ["camera.to_world"]),
}


def moved(value: dr.ArrayBase, k: int) -> dr.ArrayBase:
    """A value of step k, near the first one."""
    if isinstance(value, mi.Transform4f):
        return mi.Transform4f().translate([0.03 * k, 0.02 * k, 0.01 * k]) @ value
    shifted = value + dr.opaque(mi.Float, 0.02 * k)
    return type(value)(shifted)


def gradient(scene, one, key: str, values: dict, adjoint, seed: int, spp: int) -> np.ndarray:
    params = mi.traverse(scene)
    for name, value in values.items():
        params[name] = value
    dr.enable_grad(params[key])
    params.update()
    # Through the front door, as an optimizer would
    image = mi.render(scene, params, integrator=one, spp=spp, seed=dr.opaque(mi.UInt32, seed))
    dr.backward(dr.sum(adjoint * image, axis=None))
    found = dr.grad(params[key])
    found = np.array(found.matrix if isinstance(found, mi.Transform4f) else found)
    dr.disable_grad(params[key])
    params.update()
    return found.ravel()


def recordings(one, name: str) -> int:
    """How often functions of that name were recorded."""
    return sum(entry.recordings for key, entry in one.experience.frozen._entries.items() if key[0] == name)


@pytest.mark.parametrize("name", CASES)
def test_equal_gradients(name):
    build, key, others = CASES[name]
    scene, (frozen, anew) = build(), (integrator(), integrator())
    anew.experience.frozen.works = False
    params = mi.traverse(scene)
    start = {other: type(params[other])(params[other]) for other in (key, *others)}
    adjoint = mi.TensorXf(smooth_adjoint((24, 24, 3)))
    for k in range(8):
        values = {other: moved(value, k) for other, value in start.items()}
        a, b = (gradient(scene, one, key, values, adjoint, k, 8) for one in (frozen, anew))
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3 * np.abs(b).max())
    assert frozen.experience.frozen.works
    assert frozen.experience.frozen.launched >= 1


def test_several_views():
    """Sensors that take turns, with other poses, fields of view and films."""
    # A scene of an earlier test that is collected in between has every function recorded once more
    gc.collect()
    scene, (frozen, anew) = stage(area()), (integrator(), integrator())
    anew.experience.frozen.works = False
    adjoint = mi.TensorXf(smooth_adjoint((24, 24, 3)))
    look_at = mi.ScalarTransform4f().look_at
    film = {"type": "hdrfilm", "width": 24, "height": 24, "pixel_format": "rgb"}

    def view(x: float, fov: float, **changes) -> mi.Sensor:
        to_world = look_at(origin=[x, -4, 2.5], target=[0, 0, 0.3], up=[0, 0, 1])
        sampler = {"type": "independent"}
        return mi.load_dict(
            {"type": "perspective", "fov": fov, "to_world": to_world, "film": film | changes, "sampler": sampler}
        )

    views = [view(x, fov) for x, fov in ((0.5, 40), (1, 42), (-1, 38), (0, 45), (2, 40))]
    views.append(view(0, 40, rfilter={"type": "box"}))
    views += [view(x, 40, rfilter={"type": "mitchell", "B": b}) for x, b in ((0, 0.333), (1, 0.334))]
    params = mi.traverse(scene)
    key = "box.vertex_positions"
    for _ in range(4):
        for k, sensor in enumerate(views):
            found = []
            for one in (frozen, anew):
                dr.enable_grad(params[key])
                params.update()
                one.render_backward(scene, params, adjoint, sensor, dr.opaque(mi.UInt32, k), 8)
                found.append(np.array(dr.grad(params[key])))
                dr.set_grad(params[key], 0)
            np.testing.assert_allclose(*found, rtol=2e-3, atol=2e-3 * np.abs(found[1]).max())
    assert frozen.experience.frozen.works
    # Three for each of four kinds of film, and the first of a scene that nothing has moved in
    assert recordings(frozen, "open") <= 13
    # Attached scenes in memory stand in the way of forward mode
    dr.disable_grad(params[key])
    params.update()


@pytest.mark.parametrize("key", ["box.vertex_positions", "box.bsdf.reflectance.value"])
def test_equal_tangents_in_other_directions(key):
    scene, (frozen, anew) = stage(area()), (integrator(), integrator())
    anew.experience.frozen.works = False
    for k in range(8):
        size = np.array(mi.traverse(scene)[key]).size
        direction = Perturbation.along(key, np.resize(np.eye(3)[k % 3] + 0.1 * k, size))
        a, b = (forward_gradient(scene, direction, one, spp=8, seed=k) for one in (frozen, anew))
        assert equal(b, a)
    assert frozen.experience.frozen.works
    assert frozen.experience.frozen.launched >= 1


def test_textured_lamps():
    """Mitsuba finds their points by a structure that it makes anew when they move: no kernel may keep the former."""
    bitmap = mi.Bitmap(np.linspace(0.5, 3, 48, dtype=np.float32).reshape(4, 4, 3))
    radiance = {"type": "bitmap", "bitmap": bitmap, "raw": True}
    to_world = mi.ScalarTransform4f().translate([0.6, -0.4, 2.8]).scale(0.3)
    scene = stage({"type": "cube", "to_world": to_world, "emitter": {"type": "area", "radiance": radiance}})
    adjoint = mi.TensorXf(smooth_adjoint((24, 24, 3)))
    for key, launches in (("lamp.vertex_positions", False), ("box.vertex_positions", True)):
        one, start = integrator(), mi.Float(mi.traverse(scene)[key])
        for k in range(5):
            assert np.isfinite(gradient(scene, one, key, {key: moved(start, k)}, adjoint, k, 8)).all()
        assert one.experience.frozen.works
        assert (one.experience.frozen.launched > 0) == launches


def test_nothing_is_compiled_and_nothing_grows():
    """Later gradients find their kernels, but for another division of the samples, and no more memory is taken."""
    scene, one = stage(area()), integrator()
    key = "box.vertex_positions"
    start = mi.Float(mi.traverse(scene)[key])
    adjoint = mi.TensorXf(smooth_adjoint((24, 24, 3)))
    peaks, compiled = [], []
    for k in range(100):
        with dr.scoped_set_flag(dr.JitFlag.KernelHistory):
            dr.kernel_history_clear()
            gradient(scene, one, key, {key: start + dr.opaque(mi.Float, 1e-4 * k)}, adjoint, k, 4)
            history = [kernel for kernel in dr.kernel_history() if kernel["type"] == dr.KernelType.JIT]
        compiled.append(sum(not kernel["cache_hit"] for kernel in history))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert np.count_nonzero(compiled[40:]) <= 4
    assert peaks[-1] - peaks[40] < 16, "MiB"
