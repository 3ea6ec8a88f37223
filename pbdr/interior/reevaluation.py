"""Recorded paths under other materials, textures and lights: no ray is traced and no density is evaluated.

A path that was found under parameters θ₀ carries, under θ, the light

    L(θ) = Σ_k ( Π_{j<k} f_j(θ) / p_j(θ₀) ) · ( w_k Le_k(θ) + w'_k f_k(θ) Ld_k(θ) / q_k(θ₀) ),

f_j being BSDF times cosine toward the next vertex, p_j and q_k the densities of BSDF and emitter samples (survival of
Russian roulette included), and w, w' the weights of multiple importance sampling. Densities and weights stay those of
the recording. The weights of the two strategies still add up to one in every direction, so L(θ) has the radiance under
θ as its mean wherever the recording can find a path at all: where f(θ) > 0 but no strategy of the recording samples,
light is missing. Its variance grows with the distance of θ from θ₀, as that of any importance sampling with a density
that is not quite the right one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import drjit as dr
import mitsuba as mi

from ..errors import InputError, suggestion
from ..geometry.edges import single_shapes
from ..geometry.motion import MOTION_KEYS
from ..scene_parameters import scene_parameters
from ..transport import film as films
from ..transport.path import PathResult
from ..transport.vertices import sum_along_paths
from .recorded_pass import Layout, Outcome
from .surfaces import Surfaces


def require_separate_lobes(scene: mi.Scene) -> None:
    """Refuse perfectly specular materials inside ``mask`` and ``blendbsdf``, whose lobes cannot be told apart later."""
    specular = int(mi.BSDFFlags.DeltaReflection) | int(mi.BSDFFlags.DeltaTransmission)
    for shape in single_shapes(scene):
        bsdf = shape.bsdf()
        if bsdf is None or not int(bsdf.flags()) & specular:
            continue
        if found := re.search(r"\b(BlendBSDF|Mask)\[", str(bsdf)):
            kind = {"BlendBSDF": "blendbsdf", "Mask": "mask"}[found[1]]
            raise InputError(
                f"shape '{shape.id()}': paths over a perfectly specular material inside a '{kind}' cannot be "
                "reevaluated; make it rough or record without 'reusable'"
            )


@contextlib.contextmanager
def put_values(
    scene: mi.Scene, values: Mapping[str, dr.ArrayBase], params: mi.SceneParameters | None = None
) -> Iterator[None]:
    """Put values of materials, textures and emitters into a scene for a while.

    Args:
        params: A traversal of the scene, if there is one.
    """
    params = scene_parameters(scene) if params is None else params
    # Copies that are made while derivatives are suspended would lose theirs
    with dr.resume_grad():
        former = {key: type(params[key])(params[key]) for key in values}
        params.update(dict(values))
    try:
        yield
    finally:
        with dr.resume_grad():
            params.update(former)


def require_still(scene: mi.Scene, keys: Iterable[str]) -> None:
    """Refuse keys of what decides where paths go, whatever their densities."""
    params = scene_parameters(scene)
    for key in keys:
        _require_still(scene, params, key)


def _require_still(scene: mi.Scene, params: mi.SceneParameters, key: str) -> None:
    if key not in params:
        raise InputError(f"no parameter of the scene is called '{key}'{suggestion(key, params.keys())}")
    _, _, owner, _ = params.properties[key]
    name, sensors = key.rsplit(".", 1)[-1], tuple(f"{sensor.id()}." for sensor in scene.sensors())
    turns = isinstance(owner, mi.Emitter) and owner.is_environment()
    if (name in MOTION_KEYS and not turns) or name in ("faces", "vertex_normals") or key.startswith(sensors):
        raise InputError(f"parameter '{key}' moves paths: only materials, textures and emitters can be reevaluated")
    if not (dr.is_jit_v(params[key]) or turns):
        raise InputError(f"parameter '{key}' is a plain Python value that decides where paths go")


def reevaluate_pass(
    scene: mi.Scene, sensor: mi.Sensor, outcome: Outcome, *, layout: Layout, put: Callable
) -> list[mi.TensorXf]:
    """An image of each set of recorded paths, under what the scene holds now.

    Args:
        put: Mitsuba's conversion of a spectral sample to film channels.

    Returns:
        Detached. [H, W, C] each
    """
    with dr.suspend_grad():
        camera = outcome.camera(sensor, layout, put)
        vertices = outcome.kept(layout).vertices(camera.ray)
        surfaces = Surfaces(scene, layout.kept, vertices)
        arriving, lit = surfaces.arriving(by_direction=True)
        own = surfaces.emission() + dr.select(lit, surfaces.turned(lit) * arriving, 0)
        factor = surfaces.scattered() * outcome.inverse_densities[0]
        previous = vertices.fields["previous"]
        dr.eval(own, factor, previous)
        L = sum_along_paths(mi.Spectrum(own), mi.Spectrum(factor), previous, outcome.last[0])
        path = PathResult(dr.select(outcome.valid, L, 0), mi.Spectrum(0), outcome.valid, {}, mi.UInt32(0))
        return films.develop_sets(camera, path)[0]
