"""Making an integrator from what a user wrote, and the names there are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import mitsuba as mi

from . import resources
from .errors import InputError, suggestion
from .messages import explain, plugin_names

#: Properties that several integrators share, with the type that each must have
_SHARED_PROPERTIES: dict[str, type] = {
    "boundary": str,
    "boundary_guide": str,
    "boundary_spp": int,
    "bsdf_samples": int,
    "derivative_sampling": bool,
    "emitter_samples": int,
    "hide_emitters": bool,
    "interior": str,
    "max_depth": int,
    "memory_budget": float,
    "reparam_antithetic": bool,
    "reparam_exp": float,
    "reparam_kappa": float,
    "reparam_max_depth": int,
    "reparam_rays": int,
    "reparam_unroll": bool,
    "rr_depth": int,
    "samples_per_pass": int,
    "shading_samples": int,
    "warp_antithetic": bool,
    "warp_depth": int,
    "warp_exponent": float,
    "warp_field": str,
    "warp_jackknife": bool,
    "warp_kappa": float,
    "warp_rays": int,
    "warp_reach": float,
}
_WORDS = {bool: "true or false", float: "a number", int: "an integer", str: "a word"}


def own_integrators() -> list[str]:
    """The integrators that pbdr registers.

    Example:
        >>> "pbdr" in own_integrators()
        True
    """
    parts = {"common", "passes", "__init__"}
    return sorted(file.stem for file in resources.folder("plugins").glob("*.py") if file.stem not in parts)


def integrator_names() -> list[str]:
    """Every integrator that can be asked for by name: pbdr's and Mitsuba's."""
    folder = Path(mi.__file__).parent
    manager = mi.PluginManager.instance()
    compiled = [n for n in plugin_names(folder) if manager.plugin_type(n) == mi.ObjectType.Integrator]
    python = [file.stem for file in (folder / "python" / "ad" / "integrators").glob("*.py")]
    python = [name for name in python if name not in {"__init__", "common"}]
    return sorted({*own_integrators(), *compiled, *python})


def parse_integrator(spec: str) -> dict[str, object]:
    """Read ``name`` or ``name:property=value,…`` into a Mitsuba dictionary.

    Numbers and ``true``/``false`` become what they look like; everything else stays text.

    Example:
        >>> parse_integrator("pbdr:max_depth=8,boundary=none")
        {'type': 'pbdr', 'max_depth': 8, 'boundary': 'none'}
    """
    name, _, rest = spec.partition(":")
    description: dict[str, object] = {"type": name.strip()}
    # Only a comma before the next property separates; a value such as "p:position,n:sh_normal" keeps its own
    for part in re.split(r",(?=\s*\w+\s*=)", rest) if rest.strip() else []:
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise InputError(f"the integrator '{spec}' must read name:property=value,…; '{part}' is not property=value")
        description[key.strip()] = _literal(value.strip())
    return description


def make_integrator(spec: str | Mapping[str, object]) -> mi.Integrator:
    """An integrator for the active variant.

    Args:
        spec: A name (``"prb"``), a name with properties (``"pbdr:max_depth=8,boundary=none"``) or a dictionary with
            ``type`` and properties.

    Returns:
        The integrator; it can be handed to ``mi.render(scene, params, integrator=…)``.

    Example:
        >>> integrator = make_integrator({"type": "pbdr", "max_depth": 8})
    """
    description = parse_integrator(spec) if isinstance(spec, str) else dict(spec)
    name = description.get("type")
    names = integrator_names()
    if not isinstance(name, str) or not name:
        raise InputError(f"an integrator needs a 'type'{suggestion('', names)}")
    for key, value in description.items():
        _check_type(name, key, value)
    # Plugins that a user registered have no place where they could be looked up before
    try:
        integrator = mi.load_dict(description)
    except RuntimeError as error:
        if f'"{name}" not found' in str(error):
            raise InputError(f"there is no integrator '{name}'{suggestion(name, names)}") from error
        sentence = explain(str(error), "", names).removeprefix(": ")
        if "has no property" in sentence:
            unknown = sentence.rsplit("'", 2)[1]
            known = [key for key in _SHARED_PROPERTIES if key != unknown]
            sentence = f"the integrator '{name}' has no property '{unknown}'{_did_you_mean(unknown, known)}"
        raise InputError(sentence.replace(f"the plugin '{name}'", f"the integrator '{name}'")) from error
    if not isinstance(integrator, mi.Integrator):
        raise InputError(f"the plugin '{name}' is not an integrator{suggestion(name, names)}")
    return integrator


def _check_type(name: str, key: str, value: object) -> None:
    """Refuse a shared property of the wrong type: plugins written in Python would only stumble over it later."""
    expected = _SHARED_PROPERTIES.get(key)
    if expected is None:
        return
    fits = isinstance(value, expected) and (expected is bool or not isinstance(value, bool))
    if not fits and not (expected is float and isinstance(value, int) and not isinstance(value, bool)):
        raise InputError(f"the integrator '{name}' needs {_WORDS[expected]} for '{key}', got '{value}'")


def _did_you_mean(name: str, known: list[str]) -> str:
    """A closest match if there is one; the shared properties are not all allowed, so they are not listed."""
    hint = suggestion(name, known)
    return hint if "did you mean" in hint else ""


def _literal(text: str) -> bool | int | float | str:
    """A number or truth value if the text reads like one."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
