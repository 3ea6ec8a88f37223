"""Vertices in the middle of an edge: a face that meets two smaller ones shares an edge with them all the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .mesh import WELDING_TOLERANCE

#: Rounding of a stored coordinate, as a share of it
ROUNDING = 2.5e-7

#: Candidates that are looked at together
_CHUNK = 4_000_000

#: Open edges at one vertex beyond which it counts as the middle of a straight line unasked
_MANY = 8


def split_borders(positions: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Cut open edges at vertices of others that lie on them.

    Args:
        positions: [V, 3]
        borders: Start, end, and the opposite corner of the only face, as indices into ``positions``. [B, 3]

    Returns:
        As ``borders``, more of them. [C, 3]

    Example:
        >>> positions = np.array([[0, 0, 0], [2, 0, 0], [0, 1, 0], [1, 0, 0], [1, -1, 0]])
        >>> split_borders(positions, np.array([[0, 1, 2], [0, 3, 4], [3, 1, 4]]))
        array([[0, 3, 2], [3, 1, 2], [0, 3, 4], [3, 1, 4]])
    """
    return _cut(positions, borders, find_junctions(positions, borders))


def find_junctions(positions: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Which vertices of open edges lie on which others. Arguments as in :func:`split_borders`.

    Returns:
        Edge and vertex, as indices into ``borders`` and ``positions``. [P, 2]
    """
    used = positions[borders[:, :2].ravel()]
    tolerance = WELDING_TOLERANCE * np.ptp(used, axis=0).max() + ROUNDING * np.abs(used).max()
    # Open edges go straight on at such a vertex. Where two rows of faces end beside each other, one ends within an edge
    vertices = _within_lines(positions, borders, tolerance)
    pairs = _on_edges(positions, borders, vertices, tolerance)
    if len(pairs):
        vertices = np.union1d(vertices, borders[np.unique(pairs[:, 0]), :2])
        pairs = _on_edges(positions, borders, vertices, tolerance)
    return pairs


def _within_lines(positions: np.ndarray, borders: np.ndarray, tolerance: float) -> np.ndarray:
    """Vertices from which two open edges lead in opposite directions."""
    here = np.concatenate([borders[:, 0], borders[:, 1]])
    there = np.concatenate([borders[:, 1], borders[:, 0]])
    order = np.argsort(here)
    here, there = here[order], there[order]
    offset = positions[there] - positions[here]
    length = np.maximum(np.linalg.norm(offset, axis=1), tolerance)
    direction = offset / length[:, None]
    found = [np.flatnonzero(np.bincount(here) > _MANY)]
    for k in range(1, _MANY):
        i = np.flatnonzero(here[k:] == here[:-k])
        sine = np.linalg.norm(np.cross(direction[i], direction[i + k]), axis=1)
        opposite = np.einsum("ij,ij->i", direction[i], direction[i + k]) < 0
        found.append(here[i[opposite & (sine * np.minimum(length[i], length[i + k]) <= 4 * tolerance)]])
    return np.unique(np.concatenate(found))


def _on_edges(positions: np.ndarray, borders: np.ndarray, vertices: np.ndarray, tolerance: float) -> np.ndarray:
    """Which vertices lie between the ends of which open edges.

    Returns:
        Edge and vertex. [P, 2]
    """
    start, along = positions[borders[:, 0]], positions[borders[:, 1]] - positions[borders[:, 0]]
    length = np.maximum(np.linalg.norm(along, axis=1), 2 * tolerance)
    # Edges of similar length together, in a grid whose cells are no shorter than they
    size = np.exp2(np.ceil(np.log2(length)))
    found = [np.zeros((0, 2), np.int64)]
    for cell in np.unique(size) if len(vertices) else ():
        edges = np.flatnonzero(size == cell)
        table = _points_by_cell(positions[vertices] / cell, tolerance / cell)
        for pairs in _neighbours(table, _crossed_cells(start[edges] / cell, along[edges] / cell)):
            edge, vertex = edges[pairs[:, 0]], vertices[pairs[:, 1]]
            apart = positions[vertex] - start[edge]
            s = np.einsum("ij,ij->i", apart, along[edge]) / length[edge] ** 2
            on = (s * length[edge] > tolerance) & ((1 - s) * length[edge] > tolerance)
            on &= np.linalg.norm(apart - s[:, None] * along[edge], axis=1) <= tolerance
            found.append(np.stack([edge[on], vertex[on]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _cut(positions: np.ndarray, borders: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Edges between the vertices that lie on each.

    Args:
        pairs: Edge and vertex. [P, 2]
    """
    edge = np.concatenate([np.arange(len(borders)), pairs[:, 0]])
    first = np.concatenate([borders[:, 0], pairs[:, 1]])
    distance = np.linalg.norm(positions[first] - positions[borders[edge, 0]], axis=1)
    order = np.lexsort((distance, edge))
    edge, first = edge[order], first[order]
    last = np.flatnonzero(np.diff(edge, append=-1))
    second = np.roll(first, -1)
    second[last] = borders[edge[last], 1]
    return np.stack([first, second, borders[edge, 2]], axis=1)


def _crossed_cells(start: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Cells of a unit grid that segments of at most unit length pass through: a wall for each axis at most. [B, 4]"""
    wall = np.maximum(np.floor(start), np.floor(start + along))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(np.floor(start) != np.floor(start + along), (wall - start) / along, 1)
    t = np.sort(np.column_stack([np.zeros(len(t)), t, np.ones(len(t))]), axis=1)
    middle = (t[:, 1:] + t[:, :-1]) / 2
    return _keys(np.floor(start[:, None] + middle[..., None] * along[:, None]))


def _points_by_cell(points: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Cells of a unit grid, sorted, and the index of a point in each; points beside a wall are on both sides of it."""
    low, high = np.floor(points - tolerance), np.floor(points + tolerance)
    keys, index = [], []
    for corner in np.ndindex(2, 2, 2):
        beyond = np.array(corner, bool)
        some = np.flatnonzero((~beyond | (low != high)).all(axis=1))
        keys.append(_keys(np.where(beyond, high[some], low[some])))
        index.append(some)
    keys, index = np.concatenate(keys), np.concatenate(index)
    order = np.argsort(keys)
    return keys[order], index[order]


def _neighbours(table: tuple[np.ndarray, np.ndarray], cells: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of an edge and a point in one of its cells, some at a time. [P, 2] each"""
    keys, index = table
    query = cells.ravel()
    low, high = np.searchsorted(keys, query), np.searchsorted(keys, query, side="right")
    asked = np.flatnonzero(high > low)
    count = high[asked] - low[asked]
    group = np.cumsum(count) // _CHUNK
    for part in np.split(np.arange(len(asked)), np.flatnonzero(np.diff(group)) + 1):
        n = count[part]
        within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        edge = np.repeat(asked[part] // cells.shape[1], n)
        yield np.stack([edge, index[np.repeat(low[asked[part]], n) + within]], axis=1)


def _keys(cells: np.ndarray) -> np.ndarray:
    """A number for each cell; some cells share theirs."""
    return cells.astype(np.int64) @ np.array([73856093, 19349663, 83492791], np.int64)
