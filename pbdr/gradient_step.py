"""One step of gradient descent on the parameters of a scene: images, loss and gradients, at the lowest cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from .capabilities import is_own
from .errors import InputError, require_type, suggestion
from .interior.allocation import PixelAllocation
from .interior.control_variates import ControlVariate
from .interior.recording import Request
from .scene import select_sensor
from .scene_parameters import require_attachable, scene_parameters
from .seeds import derive_seed, require_samples
from .transport.tangents import attached_copy

if TYPE_CHECKING:
    from .interior.moving_recording import MovingRecording
    from .interior.recording import Recording

#: A loss of one image: one number
Loss = Callable[["mi.TensorXf"], "mi.TensorXf | mi.Float"]


@dataclasses.dataclass(frozen=True)
class Step:
    """What a step leaves."""

    images: list[mi.TensorXf]  #: of each sensor, detached [H, W, C] each
    loss: mi.Float  #: sum of the losses of these images [1]
    gradients: dict  #: derivative of the expected loss by each value, by key


class Memory:
    """What steps know of earlier steps, for less noise at equal samples. Keep it from step to step.

    All that changes between steps must be among the values that a step is given; start anew after any other change of
    the scene.

    Example:
        >>> memory = pbdr.Memory(control_variate=True)
        >>> for seed in range(100):
        ...     done = pbdr.step(scene, optimizer, 0, loss, spp=4, seed=seed, memory=memory)
        ...     optimizer.step()
    """

    def __init__(self, *, control_variate: bool = True, allocation: bool = False):
        """Choose what to remember.

        Args:
            control_variate: Images, which take noise out of later ones, at 0.2 to 0.5 renderings more a step. Images,
                losses and gradients of successive steps have correlated errors then.
            allocation: How the loss depends on each pixel; those that matter get more samples than others.
        """
        self.control_variate = ControlVariate() if control_variate else None
        self.allocation = PixelAllocation() if allocation else None

    @staticmethod
    def require(recording: Recording | None) -> Recording:
        """A recording, or the reason why there is nothing to remember."""
        if recording is None:
            raise InputError(
                "'control_variate' and 'allocation' need recorded paths: integrator 'pbdr' with 'interior' = 'replay', "
                "and values of materials, textures and lights alone"
            )
        return recording

    def images(self, recording: Recording, values: Mapping[str, dr.ArrayBase]) -> list[mi.TensorXf]:
        """The images of a recording, with less noise if former ones are remembered. [H, W, C] each

        Args:
            values: Parameters that it was recorded with, by key.
        """
        return self.control_variate.improve(recording, values) if self.control_variate else list(recording.images)

    def learn(self, recording: Recording, adjoints: Sequence[mi.TensorXf]) -> None:
        """Remember the derivatives of the loss by the images of a recording. [H, W, C] each"""
        if self.allocation:
            self.allocation.learn(recording.sensor, sum(adjoints))


def record(
    integrator: mi.Integrator,
    scene: mi.Scene,
    sensor: int | str | mi.Sensor,
    *,
    spp: int,
    seed: int | mi.UInt32,
    images: int = 1,
    reusable: bool = False,
    memory: Memory | None = None,
    moving: bool = False,
) -> Recording | MovingRecording | None:
    """Independent images of a view that keep what their derivatives need.

    Args:
        sensor: Or its position or id in the scene.
        spp: Samples per pixel of each image; 0 for what the scene says.
        images: How many.
        reusable: Whether to keep all vertices, so that images under other materials, textures and lights can be had
            without tracing (``reevaluate``); paths must fit into the integrator's ``memory_budget`` then.
        memory: Of earlier steps.
        moving: Whether something may move; such recordings have ``images`` and ``backward`` alone.

    Returns:
        ``images``, with ``backward(adjoints)``, ``jvp(directions)`` and ``forward()`` for their derivatives and
        ``reevaluate(values)`` for images of the same paths; None where images and derivatives need passes of their
        own: something moves (unless ``moving``), normals or texture coordinates of a mesh carry derivatives, nothing
        does (unless ``reusable``), or the integrator is not pbdr's.

    Example:
        >>> recording = pbdr.record(integrator, scene, 0, spp=16, seed=0)
        >>> recording.backward([recording.images[0] - target])
    """
    require_samples(spp, least=0)
    _require_tools(integrator, memory)
    if images < 1:
        raise InputError(f"'images' must be at least 1, got {images}")
    (sensor,) = _sensors(scene, sensor)
    if not is_own(integrator):
        return None
    reusable = reusable or (memory is not None and memory.control_variate is not None)
    allocation = memory.allocation if memory else None
    return integrator.record(scene, sensor, Request(seed, spp, images, reusable, allocation, moving))


def step(
    scene: mi.Scene,
    values: Mapping[str, dr.ArrayBase],
    sensors: int | str | mi.Sensor | Sequence[int | str | mi.Sensor],
    loss: Loss | Sequence[Loss],
    *,
    spp: int,
    seed: int,
    integrator: mi.Integrator | None = None,
    memory: Memory | None = None,
) -> Step:
    """Put values into a scene, render, compare and differentiate.

    No second image is traced for the derivative. The samples are divided into two independent images, and the
    derivative of each is weighted with the loss of the other: unbiased for squared errors, and for other losses what
    independent images of half the samples give. With warped area, and for integrators that are not pbdr's, image and
    derivative are rendered one after the other.

    Args:
        values: Of scene parameters, by key. If they carry derivatives themselves, as the variables of an optimizer do,
            gradients are added to what they come from, as ``dr.backward`` would do. Other parameters are detached.
        sensors: One or several, or their positions or ids in the scene.
        loss: Of one image; or one function for each sensor, which are summed.
        spp: Samples per pixel.
        seed: Different for each step.
        integrator: Default ``pbdr``. Keep it from step to step: it remembers how much memory paths take.
        memory: Of earlier steps.

    Example:
        >>> done = pbdr.step(scene, optimizer, 0, lambda image: dr.mean(dr.square(image - target)), spp=16, seed=0)
        >>> optimizer.step()
    """
    require_samples(spp)
    integrator = mi.load_dict({"type": "pbdr"}) if integrator is None else integrator
    _require_tools(integrator, memory)
    sensors = _sensors(scene, sensors)
    losses = list(loss) if isinstance(loss, Sequence) else [loss] * len(sensors)
    for one in losses:
        if not callable(one):
            raise InputError(f"a loss must be a function of an image, got a {type(one).__name__}")
    if len(losses) != len(sensors):
        raise InputError(f"there are {len(sensors)} sensors but {len(losses)} losses")
    params = scene_parameters(scene)
    keys = list(values)
    for key in keys:
        _require_parameter(params, key, values[key])
    _detach_others(params, keys)
    images, total, gradients = [], mi.Float(0), dict.fromkeys(keys, 0)
    for k, (sensor, function) in enumerate(zip(sensors, losses, strict=True)):
        # A traversal consumes the edges between values and scene, so each view gets its own
        leaves = {key: attached_copy(values[key])[0] for key in keys}
        params.update(leaves)
        taken = _Seeded(spp, derive_seed(seed, k), memory, {key: dr.detach(leaves[key]) for key in keys})
        image, value = _differentiate(scene, params, sensor, function, taken, integrator)
        images.append(dr.detach(image))
        total += dr.mean(mi.Float(dr.ravel(dr.detach(value))))
        gradients = {key: gradients[key] + dr.grad(leaf) for key, leaf in leaves.items()}
        # Forward mode would take what is left in the scene for tangents
        dr.clear_grad(leaves)
    attached = {key: value for key, value in values.items() if dr.grad_enabled(value)}
    if attached:
        dr.backward(sum(dr.sum(dr.ravel(value) * dr.ravel(gradients[key])) for key, value in attached.items()))
    return Step(images, total, gradients)


@dataclasses.dataclass(frozen=True)
class _Seeded:
    """How the images of one view are found."""

    spp: int
    seed: int
    memory: Memory | None
    values: dict  #: of the scene's parameters, detached


def _differentiate(
    scene: mi.Scene,
    params: mi.SceneParameters,
    sensor: mi.Sensor,
    function: Loss,
    how: _Seeded,
    integrator: mi.Integrator,
) -> tuple[mi.TensorXf, mi.Float]:
    """Image and loss of one view, with gradients in the scene's parameters."""
    first, second = (dr.opaque(mi.UInt32, derive_seed(how.seed, label)) for label in ("image", "gradient"))
    spp, memory = max(1, how.spp // 2), how.memory
    recording = record(integrator, scene, sensor, spp=spp, seed=first, images=2, memory=memory, moving=memory is None)
    if memory:
        memory.require(recording)
    if recording is None:
        image = mi.render(
            scene, params, sensor=sensor, integrator=integrator, spp=how.spp, seed=first, seed_grad=second
        )
        value = _loss(function, image)
        dr.backward(value)
        return image, value
    images = memory.images(recording, how.values) if memory else recording.images
    # The derivative of each image goes with the loss of the other
    leaves = [dr.detach(image) for image in images]
    dr.enable_grad(leaves)
    dr.backward(sum(_loss(function, leaf) for leaf in leaves) / 2)
    first, second = (dr.grad(leaf) for leaf in leaves)
    recording.backward([second, first])
    if memory:
        memory.learn(recording, [first, second])
    image = sum(images) / 2
    return image, function(image)


def _detach_others(params: mi.SceneParameters, keys: Sequence[str]) -> None:
    """Let nothing carry derivatives but some parameters and what their objects derive from them.

    Earlier steps leave theirs, with which a scene at rest would pass for one that moves.
    """
    owners = {_owner(key) for key in keys}
    others = [key for key, value in params if dr.grad_enabled(value) and _owner(key) not in owners]
    if others:
        leaves = {key: attached_copy(params[key])[0] for key in others}
        dr.disable_grad(leaves)
        params.update(leaves)


def _owner(key: str) -> str:
    return key.rpartition(".")[0]


def _loss(function: Loss, image: mi.TensorXf) -> mi.TensorXf | mi.Float:
    """The loss of an image, which must depend on it."""
    value = function(image)
    if not dr.is_array_v(value) or (dr.grad_enabled(image) and not dr.grad_enabled(value)):
        raise InputError(f"a loss must return a number that depends on its image, got a {type(value).__name__}")
    return value


def _sensors(scene: mi.Scene, wanted: int | str | mi.Sensor | Sequence) -> list[mi.Sensor]:
    """The sensors that positions and ids mean."""
    require_type("scene", scene, mi.Scene, "; pbdr.scene.load_scene loads one")
    several = wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
    sensors = [select_sensor(scene, one) if isinstance(one, int | str) else one for one in several]
    for sensor in sensors:
        require_type("sensor", sensor, mi.Sensor)
    return sensors


def _require_tools(integrator: mi.Integrator, memory: Memory | None) -> None:
    require_type("integrator", integrator, mi.Integrator, "; pbdr.integrators.make_integrator makes one")
    if memory is not None:
        require_type("memory", memory, Memory, "; pbdr.Memory() makes one")


def _require_parameter(params: mi.SceneParameters, key: str, value: object) -> None:
    if key not in params:
        raise InputError(f"no parameter of the scene is called '{key}'{suggestion(key, params.keys())}")
    if not dr.is_array_v(value) and "Transform" not in type(value).__name__:
        kind = type(params[key]).__name__
        raise InputError(f"the value of '{key}' must be an array of Dr.Jit, mi.{kind}, got a {type(value).__name__}")
    require_attachable(params, key)
