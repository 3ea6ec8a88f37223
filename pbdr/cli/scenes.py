"""``pbdr scenes``: the scenes that come with pbdr."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("scenes")(scenes)


def scenes() -> None:
    """List the bundled scenes."""
    from rich.console import Console
    from rich.table import Table

    from ..resources import scene_description, scene_names

    table = Table(box=None, pad_edge=False)
    table.add_column("scene", no_wrap=True)
    table.add_column("what it is for")
    for name in scene_names():
        table.add_row(name, scene_description(name))
    Console().print(table)
