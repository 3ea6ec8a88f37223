"""``pbdr params``: what can be changed and optimized in a scene."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DefineOption, VariantOption, parse_assignments, use_variant

if TYPE_CHECKING:
    from ..scene import ParameterInfo


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("params")(params)


def params(
    scene: Annotated[str, typer.Argument(help="XML file, folder with a scene.xml, or bundled scene.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    define: DefineOption = None,
    variant: VariantOption = None,
) -> None:
    """List the parameters of a scene: type, shape, range, and whether they can be optimized."""
    overrides = parse_assignments(define, "--define")
    use_variant(variant)
    from ..scene import describe_parameters, load_scene

    infos = describe_parameters(load_scene(scene, overrides))
    if as_json:
        print(json.dumps([dataclasses.asdict(info) for info in infos], indent=2))
    else:
        _print(infos)


def _print(infos: list[ParameterInfo]) -> None:
    """Show the parameters as a table."""
    from rich.table import Table

    from ._tables import print_table

    table = Table(box=None, pad_edge=False)
    for heading in ("key", "type", "shape", "range", "differentiable", "moves visibility", "why"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "key")
    for info in infos:
        table.add_row(
            info.key,
            info.type,
            " × ".join(map(str, info.shape)) or "1",
            _range(info),
            "yes" if info.differentiable else "no",
            "yes" if info.discontinuous else "no",
            info.reason,
        )
    print_table(table, pipe_width=200)


def _range(info: ParameterInfo) -> str:
    """Smallest and largest value."""
    if info.minimum is None or info.maximum is None:
        return "—"
    if info.minimum == info.maximum:
        return f"{info.minimum:.4g}"
    return f"{info.minimum:.4g} … {info.maximum:.4g}"
