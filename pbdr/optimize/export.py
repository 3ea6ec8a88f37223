"""Writing a scene with recovered parameters as XML, textures and meshes that plain Mitsuba loads."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import mitsuba as mi
import numpy as np

from ..errors import InputError
from ..geometry.mesh import set_meshes
from ..integrators import own_integrators
from ..scene import Overrides, assign_parameter, load_scene, parse_scene, scene_parameters
from ..scene_parameters import numbers

_MESH_BUFFERS = frozenset({"vertex_positions", "vertex_normals", "vertex_texcoords", "faces"})
#: What a mesh keeps of its properties when its vertices come from a new file
_MESH_PROPERTIES = frozenset({"flip_normals", "face_normals"})
#: Properties of pbdr's integrators that Mitsuba's path tracer has too
_PATH_PROPERTIES = frozenset({"max_depth", "rr_depth", "hide_emitters"})
#: Properties that would place a shape or sensor a second time
_PLACEMENT = ("center", "radius", "p0", "p1")
_ENVIRONMENT = "EnvironmentMapEmitter"
#: Relative and absolute difference that the loaded scene may have
_TOLERANCE = 1e-4


def export_scene(
    scene: mi.Scene, source: Path, overrides: Overrides, values: Mapping[str, np.ndarray], folder: Path
) -> Path:
    """Write a scene with new parameter values so that Mitsuba alone can load it.

    The written scene is loaded again and compared before the function returns.

    Args:
        scene: From :func:`pbdr.scene.load_scene`; it takes the values as well.
        source: The XML file that it was loaded from.
        overrides: The values it was loaded with for ``<default>`` parameters of the file.
        values: Numbers by parameter key, each in the parameter's shape.
        folder: Gets ``scene.xml``, ``textures/`` and ``meshes/``.

    Returns:
        The XML file.

    Example:
        >>> scene = load_scene("cornell_box")
        >>> export_scene(scene, locate_scene("cornell_box"), {}, {"metal.alpha.value": np.array(0.1)}, Path("out"))
        PosixPath('out/scene.xml')
    """
    parameters = scene_parameters(scene)
    set_meshes(parameters, values)
    for key, value in values.items():
        assign_parameter(parameters, key, value)
    parameters.update()
    state = parse_scene(source, overrides)[1]
    folder.mkdir(parents=True, exist_ok=True)
    patch = _Patch(parameters, state, folder)
    for key in values:
        patch.apply(key)
    _copy_files(state, source.parent, folder)
    _replace_own_integrators(state)
    target = folder / "scene.xml"
    target.write_text(_xml(state), encoding="utf-8")
    flaw = _first_difference(parameters, values, target)
    if flaw is None:
        return target
    key, reason = flaw
    if key in values or not _is_mesh_buffer(parameters, key):
        raise _refusal(key, reason)
    # The transform of the file does not give these vertices, or normals, again: write them as they are
    return export_scene(scene, source, overrides, {**values, key: numbers(parameters[key])}, folder)


class _Patch:
    """Changes of parsed objects that make them hold the parameters of an instantiated scene."""

    def __init__(self, parameters: mi.SceneParameters, state: mi.parser.ParserState, folder: Path):
        self.parameters, self.state, self.folder = parameters, state, folder
        self.node_of_id = {node.props.id(): node for node in state.nodes if node.props.id()}

    def apply(self, key: str) -> None:
        """Change the object that a parameter belongs to."""
        name = key.rsplit(".", 1)[-1]
        owner = self.parameters.properties[key][2]
        node = self.node_of_id.get(owner.id())
        if _is_mesh_buffer(self.parameters, key):
            self._write_mesh(key, owner, node)
        elif name == "data":
            self._write_image(key, node or self._child(key))
        elif "Transform" in type(self.parameters[key]).__name__:
            self._set_transform(key, node or self._child(key), name)
        elif node is not None:
            self._set_number(key, node, name)
        else:
            self._set_texture(key, name)

    def _parent(self, key: str) -> mi.parser.SceneNode:
        """The object that uses the texture of a key."""
        parent = self.parameters.hierarchy[self.parameters.properties[key][2]][0]
        node = self.node_of_id.get(parent.id()) if parent is not None else None
        if node is None:
            raise _refusal(key, "the scene file has no object of its own for it")
        return node

    def _child(self, key: str) -> mi.parser.SceneNode:
        """The bitmap of a key, whose object has no name; it is found through the object that uses it."""
        props = self._parent(key).props
        references = {n: self.state.nodes[props[n].index()] for n in list(props.keys()) if _is_reference(props, n)}
        name = key.split(".")[-2]
        bitmaps = [node for node in references.values() if node.props.plugin_name() == "bitmap"]
        if name in references:
            return references[name]
        if len(bitmaps) != 1:
            raise _refusal(key, f"'{props.id()}' does not have exactly one bitmap")
        return bitmaps[0]

    def _set_texture(self, key: str, name: str) -> None:
        """Give an object another constant where it has a texture."""
        props = self._parent(key).props
        quantity = key.split(".")[-2]
        if name != "value":
            raise _refusal(key, f"its '{name}' has no place in a scene file")
        if _has(props, quantity) and _is_reference(props, quantity):
            child = self.state.nodes[props[quantity].index()]
            name = {"uniform": "value", "srgb": "color"}.get(child.props.plugin_name())
            if name is None:
                raise _refusal(key, f"it is a texture of type '{child.props.plugin_name()}'")
            props, quantity = child.props, name
        self._set_constant(key, props, quantity)

    def _set_number(self, key: str, node: mi.parser.SceneNode, name: str) -> None:
        """Give an object another property."""
        if name == "x_fov":
            for other in ("focal_length", "fov_axis"):
                _remove(node.props, other)
            node.props["fov_axis"] = "x"
            name = "fov"
        self._set_constant(key, node.props, name)

    def _set_constant(self, key: str, props: mi.Properties, name: str) -> None:
        value = numbers(self.parameters[key]).astype(np.float64).ravel()
        kind = type(self.parameters[key]).__name__
        if value.size == 1:
            props[name] = float(value[0])
        elif kind == "Color3f" and mi.is_rgb:
            props[name] = mi.ScalarColor3d(value)
        elif value.size == 3 and kind.startswith(("Point", "Vector")):
            if name == "position":
                _remove(props, "to_world")
            props[name] = mi.ScalarVector3d(value)
        else:
            raise _refusal(key, f"{value.size} numbers of type {kind} have no place in a scene file")

    def _set_transform(self, key: str, node: mi.parser.SceneNode, name: str) -> None:
        matrix = numbers(self.parameters[key]).astype(np.float64).reshape(-1)
        matrix = matrix.reshape(4, 4) if matrix.size == 16 else _embedded(matrix.reshape(3, 3))
        if node.type == mi.ObjectType.Shape:
            for other in _PLACEMENT:
                _remove(node.props, other)
        node.props[name] = mi.ScalarAffineTransform4d(matrix)

    def _write_image(self, key: str, node: mi.parser.SceneNode) -> None:
        plugin = node.props.plugin_name()
        if plugin not in ("bitmap", "envmap") or not mi.is_rgb:
            raise _refusal(key, f"images of '{plugin}' can be written for bitmap and envmap in rgb variants")
        pixels = numbers(self.parameters[key]).astype(np.float32)
        if plugin == "envmap":
            pixels = _without_halo(pixels)
        file = _new_file(self.folder / "textures", key, ".exr")
        mi.Bitmap(np.ascontiguousarray(pixels)).write(str(file))
        node.props["filename"] = str(file)

    def _write_mesh(self, key: str, mesh: mi.Mesh, node: mi.parser.SceneNode) -> None:
        if node is None:
            raise _refusal(key, "the scene file has no object of its own for it")
        file = _new_file(self.folder / "meshes", mesh.id(), ".ply")
        mesh.write_ply(str(file))
        props = node.props
        for name in list(props.keys()):
            if name not in _MESH_PROPERTIES and not _is_reference(props, name):
                del props[name]
        props.set_plugin_name("ply")
        props["filename"] = str(file)


def _is_mesh_buffer(parameters: mi.SceneParameters, key: str) -> bool:
    return isinstance(parameters.properties[key][2], mi.Mesh) and key.rsplit(".", 1)[-1] in _MESH_BUFFERS


def _refusal(key: str, reason: str) -> InputError:
    return InputError(f"the parameter '{key}' cannot be written to a scene file: {reason}")


def _has(props: mi.Properties, name: str) -> bool:
    return name in list(props.keys())


def _remove(props: mi.Properties, name: str) -> None:
    if _has(props, name):
        del props[name]


def _is_reference(props: mi.Properties, name: str) -> bool:
    return props.type(name) == mi.Properties.Type.ResolvedReference


def _embedded(matrix: np.ndarray) -> np.ndarray:
    """A transformation of the plane as one of space that leaves z alone. [4, 4]"""
    result = np.eye(4)
    result[np.ix_([0, 1, 3], [0, 1, 3])] = matrix
    return result


def _without_halo(data: np.ndarray) -> np.ndarray:
    """The pixels of an environment map, whose tensor repeats a column of the other side at each end."""
    return data[:, 1:-1]


def _new_file(folder: Path, name: str, suffix: str) -> Path:
    folder.mkdir(exist_ok=True)
    return (folder / (re.sub(r"[^\w.-]", "_", name) + suffix)).resolve()


def _copy_files(state: mi.parser.ParserState, origin: Path, folder: Path) -> None:
    """Put the files that objects refer to beside the scene, and make their paths relative to it."""
    folder = folder.resolve()
    copied: dict[Path, Path] = {}
    taken = {Path(n.props["filename"]) for n in state.nodes if _has(n.props, "filename")}
    for node in state.nodes:
        if not _has(node.props, "filename"):
            continue
        file = Path(node.props["filename"])
        if not file.is_relative_to(folder):
            found = mi.file_resolver().resolve(str(file)) if not (origin / file).is_file() else origin / file
            file = Path(str(found)).resolve()
            if file not in copied:
                copied[file] = _free_name(folder / _subfolder(node.type), file, taken)
                taken.add(copied[file])
                shutil.copyfile(file, copied[file])
            file = copied[file]
        node.props["filename"] = file.relative_to(folder).as_posix()


def _subfolder(kind: mi.ObjectType) -> str:
    if kind == mi.ObjectType.Shape:
        return "meshes"
    return "textures" if kind in (mi.ObjectType.Texture, mi.ObjectType.Emitter) else "assets"


def _free_name(folder: Path, file: Path, taken: set[Path]) -> Path:
    """Where a file can be copied to without replacing another one of the scene."""
    folder.mkdir(exist_ok=True)
    target, count = folder / file.name, 0
    while target in taken:
        count += 1
        target = folder / f"{file.stem}_{count}{file.suffix}"
    return target


def _replace_own_integrators(state: mi.parser.ParserState) -> None:
    """Mitsuba alone has no integrator of pbdr; its path tracer renders the same image."""
    for node in state.nodes:
        if node.type == mi.ObjectType.Integrator and node.props.plugin_name() in own_integrators():
            node.props.set_plugin_name("path")
            for name in list(node.props.keys()):
                if name not in _PATH_PROPERTIES:
                    del node.props[name]


def _xml(state: mi.parser.ParserState) -> str:
    """The scene as XML in which every object has its id, which Mitsuba writes for shared ones only."""
    root = ElementTree.fromstring(mi.parser.write_string(state))
    root.set("version", mi.__version__)
    elements = [element for element in root.iter() if element.get("type")]
    ids = list(_ids_in_order(state))
    for element, identity in zip(elements, ids, strict=True):
        element.set("id", identity)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _ids_in_order(state: mi.parser.ParserState, index: int = 0, seen: set[int] | None = None):
    """Ids of all objects but the scene, in the order in which they are written."""
    seen = set() if seen is None else seen
    props = state.nodes[index].props
    for name in list(props.keys()):
        if _is_reference(props, name) and (child := props[name].index()) not in seen:
            seen.add(child)
            yield state.nodes[child].props.id()
            yield from _ids_in_order(state, child, seen)


def _first_difference(
    parameters: mi.SceneParameters, values: Mapping[str, np.ndarray], file: Path
) -> tuple[str, str] | None:
    """Load a written scene and find a parameter that differs from the one that it was written from, and how."""
    try:
        loaded = scene_parameters(load_scene(file))
    except InputError as error:
        raise InputError(f"a scene with other values of {', '.join(values)} cannot be written: {error}") from error
    written = set(loaded.keys())
    for key in list(parameters.keys()):
        held = numbers(parameters[key])
        if held is None or (key not in values and key not in written):
            continue
        if key not in written:
            return key, "the written scene does not have it"
        found = numbers(loaded[key])
        if held.size == 1 and found.shape == (3,):
            held = np.broadcast_to(held, 3)  # Emitters turn a single number into a grey colour
        if found.shape != held.shape:
            return key, f"it has shape {held.shape} but {found.shape} in the written scene"
        if parameters.properties[key][2].class_name() == _ENVIRONMENT and key.endswith(".data"):
            held, found = _without_halo(held), _without_halo(found)
        scale = max(1.0, float(np.abs(held).max(initial=0.0)))
        if not np.allclose(found, held, rtol=_TOLERANCE, atol=_TOLERANCE * scale):
            return key, "the written scene holds other numbers"
    return None
