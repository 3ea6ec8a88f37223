"""Materials whose roughness carries derivatives, looked up in kernels by registry index."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError
from ..scene_parameters import attached_values
from .edges import children
from .flags import materials

#: Parameters that widen a lobe
_WIDENING = frozenset({"alpha", "alpha_u", "alpha_v", "roughness"})

#: Known materials: what they call their roughness, and the share of directions that may follow its derivative. A lobe
#: that is alone takes all of them; beside others it leaves them a quarter
_KNOWN = {"RoughConductor": ("alpha", 1.0), "Principled": ("roughness", 0.75)}


@dataclasses.dataclass(frozen=True)
class RoughLobes:
    """Materials whose roughness carries derivatives."""

    share: mi.Float  #: of directions that may follow the derivative, by registry index; 0 for all other materials [R]
    beckmann: mi.UInt32  #: 1 where microfacets are distributed as Beckmann says, 0 for GGX [R]
    names: tuple[str, ...]  #: what these materials call their roughness

    @classmethod
    def of(cls, scene: mi.Scene) -> RoughLobes | None:
        """Look at the materials of all shapes and of the members of groups; None if no roughness carries derivatives.

        Raises:
            InputError: If the roughness of a material does whose lobes are not known.
        """
        found: dict[mi.BSDF, tuple[str, bool]] = {}
        for bsdf in materials(scene):
            if keys := _attached_roughness(bsdf):
                found[bsdf] = _known_kind(bsdf, keys)
        if not found:
            return None
        index = np.array(dr.reinterpret_array(mi.UInt32, mi.BSDFPtr(list(found))))
        share = np.zeros(int(index.max()) + 1, np.float32)
        beckmann = np.zeros(share.size, np.uint32)
        share[index] = [_KNOWN[kind][1] for kind, _ in found.values()]
        beckmann[index] = [is_beckmann for _, is_beckmann in found.values()]
        names = {_KNOWN[kind][0] for kind, _ in found.values()}
        return cls(mi.Float(share), mi.UInt32(beckmann), tuple(sorted(names)))


def _attached_roughness(bsdf: mi.BSDF) -> list[str]:
    return [key for key in attached_values(bsdf) if _WIDENING.intersection(key.split("."))]


def _known_kind(bsdf: mi.BSDF, keys: list[str]) -> tuple[str, bool]:
    """Class of a material, seen through ``twosided``, and whether its microfacets are Beckmann's."""
    two_sided = bsdf.class_name() == "TwoSidedBRDF"
    sides = [child for child in children(bsdf) if isinstance(child, mi.BSDF)] if two_sided else [bsdf]
    kinds = {(side.class_name(), "distribution = beckmann" in str(side)) for side in sides}
    kind = kinds.pop()
    own = [key.split(".")[int(two_sided)] for key in keys]
    if kinds or any(name != _KNOWN.get(kind[0], ("",))[0] for name in own):
        raise InputError(
            f"'derivative_sampling' does not know the lobe of '{bsdf.id()}.{keys[0]}': it follows 'alpha' of "
            "'roughconductor' and 'roughness' of 'principled', alone or in 'twosided' with one kind of material"
        )
    return kind
