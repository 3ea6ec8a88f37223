"""Other triangles for the same surface, and what the optimizer remembers carried over to them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from ...errors import InputError, MissingExtra
from .surface import Surface, make_surface

#: Rounds of splitting, collapsing, flipping and moving
ITERATIONS = 5
#: Triangles that a mesh may be given
FEWEST, MOST = 20, 5_000_000

#: Takes values at the old points to the new ones: [W, k] → [W', k]
Transfer = Callable[[np.ndarray], np.ndarray]


def remesh(surface: Surface, points: np.ndarray, edge_length: float) -> tuple[Surface, Transfer]:
    """Triangles of nearly equal edges on the same surface, in which seams are gone.

    [Botsch and Kobbelt 2004, "A remeshing approach to multiresolution modeling"]

    Args:
        surface: The topology.
        points: Where its points are now. [W, 3]
        edge_length: Of the new triangles, scene units.

    Example:
        >>> finer, transfer = remesh(surface, surface.points(), 0.02)
    """
    gpytoolbox = import_gpytoolbox("remeshing")
    V, F = np.ascontiguousarray(points, np.float64), np.ascontiguousarray(surface.triangles, np.int32)
    new = make_surface(*gpytoolbox.remesh_botsch(V, F, ITERATIONS, edge_length, True))
    # Where each new point lies on the old surface
    _, triangle, weight = gpytoolbox.squared_distance(new.points(), V, F, use_cpp=True, use_aabb=True)
    corners = surface.triangles[triangle]

    def transfer(values: np.ndarray) -> np.ndarray:
        return np.einsum("wc,wck->wk", weight, values[corners])

    return new, transfer


def import_gpytoolbox(what: str):
    """The package, or a sentence about what needs it."""
    try:
        with warnings.catch_warnings():
            # It uses names that other packages have renamed
            warnings.simplefilter("ignore", DeprecationWarning)
            import gpytoolbox
    except ImportError:
        raise MissingExtra(what, package="gpytoolbox", extra="mesh") from None
    return gpytoolbox


def surface_distance(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> float:
    """Mean distance of either surface's triangles from the other surface (symmetric, area-weighted), scene units.

    Args:
        first: Positions [V, 3] and faces [F, 3].
        second: Likewise.
    """
    return 0.5 * (_mean_distance(first, second) + _mean_distance(second, first))


def _mean_distance(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> float:
    gpytoolbox = import_gpytoolbox("the distance from a true mesh")
    area, centers = triangle_areas(*first), first[0][first[1]].mean(axis=1)
    squared = gpytoolbox.squared_distance(
        np.ascontiguousarray(centers), np.ascontiguousarray(second[0], np.float64),
        np.ascontiguousarray(second[1], np.int32), use_cpp=True, use_aabb=True,
    )[0]  # fmt: skip
    return float(np.sum(area * np.sqrt(squared)) / np.sum(area))


def require_remeshable(surface: Surface, edge_lengths: Sequence[float], what: str) -> None:
    """Refuse what cannot be remeshed, before anything is rendered.

    Args:
        edge_lengths: That are wanted in the course of a run.
        what: Name of the mesh for error sentences.
    """
    import_gpytoolbox("remeshing")
    if not surface.is_manifold:
        raise InputError(f"{what} has edges with more than two triangles, so it cannot be remeshed")
    area = triangle_areas(surface.points(), surface.triangles).sum()
    for length in edge_lengths:
        count = 4 * area / (3**0.5 * length**2)
        if not FEWEST <= count <= MOST:
            raise InputError(
                f"{what}: 'edge_length' = {length:g} would make about {count:.3g} triangles of its surface; allowed "
                f"are {FEWEST} to {MOST}"
            )


def triangle_areas(positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Areas of triangles. [F]

    Args:
        positions: [V, 3]
        faces: [F, 3]
    """
    a, b, c = (positions[faces[:, k]] for k in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
