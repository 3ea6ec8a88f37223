"""Loading scenes from XML, with errors that say what to do, and finding sensors in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

import mitsuba as mi

from . import resources
from .errors import InputError, suggestion
from .integrators import integrator_names
from .messages import explain, plugin_names
from .scene_parameters import ParameterInfo as ParameterInfo
from .scene_parameters import assign_parameter as assign_parameter
from .scene_parameters import describe_parameters as describe_parameters
from .scene_parameters import find_parameters as find_parameters
from .scene_parameters import scene_parameters as scene_parameters

#: Pixels of a film at most: Dr.Jit counts the numbers of an image, several for each pixel, in 32 bits
_MOST_PIXELS = 2**29

#: Values for the ``<default>`` parameters of a scene file, by name
Overrides = Mapping[str, str | float | bool]


def locate_scene(source: str | Path) -> Path:
    """The XML file that a path, a folder or the name of a bundled scene stands for.

    Args:
        source: An XML file, a folder with a ``scene.xml``, or one of :func:`pbdr.resources.scene_names`.

    Example:
        >>> locate_scene("cornell_box").name
        'scene.xml'
    """
    if not isinstance(source, str | Path):
        raise InputError(f"a scene must be a file, a folder or a bundled scene's name, got a {type(source).__name__}")
    path = Path(source)
    if path.is_dir() and (path / "scene.xml").is_file():
        return path / "scene.xml"
    if path.is_file():
        return path
    if str(source) in resources.scene_names():
        return resources.folder("scenes") / str(source) / "scene.xml"
    if path.is_dir():
        raise InputError(f"the folder '{source}' has no scene.xml")
    if path.suffix or len(path.parts) > 1:
        neighbours = [str(p) for p in path.parent.glob("*.xml")] if path.parent.is_dir() else []
        raise InputError(
            f"the scene file '{source}' does not exist{suggestion(str(source), neighbours, allowed='there')}"
        )
    names = resources.scene_names()
    raise InputError(
        f"'{source}' is neither a file nor a bundled scene{suggestion(str(source), names, allowed='bundled')}"
    )


def load_scene(source: str | Path, overrides: Overrides | None = None, float_textures: Iterable[str] = ()) -> mi.Scene:
    """Load a scene so that its parameters keep stable, telling names.

    Shapes and materials are never merged. Objects of the scene without an ``id`` are named after their plugin
    (``perspective``, ``rectangle``, ``rectangle_1``, …), and a texture shared by name is found under the first object
    that uses it.

    Args:
        source: An XML file, a folder with a ``scene.xml``, or the name of a bundled scene.
        overrides: Values for the ``<default>`` parameters of the XML file.
        float_textures: Parameter keys or globs. The 8-bit and half-precision bitmaps that they name are stored in
            full precision, so that they can be optimized; the rendered image stays the same. What matches nothing is
            left to whoever looks the parameter up.

    Returns:
        The scene, for the active variant.

    Example:
        >>> scene = load_scene("cornell_box", {"size": "32"})
    """
    if mi.variant() is None:
        raise InputError("no Mitsuba variant is set: call mi.set_variant('llvm_ad_rgb') first")
    path = locate_scene(source)
    overrides = overrides or {}
    _check_overrides(path, overrides)
    scene, state = _load(path, overrides, promoted=frozenset())
    for sensor in scene.sensors():
        width, height = sensor.film().crop_size()
        if width * height == 0:
            raise InputError(f"{path}: the film of the sensor '{sensor.id()}' has no pixels")
        if width * height > _MOST_PIXELS:
            raise InputError(
                f"{path}: the film of the sensor '{sensor.id()}' has {width} × {height} pixels; allowed: "
                f"{_MOST_PIXELS} altogether"
            )
    patterns = list(float_textures)
    if not patterns:
        return scene
    promoted = _narrow_bitmaps(scene, state, patterns)
    return _load(path, overrides, promoted)[0] if promoted else scene


def select_sensor(scene: mi.Scene, sensor: int | str = 0) -> mi.Sensor:
    """A sensor of the scene by its position or its id.

    Example:
        >>> select_sensor(scene, "front").id()
        'front'
    """
    sensors = scene.sensors()
    if not sensors:
        raise InputError("the scene has no sensor")
    for candidate in sensors:
        if candidate.id() == sensor:
            return candidate
    if isinstance(sensor, int) or re.fullmatch(r"-?\d+", sensor):
        if 0 <= int(sensor) < len(sensors):
            return sensors[int(sensor)]
        raise InputError(f"the scene has no sensor {sensor}; allowed: 0 to {len(sensors) - 1}")
    raise InputError(f"the scene has no sensor '{sensor}'{suggestion(sensor, [s.id() for s in sensors])}")


def sensor_position(scene: mi.Scene, sensor: int | str = 0) -> int:
    """The position among the scene's sensors of the one that a position or id means.

    Example:
        >>> sensor_position(scene, "front")
        0
    """
    return [each.id() for each in scene.sensors()].index(select_sensor(scene, sensor).id())


def require_emitters(scene: mi.Scene) -> None:
    """Refuse a scene without any light, of which every image and every gradient is zero."""
    if not scene.emitters():
        raise InputError("the scene has no emitters, so every image and gradient would be zero")


def parse_scene(path: Path, overrides: Overrides | None = None) -> tuple[mi.parser.ParserConfig, mi.parser.ParserState]:
    """The objects of a scene file and their properties, named as in :func:`load_scene` but not instantiated.

    Args:
        path: An XML file.
        overrides: Values for the ``<default>`` parameters of the file.

    Example:
        >>> config, state = parse_scene(locate_scene("cornell_box"))
        >>> state.nodes[1].props.plugin_name()
        'path'
    """
    config = mi.parser.ParserConfig(mi.variant())
    config.merge_equivalent = config.merge_meshes = False
    texts = {name: str(value) for name, value in (overrides or {}).items()}
    with _files_beside(path):
        state = mi.parser.parse_file(config, str(path), **texts)
        mi.parser.transform_all(config, state)
    if state.root.type != mi.ObjectType.Scene:
        raise InputError(f"{path}: the file describes a '{state.root.props.plugin_name()}', not a scene")
    _name_nodes(state)
    _hide_shared_textures(state)
    return config, state


def scene_files(path: Path, overrides: Overrides | None = None) -> list[Path]:
    """The files that a scene consists of: its own, those that it includes, textures and meshes.

    Example:
        >>> [file.name for file in scene_files(locate_scene("textured_wall"))]
        ['scene.xml', 'grey.png']
    """
    _, state = parse_scene(path, overrides)
    own = [Path(str(file)) for file in state.files]
    nodes = [node.props for node in state.nodes]
    texts = [props[name] for props in nodes for name in list(props) if props.type(name) == mi.Properties.Type.String]
    named = [path.parent / text for text in texts]
    return list(dict.fromkeys([*own, *(file for file in named if file.is_file())]))


@contextmanager
def _files_beside(path: Path) -> Iterator[None]:
    """Let Mitsuba find files relative to a scene file, and explain its errors about that file."""
    resolver = mi.file_resolver()
    local = mi.FileResolver(resolver)
    local.prepend(str(path.parent))
    mi.set_file_resolver(local)
    try:
        yield
    except RuntimeError as error:
        known = {*plugin_names(Path(mi.__file__).parent), *integrator_names()}
        raise InputError(explain(str(error), str(path), known)) from error
    finally:
        mi.set_file_resolver(resolver)


def _load(path: Path, overrides: Overrides, promoted: frozenset[int]) -> tuple[mi.Scene, mi.parser.ParserState]:
    """Parse, name and instantiate the file, with some of its bitmap nodes stored in full precision."""
    config, state = parse_scene(path, overrides)
    for index in promoted:
        state.nodes[index].props["format"] = "variant"
    with _files_beside(path):
        # Instantiation replaces references by objects, so it works on a copy
        return mi.parser.instantiate(config, mi.parser.ParserState(state)), state


def _name_nodes(state: mi.parser.ParserState) -> None:
    """Give every object without an id one that is the same in each run; Mitsuba would take its address."""
    taken = {node.props.id() for node in state.nodes}
    for node in list(state.nodes)[1:]:
        if node.props.id():
            continue
        name = plugin = node.props.plugin_name()
        count = 0
        while name in taken:
            count += 1
            name = f"{plugin}_{count}"
        taken.add(name)
        node.props.set_id(name)


def _hide_shared_textures(state: mi.parser.ParserState) -> None:
    """Take textures out of the scene's own children: there a bitmap loses its id, and its key would be an address."""
    root = state.root.props
    for name, child in _references(root):
        if state.nodes[child].type == mi.ObjectType.Texture:
            del root[name]


