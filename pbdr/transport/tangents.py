"""Tangents on their way from the user's variables to what a scene computes from them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import drjit as dr
import mitsuba as mi

from ..errors import InputError, causes
from ..scene_parameters import attached_values, scene_parameters

#: Traversals consume the graph between variables but leave the tangents in them
KEEP_TANGENTS = dr.ADFlag.ClearEdges


#: An edge of a graph of derivatives, as Dr.Jit draws it: from what was computed to what it was computed from
_EDGE = re.compile(r"\d+ -> (\d+)")


def push_tangents(scene: mi.Scene | mi.SceneParameters) -> None:
    """Carry tangents from wherever the user set them to everything that derives from a scene parameter.

    Loops and passes differentiate in scopes of their own, which tangents cannot enter later.

    Args:
        scene: Or a traversal of it.
    """
    attached = list(attached_values(scene).values())
    if attached:
        dr.forward_to(attached, flags=KEEP_TANGENTS)
        dr.enqueue(dr.ADMode.Forward, attached)
        dr.traverse(dr.ADMode.Forward, flags=KEEP_TANGENTS)


@contextlib.contextmanager
def of_this_scene() -> Iterator[None]:
    """Refuse to carry tangents past the attached arrays of other scenes.

    Calls reach the materials of all scenes in memory, and forward mode uses up what these were computed from.
    """
    try:
        with dr.isolate_grad():
            yield
    except RuntimeError as error:
        if any("lies outside of the current dr.isolate_grad() scope" in str(cause) for cause in causes(error)):
            raise InputError(
                "another scene in memory has parameters that were computed from variables with derivatives: "
                "differentiate it before, or detach its parameters"
            ) from None
        raise


@dr.syntax
def push_adjoints(attach: Callable[[], Sequence], adjoints: Sequence, width: int) -> None:
    """Carry adjoints from arrays to the scene's parameters.

    In a loop of one turn: there, sums over all lanes are part of the kernel. Outside, each number that many lanes
    share, such as an entry of a matrix, would be summed up by a kernel of its own, which starts from the adjoints.

    Args:
        attach: Returns the arrays, attached. [N] each
        adjoints: Theirs. [N] each
        width: N
    """
    turn = dr.zeros(mi.UInt32, width)
    while dr.hint(turn < 1, mode="symbolic", label="adjoints", exclude=[attach, adjoints]):
        with dr.resume_grad():
            _push(attach(), adjoints)
        turn += 1


def _push(parts: Sequence, adjoints: Sequence) -> None:
    products = [part * δ for part, δ in zip(parts, adjoints, strict=True)]
    numbers = [number for x in products for number in (list(x) if dr.depth_v(x) > 1 else [x])]
    # An adjoint that is known to be 0 leaves nothing
    if dr.grad_enabled(numbers):
        dr.backward_from(sum(numbers))


def cut_graph(scene: mi.Scene) -> None:
    """Forget how what a scene derives from its parameters depends on them, once derivatives have passed.

    Gradients of the parameters stay. What is left of the graph would stand in the way of forward mode in other scenes.
    """
    attached = list(attached_values(scene).values())
    dr.enqueue(dr.ADMode.Forward, attached)
    dr.traverse(dr.ADMode.Forward, flags=KEEP_TANGENTS)


def attached_copy(value):
    """A copy of a parameter's value that carries derivatives of its own.

    Returns:
        What takes tangents and gradients (a transform's matrix, else the value), and the value made of it.
    """
    storage, zero = dr.detach(_storage(value)), dr.opaque(mi.Float, 0)
    # The zero makes a new array, which an assignment does not skip
    if dr.is_tensor_v(storage):
        leaf = type(storage)(storage.array + zero, storage.shape)
    else:
        leaf = type(storage)(storage + zero)
    dr.enable_grad(leaf)
    return leaf, leaf if type(storage) is type(value) else type(value)(leaf)


def attached_storage(scene: mi.Scene | mi.SceneParameters) -> dict:
    """What takes tangents of the parameters that carry derivatives, by key."""
    return {key: _storage(value) for key, value in attached_values(scene).items()}


def has_followers(leaves: Sequence) -> bool:
    """Whether anything was computed from arrays that carry derivatives, and still depends on them."""
    graph, numbers = dr.graphviz_ad(as_string=True), {number for leaf in leaves for number in _graph_indices(leaf)}
    return any(int(source) in numbers for source in _EDGE.findall(graph))


def _graph_indices(value: dr.ArrayBase) -> list[int]:
    """Numbers of an array's parts in the graph of derivatives."""
    if dr.is_tensor_v(value):
        return _graph_indices(value.array)
    if dr.depth_v(value) > 1:
        return [number for part in value for number in _graph_indices(part)]
    return [value.index_ad]


def tangents_of(scene: mi.Scene) -> dict:
    """The direction along which tangents of the user's variables move a scene: by key, of transforms of the matrix.

    Needs parameters that were put into the scene anew. What is known to stay is left out.
    """
    parameters = scene_parameters(scene)
    push_tangents(parameters)
    return _tangents(attached_storage(parameters))


def tangents_along(scene: mi.Scene, each: Iterable[None]) -> list[dict]:
    """The same for several directions, one after the other.

    Args:
        each: Gives the user's variables the tangents of the next direction.
    """
    storages, found = attached_storage(scene), []
    for _ in each:
        dr.forward_to(list(storages.values()), flags=dr.ADFlag.ClearInterior)
        found.append(_tangents(storages))
        dr.clear_grad(storages)
    push_tangents(scene)
    dr.eval(found)
    return [_nonzero({key: _folded(tangent) for key, tangent in direction.items()}) for direction in found]


def _tangents(storages: Mapping[str, dr.ArrayBase]) -> dict:
    return _nonzero({key: dr.grad(storage) for key, storage in storages.items()})


def _nonzero(tangents: dict) -> dict:
    return {key: tangent for key, tangent in tangents.items() if not _is_zero(tangent)}


def _folded(value: dr.ArrayBase) -> dr.ArrayBase:
    """A tangent whose single numbers are literally 0 where they are 0, so that kernels leave them out."""
    if dr.is_tensor_v(value) or dr.is_matrix_v(value):
        return value
    if dr.depth_v(value) > 1:
        return type(value)(*map(_folded, value))
    return type(value)(0) if len(value) == 1 and value[0] == 0 else value


def own(value: dr.ArrayBase) -> dr.ArrayBase:
    """The same numbers in arrays of Dr.Jit's own: frozen functions take memory from outside for another kind of input.

    Literals stay.
    """
    if dr.is_tensor_v(value):
        return type(value)(own(value.array), value.shape)
    if dr.depth_v(value) > 1:
        return type(value)(*map(own, value))
    return value if value.state == dr.VarState.Literal else value + dr.opaque(type(value), 0)


def _is_zero(value: dr.ArrayBase) -> bool:
    """Whether all numbers are literally 0."""
    if dr.is_tensor_v(value):
        return _is_zero(value.array)
    if dr.depth_v(value) > 1:
        return all(map(_is_zero, value))
    return value.state == dr.VarState.Literal and value[0] == 0


def _storage(value):
    """The array behind a value: of a transform its matrix."""
    return value.matrix if "Transform" in type(value).__name__ else value
