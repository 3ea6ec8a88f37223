"""Parameters of materials whose derivative would be wrong without a word."""

from __future__ import annotations

import mitsuba as mi


def material_obstacle(parameters: mi.SceneParameters, key: str) -> str:
    """Why the derivative by a parameter of a material does not exist; empty if it does.

    Example:
        >>> material_obstacle(mi.traverse(scene), "ball.bsdf.alpha")
        "'roughplastic' computes tables from it that carry no derivatives"
    """
    _, _, owner, _ = parameters.properties[key]
    name = key.rsplit(".", 1)[-1]
    if owner.class_name() == "RoughPlastic" and name in ("alpha", "eta"):
        return "'roughplastic' computes tables from it that carry no derivatives"
    # Lobes with a single direction, those that pass straight on apart
    singular = int(mi.BSDFFlags.DeltaReflection) | int(mi.BSDFFlags.DeltaTransmission)
    above = _ancestors(parameters, owner)
    for place, node in enumerate(above):
        of_texture = place > 0 and not isinstance(above[place - 1], mi.BSDF)
        if not (isinstance(node, mi.BSDF) and int(node.flags()) & singular and of_texture):
            continue
        kind = node.class_name()
        if kind in ("NormalMap", "BumpMap"):
            return "it turns the directions of perfectly specular reflections, which are not followed"
        if kind == "MaskBSDF" and isinstance(above[place + 1], mi.BSDF):
            return "it is the opacity of a perfectly specular material inside another material"
    return ""


def _ancestors(parameters: mi.SceneParameters, owner: mi.Object) -> list[mi.Object]:
    """An object of the scene and what it is nested in, from the inside out."""
    found = []
    while owner is not None:
        found.append(owner)
        owner = parameters.hierarchy[owner][0]
    return found
