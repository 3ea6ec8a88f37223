"""``pbdr gradient``: the derivative of an image with respect to one parameter, as an image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..seeds import MOST_SAMPLES
from ._cells import (
    ComponentOption,
    ImportOption,
    RotateOption,
    ScaleOption,
    StepOption,
    TranslateOption,
    direction,
)
from ._outputs import check_image
from .options import DefineOption, SeedOption, VariantOption, parse_assignments, use_variant

if TYPE_CHECKING:
    import mitsuba as mi
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
        typer.Option(
            metavar="NAME[:PROPERTY=VALUE,…]",
            help="Default: the scene's own if it delivers this derivative, else pbdr. 'differences' for the truth.",
        ),
    ] = None,
    spp: Annotated[int, typer.Option(min=1, max=MOST_SAMPLES, help="Samples per pixel.")] = 256,
    sensor: Annotated[str, typer.Option(help="Position or id of the sensor.")] = "0",
    seed: SeedOption = 0,
    step: StepOption = None,
    imports: ImportOption = None,
    define: DefineOption = None,
    variant: VariantOption = None,
) -> None:
    """Write the derivative of an image along one parameter, in forward mode.

    Per unit of the parameter; arrays move along fixed random signs and transforms along (1, 1, 1), unless an option
    says otherwise. A .png shows the mean over the channels on a symmetric diverging map: red where the pixel gets
    brighter.
    """
    check_image(output)
    overrides = parse_assignments(define, "--define")
    use_variant(variant)
    from ..compare.cases import scene_case
    from ..compare.estimators import forward_gradient, import_modules, stated_depth
    from ..compare.perturbations import default_direction
    from ..compare.references import central_differences
    from ..scene import load_scene, require_emitters, sensor_position

    import_modules(tuple(imports or ()))
    loaded = load_scene(scene, overrides, float_textures=[param] if param.endswith(".data") else [])
    place = sensor_position(loaded, sensor)
    options = {"component": component, "translate": translate, "rotate": rotate, "scale": scale}
    moved = direction(param, options, step) or default_direction(loaded, param, step=step)
    case = scene_case(loaded, moved, sensor=place, max_depth=stated_depth([integrator] if integrator else []))
    if integrator == "differences":
        truth = {"type": case.reference, "max_depth": case.max_depth}
        image = central_differences(loaded, moved, integrator=truth, sensor=place, spp=spp, repeats=4, seed=seed).image
    else:
        chosen, integrator = _choose_integrator(loaded, param, integrator, case.max_depth)
        try:
            image = forward_gradient(loaded, moved, chosen, sensor=place, spp=spp, seed=seed)
        except RuntimeError as error:
            if "does not depend on the input" not in str(error):
                raise
            require_emitters(loaded)
            raise InputError(f"the image does not depend on '{param}' ({integrator})") from error
    save_gradient(image, output, f"{moved.label}\n{integrator}, {spp} spp")
    print(f"{output}: from {image.min():.4g} to {image.max():.4g}, sum {image.sum():.6g}")


def _choose_integrator(scene: mi.Scene, key: str, spec: str | None, max_depth: int) -> tuple[mi.Integrator, str]:
    """The integrator that is asked for, else one that delivers the derivative; and its name."""
    from ..capabilities import is_own, refusal
    from ..compare.estimators import estimator_integrator
    from ..scene import describe_parameters

    info = next(info for info in describe_parameters(scene) if info.key == key)
    if spec is None:
        own, spec = scene.integrator(), "pbdr"
        if own is not None:
            if not (obstacle := refusal(own, scene, info)):
                return own, "the scene’s integrator"
            if info.differentiable:
                print(f"pbdr takes the place of the scene's integrator: {obstacle.split(';')[0]}", file=sys.stderr)
    chosen = estimator_integrator(spec, max_depth)
    if obstacle := refusal(chosen, scene, info):
        if is_own(chosen) and not info.differentiable:
            raise InputError(obstacle)
        print(f"warning: {obstacle}", file=sys.stderr)
    return chosen, spec


def save_gradient(image: np.ndarray, output: Path, title: str) -> None:
    """Write a gradient image: its numbers to EXR, a colour map with its scale to PNG."""
    import mitsuba as mi
    import numpy as np

    if not np.all(np.isfinite(image)):
        raise InputError(f"the gradient has {int(np.sum(~np.isfinite(image)))} values that are not finite")
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix.lower() == ".exr":
        mi.Bitmap(np.float32(image)).write(str(output))
        return
    from ..compare.figure import gradient_picture

    gradient_picture(image, title).savefig(output, dpi=120)
