"""Edges of triangle meshes: which ones two faces share."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pbdr.geometry.edges import mesh_edges
from pbdr.geometry.junctions import split_borders

TETRAHEDRON = np.array([[0, 0, 0], [1, 0.1, 0], [0.2, 1, 0.1], [0.3, 0.3, 0.9]])
FACES = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])


def open_edges(points: np.ndarray, faces: np.ndarray) -> int:
    edges = mesh_edges(points, faces)
    return int((edges[:, 2] == edges[:, 3]).sum())


def rows(above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of faces that share the line y = 0 with vertices at other places."""
    points, faces = [], []
    for x, y in ((above, 1.0), (below, -1.0)):
        first = len(points) + 2 * np.arange(len(x) - 1)
        faces += [np.stack([first, first + 2, first + 1], 1), np.stack([first + 2, first + 3, first + 1], 1)]
        points += [[u, v, 0.3 * v] for u in x for v in (0, y)]
    return np.array(points), np.concatenate(faces)


def test_a_closed_mesh_has_no_open_edge():
    assert open_edges(TETRAHEDRON, FACES) == 0
    assert open_edges(TETRAHEDRON, FACES[1:]) == 3


@pytest.mark.parametrize("shares", [[0.5], [0.25, 0.9, 0.4]])
def test_vertices_in_the_middle_of_an_edge(shares):
    """A face that is a fan around its third corner, whose neighbour is one face."""
    a, b = TETRAHEDRON[:2]
    points = np.concatenate([TETRAHEDRON, [a + s * (b - a) for s in shares]])
    chain = [0, *(4 + np.argsort(shares)), 1]
    fan = [[i, j, 2] for i, j in itertools.pairwise(chain)]
    assert open_edges(points, np.concatenate([fan, FACES[1:]])) == 0


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_do_not_match(seed):
    """Wherever the mesh lies and however large it is: only its outer border is open."""
    rng = np.random.default_rng(seed)
    above, below = (np.concatenate([[0], np.sort(rng.uniform(0.05, 0.95, n)), [1]]) for n in rng.integers(1, 9, 2))
    points, faces = rows(above, below)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    points = points @ turn * 10 ** rng.uniform(-3, 3) + rng.normal(size=3)
    assert open_edges(np.float64(np.float32(points)), faces) == len(above) + len(below) - 2 + 4


def test_rows_that_end_beside_each_other():
    """Each row begins within an edge of the other."""
    points, faces = rows(np.array([0.0, 2, 4]), np.array([1.0, 3, 5]))
    assert open_edges(points, faces) == 4 + 4 + 2


def test_what_only_touches_an_edge_does_not_close_it():
    points = np.concatenate([TETRAHEDRON[:3], [[0.5, 0.05, 0], [0.5, -1, 0], [0.9, -1, 0]]])
    assert open_edges(points, np.array([[0, 1, 2], [3, 4, 5]])) == 6
    assert len(split_borders(points, np.array([[0, 1, 2], [3, 4, 5], [5, 3, 4]]))) == 3
