"""Parameters of materials whose derivative would be wrong without a word."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np

#: Points in each direction at which a texture is looked at
_PROBED = 32

#: Values at which a material takes one of its lobes no more, by kind and name: paths do not see what changes there
_ENDS = {
    "BlendBSDF": {"weight": (0, 1)},
    "MaskBSDF": {"opacity": (0,)},
    "Principled": {"metallic": (1,), "sheen": (0,), "clearcoat": (0,), "spec_trans": (1,)},
    "PrincipledThin": {"spec_trans": (0, 1)},
}

#: Materials that turn the normals of those inside them
_MAPS = ("NormalMap", "BumpMap")

_TURNS_REFLECTIONS = "it turns the directions of perfectly specular reflections, which are not followed"


def lobe_ends(quantity: str) -> set[int]:
    """Values of a quantity at which some material has no derivative by it.

    Example:
        >>> lobe_ends("metallic")
        {1}
    """
    return {end for ends in _ENDS.values() for end in ends.get(quantity, ())}


def is_polynomial(parameters: mi.SceneParameters, key: str) -> bool:
    """Whether a colour is held as coefficients of a polynomial of the wavelength, highest power first.

    Spectral variants do so with colours of surfaces [Jakob and Hanika 2019, "A low-dimensional function space for
    efficient spectral upsampling"].
    """
    kind = parameters.properties[key][2].class_name()
    is_texture = kind.startswith("BitmapTexture") and key.endswith(".data") and "normalmap" not in key.split(".")
    is_colour = kind == "SRGBReflectanceSpectrum" or (is_texture and parameters[key].shape[-1] == 3)
    return mi.is_spectral and is_colour


def obstacle_at_end(parameters: mi.SceneParameters, key: str) -> str:
    """Why the derivative by a parameter of a material does not exist at its present value; empty if it does."""
    above = _ancestors(parameters, parameters.properties[key][2])
    material = next((node for node in above if isinstance(node, mi.BSDF)), None)
    ends = _ENDS.get(material.class_name(), {}) if material is not None else {}
    name = next((name for name in key.split(".")[:-1][::-1] if name in ends), None)
    for end in ends.get(name, ()):
        if (np.array(parameters[key]) == end).any():
            inside = 0.001 if end == 0 else 0.999
            return f"at exactly {end} a lobe of its material is missing, which paths do not see; take {inside} instead"
    return ""


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
    if owner.class_name() == "Hair" and name in ("longitudinal_roughness", "azimuthal_roughness"):
        return "'hair' is sampled with another density than it states, which makes this derivative wrong by a tenth"
    if _weighs_thin_glass_under_turned_normals(parameters, key):
        return "it decides how much passes through thin glass under turned normals, whose angle is not followed"
    above = _ancestors(parameters, owner)
    for place, node in enumerate(above):
        of_texture = place > 0 and not isinstance(above[place - 1], mi.BSDF)
        if not (isinstance(node, mi.BSDF) and of_texture and _is_singular(node)):
            continue
        kind = node.class_name()
        if kind in _MAPS:
            return _TURNS_REFLECTIONS
        if kind == "MaskBSDF" and isinstance(above[place + 1], mi.BSDF):
            return "it is the opacity of a perfectly specular material inside another material"
    return ""


def _weighs_thin_glass_under_turned_normals(parameters: mi.SceneParameters, key: str) -> bool:
    """Whether the share of light that passes straight through depends on a parameter and on the angle of a normal."""
    owner = parameters.properties[key][2]
    above = [node for node in _ancestors(parameters, owner) if isinstance(node, mi.BSDF)]
    if not any(node.class_name() in _MAPS for node in above):
        return False
    if above[0].class_name() == "ThinDielectric":
        return above[0] is owner
    weighs = above[0].class_name() in ("BlendBSDF", "MaskBSDF")
    return weighs and any(node.class_name() == "ThinDielectric" for node in mi.traverse(above[0]).hierarchy)


def normal_obstacle(shape: mi.Shape, name: str) -> str:
    """Why the derivative by what turns a mesh's normals does not exist; empty if it does.

    Args:
        name: Of a parameter of the mesh.
    """
    bsdf = shape.bsdf()
    if bsdf is None or not _is_singular(bsdf):
        return ""
    has_map = any(node.class_name() in _MAPS for node in mi.traverse(bsdf).hierarchy)
    return _TURNS_REFLECTIONS if name == "vertex_normals" or (name == "vertex_texcoords" and has_map) else ""


def _is_singular(bsdf: mi.BSDF) -> bool:
    """Whether a material has lobes with a single direction, those that pass straight on apart."""
    return bool(int(bsdf.flags()) & (int(mi.BSDFFlags.DeltaReflection) | int(mi.BSDFFlags.DeltaTransmission)))


def texcoord_obstacle(shape: mi.Shape) -> str:
    """Why the derivative by a mesh's texture coordinates does not exist; empty if it does.

    Textures that are constant between jumps have none, and jumps that run across a surface as its texture coordinates
    change are no edges of it. What is sampled on a lamp keeps its texel.
    """
    if shape.is_emitter() and mi.has_flag(shape.emitter().flags(), mi.EmitterFlags.SpatiallyVarying):
        return "it shines with a texture, which light that is sampled on it does not follow"
    for node in mi.traverse(shape).hierarchy:
        if isinstance(node, mi.Texture) and node.is_spatially_varying() and _jumps(node):
            kind = "checkerboard" if node.class_name() == "Checkerboard" else "texture of nearest texels"
            return (
                f"the {kind} on it jumps, which is not followed; a 'bitmap' with 'filter_type' bilinear does not jump"
            )
    return ""


def _jumps(texture: mi.Texture) -> bool:
    """Whether a texture depends on texture coordinates without a derivative by them."""
    grid = dr.linspace(mi.Float, 0.01, 0.99, _PROBED)
    si = dr.zeros(mi.SurfaceInteraction3f, _PROBED**2)
    si.uv = mi.Point2f(*dr.meshgrid(grid, grid))
    dr.enable_grad(si.uv)
    try:
        value = texture.eval(si)
    except RuntimeError:
        # Raw colours in spectral variants
        value = texture.eval_3(si)
    return not dr.grad_enabled(value) and bool(np.ptp(np.array(value), axis=-1).any())


def _ancestors(parameters: mi.SceneParameters, owner: mi.Object) -> list[mi.Object]:
    """An object of the scene and what it is nested in, from the inside out."""
    found = []
    while owner is not None:
        found.append(owner)
        owner = parameters.hierarchy[owner][0]
    return found
