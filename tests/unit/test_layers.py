"""The structure that docs/architecture.md promises, read from the source text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbdr import resources

PACKAGE = Path(resources.__file__).parent
PLUGINS = resources.folder("plugins")

#: Lower layers first; a module may import its own layer and those below, unless SIBLINGS_APART says otherwise
LAYERS = [
    {"(single files)"},
    {"geometry"},
    {"transport"},
    {"interior", "boundary"},
    {"plugins", "capabilities", "gradient_step"},
    {"optimize", "compare", "torch"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

#: Started as processes of their own, in which nobody else has chosen a variant
PROCESS_ENTRIES = {"pbdr.compare.isolation"}

#: These know integrators by plugin name alone
BY_NAME_ONLY = {"optimize", "compare", "cli"}
INTEGRATOR_PARTS = {"plugins", "interior", "boundary", "transport"}


def modules() -> list[tuple[str, Path]]:
    """Dotted name and file of every module, with ``plugins`` where the installed package has it."""
    own = [(file, file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if PLUGINS not in file.parents]
    own = [(file, path) for file, path in own if path.parts[0] not in {"benchmarks", "scenes"}]
    plugins = [(file, Path("plugins") / file.relative_to(PLUGINS)) for file in PLUGINS.glob("*.py")]
    return sorted((".".join(("pbdr", *path.with_suffix("").parts)), file) for file, path in own + plugins)


def layer(module: str) -> str:
    """The layer that a dotted name belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL else "(single files)"


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from runtime_nodes(node)


def imported(name: str, file: Path) -> Iterator[str]:
    """Dotted names within pbdr that a module imports."""
    package = name.split(".")[:-1]
    for node in runtime_nodes(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "pbdr")
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
            if source.split(".")[0] == "pbdr":
                yield from (f"{source}.{alias.name}" for alias in node.names)


MODULES = modules()
IDS = [name for name, _ in MODULES]


def test_finds_the_modules():
    assert {"pbdr.errors", "pbdr.cli.render", "pbdr.plugins.pbdr"} <= set(IDS)
    assert "pbdr.errors.InputError" in set(imported("pbdr.cli.render", PACKAGE / "cli" / "render.py"))


@pytest.mark.parametrize(("name", "file"), MODULES, ids=IDS)
def test_imports_point_down(name: str, file: Path):
    own = layer(name)
    for target in imported(name, file):
        other = layer(target)
        assert LEVEL[other] <= LEVEL[own], f"{name} imports {target}, which lies above it"
        assert own not in BY_NAME_ONLY or other not in INTEGRATOR_PARTS, (
            f"{name} must know {target} by plugin name only"
        )
        apart = {own, other} in ({"interior", "boundary"}, {"optimize", "compare"})
        assert not apart, f"{name} imports {target}, its sibling"


def test_boundary_terms_do_not_know_each_other():
    foundation = {"base", "__init__"}
    for name, file in MODULES:
        if layer(name) == "boundary" and file.stem not in foundation:
            others = {t.split(".")[2] for t in imported(name, file) if layer(t) == "boundary" and t.count(".") > 1}
            siblings = others & {f.stem for n, f in MODULES if layer(n) == "boundary"} - foundation
            assert not siblings, f"{name} imports another boundary term: {siblings}"


@pytest.mark.parametrize(("name", "file"), MODULES, ids=IDS)
def test_only_the_command_line_sets_a_variant(name: str, file: Path):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in {"set_variant", "variant_context", "scoped_set_variant"}:
            assert layer(name) == "cli" or name in PROCESS_ENTRIES, f"{name}, line {node.lineno}"


@pytest.mark.parametrize(("name", "file"), MODULES, ids=IDS)
def test_annotations_are_unevaluated(name: str, file: Path):
    body = ast.parse(file.read_text(encoding="utf-8")).body
    statements = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    if statements:
        first = statements[0]
        assert isinstance(first, ast.ImportFrom) and first.module == "__future__", f"{name} must start with __future__"


@pytest.mark.parametrize(("name", "file"), MODULES, ids=IDS)
def test_mitsuba_types_are_used_inside_functions_only(name: str, file: Path):
    if layer(name) == "plugins":
        return
    for node in import_time_nodes(ast.parse(file.read_text(encoding="utf-8"))):
        is_mitsuba = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mi"
        assert not is_mitsuba, f"{name}, line {node.lineno}: mi.{node.attr} belongs to one variant"


def import_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes evaluated when the module is imported: no function bodies, no annotations."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.AnnAssign):
            children: list[ast.AST] = [node.value] if node.value else []
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            defaults = [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
            children = [*defaults, *getattr(node, "decorator_list", [])]
        else:
            children = [node]
        for child in children:
            yield child
            yield from import_time_nodes(child)
