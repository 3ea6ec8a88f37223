"""``pbdr import-views``: photographs and cameras of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._outputs import check_folder
from .options import VariantOption, use_variant


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import-views")(import_views)


def import_views(
    source: Annotated[
        str, typer.Argument(help="transforms.json, cameras_sphere.npz, a COLMAP folder, or images with XML sensors.")
    ],
    outdir: Annotated[Path, typer.Argument(help="Folder for cameras.xml and views.toml.")],
    images: Annotated[Path | None, typer.Option(help="Photographs of a COLMAP model.")] = None,
    variant: VariantOption = None,
) -> None:
    """Write the cameras of a capture as Mitsuba sensors, and its photographs as views of a job."""
    check_folder(outdir)
    use_variant(variant)
    from ..optimize.views.captures import read_captures, write_captures

    captures = read_captures(source, images)
    cameras, views = write_captures(captures, outdir)
    count = f"{len(captures)} view{'s' if len(captures) != 1 else ''}"
    print(f'{count}; put <include filename="{cameras.name}"/> into a scene beside {cameras}')
    print(f'and views = "{views.name}" into a job beside {views}')
