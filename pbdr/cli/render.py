"""``pbdr render``: an image of a scene."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..seeds import MOST_SAMPLES, require_samples
from ._outputs import check_image
from .options import DefineOption, SeedOption, SetOption, VariantOption, parse_assignments, use_variant

if TYPE_CHECKING:
    import mitsuba as mi
    import numpy as np

#: Camera samples per pass: more would take more than about 4 GiB with the usual path tracers
_SAMPLES_PER_PASS = 2**24

#: Integrators that need no light
_UNLIT = ("DepthIntegrator", "AOVIntegrator")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("render")(render)


def render(
    scene: Annotated[str, typer.Argument(help="XML file, folder with a scene.xml, or bundled scene.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Image to write: .exr (linear) or .png (sRGB).")],
    spp: Annotated[
        int | None, typer.Option(min=1, max=MOST_SAMPLES, help="Samples per pixel; default: the scene's own.")
    ] = None,
    sensor: Annotated[str, typer.Option(help="Position or id of the sensor.")] = "0",
    integrator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:PROPERTY=VALUE,…]", help="e.g. pbdr:max_depth=8; default: the scene's own, else pbdr."
        ),
    ] = None,
    assignments: SetOption = None,
    define: DefineOption = None,
    seed: SeedOption = 0,
    variant: VariantOption = None,
) -> None:
    """Render a scene to an image.

    --set gives scene parameters (see pbdr params) new numbers: one, or comma-separated ones, or a .npy or image file.
    """
    check_image(output)
    values, overrides = parse_assignments(assignments), parse_assignments(define, "--define")
    name = use_variant(variant)
    from ..integrators import make_integrator
    from ..scene import load_scene, require_emitters, select_sensor

    loaded = load_scene(scene, overrides, float_textures=[key for key in values if key.endswith(".data")])
    camera = select_sensor(loaded, sensor)
    own = loaded.integrator() if integrator is None else None
    chosen = own or make_integrator(integrator or "pbdr")
    if output.suffix.lower() == ".png" and len(chosen.aov_names()) > 4:
        raise InputError(f"a .png cannot hold the {len(chosen.aov_names())} channels of this integrator; allowed: .exr")
    if chosen.class_name() not in _UNLIT:
        require_emitters(loaded)
    assign(loaded, values)
    count = camera.sampler().sample_count() if spp is None else spp
    require_samples(count)
    start = time.perf_counter()
    image = render_passes(loaded, camera, chosen, spp=count, seed=seed)
    save_image(image, output)
    height, width = image.shape[:2]
    seconds = time.perf_counter() - start
    samples = f"{count} sample{'s' if count > 1 else ''} per pixel"
    print(f"{output}: {width} × {height} pixels, {samples}, {seconds:.1f} s, {name}")


def assign(scene: mi.Scene, values: Mapping[str, str]) -> None:
    """Give scene parameters the numbers that ``--set`` names."""
    from ..material_parameters import is_polynomial
    from ..optimize.constraints import default_bounds
    from ..scene import assign_parameter, scene_parameters

    parameters = scene_parameters(scene)
    for key, text in values.items():
        numbers = read_numbers(key, text)
        assign_parameter(parameters, key, numbers)
        low, high = default_bounds(key, is_environment=False)
        if is_polynomial(parameters, key):
            print(f"warning: --set {key}: spectral variants take polynomial coefficients here", file=sys.stderr)
        elif numbers.size and not low <= numbers.min() <= numbers.max() <= high:
            print(f"warning: --set {key}: physical values are from {low:g} to {high:g}", file=sys.stderr)
    parameters.update()


def read_numbers(key: str, text: str) -> np.ndarray:
    """The numbers in ``0.2``, ``0.1,0.2,0.3`` or a file (``.npy``, or an image with linear values)."""
    import mitsuba as mi
    import numpy as np

    path = Path(text)
    try:
        return np.array([float(number) for number in text.replace(",", " ").split()])
    except ValueError:
        if not path.is_file():
            raise InputError(f"--set {key}: '{text}' is neither a list of numbers nor a file") from None
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False).astype(np.float64, casting="same_kind")
        bitmap = mi.Bitmap(str(path))
        return np.array(bitmap.convert(component_format=mi.Struct.Type.Float32, srgb_gamma=False))
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise InputError(f"--set {key}: the file '{text}' holds neither numbers nor an image") from error


def render_passes(scene: mi.Scene, sensor: mi.Sensor, integrator: mi.Integrator, *, spp: int, seed: int) -> np.ndarray:
    """Render in as many passes as memory asks for, with a progress bar on a terminal.

    Returns:
        The image, linear. [H, W, C]
    """
    import mitsuba as mi
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from ..seeds import derive_seed

    width, height = sensor.film().crop_size()
    per_pass = max(1, min(spp, _SAMPLES_PER_PASS // max(1, width * height)))
    passes = [min(per_pass, spp - done) for done in range(0, spp, per_pass)]
    console = Console(stderr=True)
    image = 0.0
    steps = track(enumerate(passes), "rendering", total=len(passes), console=console, disable=not console.is_terminal)
    for index, count in steps:
        pass_seed = seed if len(passes) == 1 else derive_seed(seed, "pass", index)
        one = mi.render(scene, sensor=sensor, integrator=integrator, spp=count, seed=pass_seed)
        image = image + (count / spp) * np.array(one, dtype=np.float64)
    return image.astype(np.float32)


def save_image(image: np.ndarray, output: Path) -> None:
    """Write a linear image: as it is to EXR, clipped and with the sRGB curve to PNG."""
    import mitsuba as mi
    import numpy as np

    if (bad := np.count_nonzero(~np.isfinite(image).all(axis=-1))) > 0:
        print(f"warning: {bad} pixels are not finite", file=sys.stderr)
    output.parent.mkdir(parents=True, exist_ok=True)
    mi.util.write_bitmap(str(output), mi.TensorXf(image), write_async=False)