def _references(props: mi.Properties) -> list[tuple[str, int]]:
    """Property name and node index of each object that a node refers to."""
    kind = mi.Properties.Type.ResolvedReference
    names = list(props.keys())
    return [(name, props[name].index()) for name in names if props.type(name) == kind]


def _narrow_bitmaps(scene: mi.Scene, state: mi.parser.ParserState, patterns: Iterable[str]) -> frozenset[int]:
    """Nodes of the bitmaps among the named parameters that are stored with less than the variant's precision."""
    parameters = scene_parameters(scene)
    node_of_id = {node.props.id(): index for index, node in enumerate(state.nodes)}
    keys = [key for key in list(parameters.keys()) if any(fnmatchcase(key, pattern) for pattern in patterns)]
    promoted = set()
    for key in keys:
        _, _, owner, _ = parameters.properties[key]
        if re.search(r"\[(uint8|float16)\]$", owner.class_name()) is None:
            continue
        parent = parameters.hierarchy[owner][0]
        references = dict(_references(state.nodes[node_of_id[parent.id()]].props))
        name = key.split(".")[-2]
        children = [references[name]] if name in references else references.values()
        promoted.update(c for c in children if state.nodes[c].props.plugin_name() == "bitmap")
    return frozenset(promoted)


def _check_overrides(path: Path, overrides: Overrides) -> None:
    """Refuse values for parameters that the file does not declare."""
    if not overrides:
        return
    try:
        declared = [node.get("name", "") for node in ElementTree.parse(path).iter("default")]
    except ElementTree.ParseError:
        return  # Mitsuba's parser says where and why
    for name in overrides:
        if name not in declared:
            hint = suggestion(name, declared) or "; it declares none"
            raise InputError(f"{path}: the scene has no <default> parameter '{name}'{hint}")
