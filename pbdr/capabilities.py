"""Which derivatives an integrator can deliver: said before rendering, so that no gradient is silently zero."""

from __future__ import annotations

import mitsuba as mi

from . import boundary
from .geometry import level_sets
from .scene_parameters import ParameterInfo

#: Mitsuba's integrators that sample moving silhouettes of shapes; see :func:`_beyond_projective`
_PROJECTIVE = frozenset({"DirectProjectiveIntegrator", "PathProjectiveIntegrator"})

#: Mitsuba's integrators that leave the derivative of moving visibility out without a warning
_INTERIOR_ONLY = frozenset(
    {"BasicPRBIntegrator", "PRBIntegrator", "PRBVolpathIntegrator", "PathIntegrator", "DirectIntegrator"}
)


#: Those that pass through participating media as if there were none
_WITHOUT_MEDIA = _PROJECTIVE | _INTERIOR_ONLY - {"PRBVolpathIntegrator"}


def refusal(integrator: mi.Integrator, scene: mi.Scene, info: ParameterInfo) -> str | None:
    """Why an integrator cannot differentiate a parameter, and which one can.

    Integrators that are neither pbdr's nor Mitsuba's are trusted.

    Args:
        integrator: The integrator chosen.
        scene: The scene that the parameter belongs to.
        info: The parameter, from ``describe_parameters``.

    Returns:
        One sentence, or None if the derivative exists.

    Example:
        >>> refusal(mi.load_dict({"type": "prb"}), scene, info)
        "parameter 'ball.to_world' moves visibility, which integrator 'prb' leaves out; ..."
    """
    if not info.differentiable:
        return f"parameter '{info.key}' cannot be differentiated: {info.reason}"
    if _leaves_media_out(integrator) and _is_of_medium(scene, info.key):
        return (
            f"parameter '{info.key}' belongs to a medium, which {_name(integrator)} leaves out; use integrator "
            "'prbvolpath'"
        )
    if not info.discontinuous:
        return None
    if _handles_motion(integrator, scene, info):
        term = _boundary(integrator)
        obstacle = term.obstacle(scene) if term else None
        return f"parameter '{info.key}' moves visibility, but {obstacle}" if obstacle else None
    return (
        f"parameter '{info.key}' moves visibility, whose derivative "
        f"{_name(integrator)} leaves out; {_alternative(scene, info)}"
    )


def _leaves_media_out(integrator: mi.Integrator) -> bool:
    return is_own(integrator) or not _WITHOUT_MEDIA.isdisjoint({type(integrator).__name__, integrator.class_name()})


def _is_of_medium(scene: mi.Scene, key: str) -> bool:
    properties = mi.traverse(scene).properties
    media = {name.rpartition(".")[0] for name, (_, _, owner, _) in properties.items() if isinstance(owner, mi.Medium)}
    return any(key.startswith(f"{medium}.") for medium in media)


def is_own(integrator: mi.Integrator) -> bool:
    """Whether an integrator is one of pbdr's."""
    return _boundary(integrator) is not None


def automatic_boundary(integrator: mi.Integrator) -> str | None:
    """The boundary term that ``boundary="auto"`` has taken; None if it was not asked, or nothing has moved so far."""
    return getattr(_boundary(integrator), "taken", None)


def _boundary(integrator: mi.Integrator) -> boundary.BoundaryTerm | None:
    """The boundary term of one of pbdr's integrators."""
    term = getattr(integrator, "boundary", None)
    return term if isinstance(term, boundary.BoundaryTerm) else None


def _handles_motion(integrator: mi.Integrator, scene: mi.Scene, info: ParameterInfo) -> bool:
    if term := _boundary(integrator):
        return term.handles_discontinuities
    kind = type(integrator).__name__
    if kind in _PROJECTIVE:
        return not _beyond_projective(scene, info)
    return kind not in _INTERIOR_ONLY and integrator.class_name() not in _INTERIOR_ONLY


def _beyond_projective(scene: mi.Scene, info: ParameterInfo) -> bool:
    """Whether a parameter moves what projective integrators do not follow, among it level sets and instances."""
    shapes = [shape for shape in scene.shapes() if shape.class_name() in (level_sets.KIND, "Instance")]
    owners = [*scene.sensors(), *scene.emitters(), *shapes]
    return any(info.key.startswith(f"{owner.id()}.") for owner in owners)


def _name(integrator: mi.Integrator) -> str:
    if term := _boundary(integrator):
        return f"{type(integrator).__name__} with boundary = '{term.name}'"
    # Compiled integrators share the classes of their interfaces, those written in Python the name of theirs
    is_compiled = type(integrator).__module__ == "mitsuba"
    return integrator.class_name() if is_compiled else type(integrator).__name__


def _alternative(scene: mi.Scene, info: ParameterInfo) -> str:
    terms = {name: boundary.find(name) for name in boundary.names()}
    complete = [n for n, term in terms.items() if term.handles_discontinuities and not term.obstacle(scene)]
    if complete:
        return "use integrator 'pbdr' with boundary = " + " or ".join(f"'{name}'" for name in complete)
    if _beyond_projective(scene, info):
        return "no installed integrator delivers it"
    return "Mitsuba's 'prb_projective' delivers it for meshes with welded vertices"
