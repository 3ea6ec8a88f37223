"""``pbdr gradient``: the derivative of an image with respect to one parameter, as an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ._cells import (
    ComponentOption,
    ImportOption,
    RotateOption,
    ScaleOption,
    StepOption,
    TranslateOption,
    direction,
)
from .options import DefineOption, VariantOption, parse_assignments, use_variant
from .render import check_output

if TYPE_CHECKING:
    import numpy as np


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gradient")(gradient)


def gradient(
    scene: Annotated[str, typer.Argument(help="XML file, folder with a scene.xml, or bundled scene.")],
    param: Annotated[str, typer.Option("--param", metavar="KEY", help="Parameter; see pbdr params.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Image: .exr (numbers) or .png (colour map).")],
    component: ComponentOption = None,
    translate: TranslateOption = None,
    rotate: RotateOption = None,
    scale: ScaleOption = None,
    integrator: Annotated[
        str | None,
        typer.Option(metavar="NAME[:PROPERTY=VALUE,…]", help="Default: the scene's own. 'differences' for the truth."),
    ] = None,
    spp: Annotated[int, typer.Option(min=1, help="Samples per pixel.")] = 256,
    sensor: Annotated[int, typer.Option(min=0, help="Position of the sensor.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 0,
    step: StepOption = None,
    imports: ImportOption = None,
    define: DefineOption = None,
    variant: VariantOption = None,
) -> None:
    """Write the derivative of an image along one parameter, in forward mode.

    A .png shows the mean over the channels on a symmetric diverging map: red where the pixel gets brighter.
    """
    check_output(output)
    overrides = parse_assignments(define, "--define")
    use_variant(variant)
    from ..compare.cases import scene_case
    from ..compare.estimators import estimator_integrator, forward_gradient, import_modules
    from ..compare.perturbations import default_direction
    from ..compare.references import central_differences
    from ..scene import load_scene, select_sensor

    import_modules(tuple(imports or ()))
    loaded = load_scene(scene, overrides, float_textures=[param] if param.endswith(".data") else [])
    select_sensor(loaded, sensor)
    options = {"component": component, "translate": translate, "rotate": rotate, "scale": scale}
    moved = direction(param, options, step) or default_direction(loaded, param, step=step)
    case = scene_case(loaded, moved, sensor=sensor)
    if integrator == "differences":
        truth = {"type": case.reference, "max_depth": case.max_depth}
        image = central_differences(loaded, moved, integrator=truth, sensor=sensor, spp=spp, repeats=4, seed=seed).image
    else:
        chosen = estimator_integrator(integrator, case.max_depth) if integrator else loaded.integrator()
        image = forward_gradient(loaded, moved, chosen, sensor=sensor, spp=spp, seed=seed)
    save_gradient(image, output, f"{moved.label}\n{integrator or 'the scene’s integrator'}, {spp} spp")
    print(f"{output}: from {image.min():.4g} to {image.max():.4g}, sum {image.sum():.6g}")


def save_gradient(image: np.ndarray, output: Path, title: str) -> None:
    """Write a gradient image: its numbers to EXR, a colour map with its scale to PNG."""
    import mitsuba as mi
    import numpy as np

    if not np.all(np.isfinite(image)):
        raise InputError(f"the gradient has {int(np.sum(~np.isfinite(image)))} values that are not finite")
    if output.suffix.lower() == ".exr":
        mi.Bitmap(np.float32(image)).write(str(output))
        return
    from ..compare.figure import gradient_picture

    gradient_picture(image, title).savefig(output, dpi=120)
