"""``pbdr export``: the scene of a run, for any Mitsuba."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ._outputs import check_folder
from .options import VariantOption, use_variant


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    run: Annotated[Path, typer.Argument(help="Folder that pbdr optimize left.")],
    outdir: Annotated[Path, typer.Argument(help="New or empty folder for scene.xml, textures/ and meshes/.")],
    variant: VariantOption = None,
) -> None:
    """Write the scene that a run recovered, as XML with textures and meshes that Mitsuba loads without pbdr."""
    if not run.is_dir():
        raise InputError(f"there is no run folder '{run}'")
    if outdir.is_file() or (outdir.is_dir() and any(outdir.iterdir())):
        raise InputError(f"'{outdir}' exists and is not an empty folder")
    check_folder(outdir)
    use_variant(variant)
    from ..optimize.export import export_scene
    from ..optimize.record import load_values
    from ..scene import load_scene

    source, overrides, float_textures, values = load_values(run)
    bitmaps = [key for key in float_textures if key.endswith(".data")]
    scene = load_scene(source, overrides, float_textures=bitmaps)
    file = export_scene(scene, source, overrides, values, outdir)
    print(f"{file}: {len(values)} recovered parameter{'s' if len(values) != 1 else ''}")
