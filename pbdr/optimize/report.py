"""The picture of a run: targets, images before and after, errors, loss and parameters over the steps."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import mitsuba as mi
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..errors import InputError

_MAX_VIEWS, _MAX_PARAMETERS = 4, 6
_CHANNELS = ("#d62828", "#2a9134", "#2563c9")
_LINE, _SOFT = "#1f3b63", "#8896a8"
#: Parts of a key that say nothing about what the parameter is
_SILENT = re.compile(r"^(brdf_\d+|bsdf|emitter|value|data|nested_\w+)$")
#: In inches
_WIDTH, _ROW, _CURVES, _HEADER, _LINE_HEIGHT = 11.0, 2.45, 2.1, 0.5, 0.22


@dataclass(frozen=True)
class _View:
    """Images of one view. [H, W, 3] each"""

    name: str
    target: np.ndarray | None
    before: np.ndarray | None
    after: np.ndarray | None


def write_report(folder: Path) -> Path:
    """Draw what a run folder says about the run; images or a result that are not there yet are left out.

    Args:
        folder: With ``history.jsonl``, ``images/`` and, once the run has ended, ``result.json``.

    Returns:
        ``report.png`` in the folder.

    Example:
        >>> write_report(Path("runs/box"))
        PosixPath('runs/box/report.png')
    """
    history, views = _read_history(folder), _read_views(folder)
    if not history and not views:
        raise InputError(f"'{folder}' has neither a history nor images to report on")
    file = folder / "result.json"
    result = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    keys = list(history[0]["parameters"] if history else result.get("parameters", {}))
    rows = 1 if len(keys) <= 3 else 2
    meshes = _mesh_lines(result)
    heights = [_HEADER + _LINE_HEIGHT * len(meshes), _ROW * max(len(views), 1), _CURVES * max(rows, 1.3)]
    figure = Figure(figsize=(_WIDTH, sum(heights)), dpi=130, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    header, top, bottom = figure.subfigures(3, 1, height_ratios=heights)
    _draw_header(header, history, result, meshes)
    _draw_views(top, views)
    left, right = bottom.subfigures(1, 2, width_ratios=[1, 1.9])
    _draw_loss(left, history)
    _draw_parameters(right, rows, keys[:_MAX_PARAMETERS], history, result.get("parameters", {}))
    target = folder / "report.png"
    figure.savefig(target)
    return target


def tonemap(image: np.ndarray) -> np.ndarray:
    """Linear radiance as it is shown on a screen, approximately sRGB. [H, W, C] in [0, 1]

    Example:
        >>> tonemap(np.array([0.0, 1.0, 7.0])).tolist()
        [0.0, 1.0, 1.0]
    """
    return np.clip(image, 0, 1) ** (1 / 2.2)


def short_names(keys: list[str]) -> list[str]:
    """Keys without the parts that every key has; whole keys where two would become the same.

    Example:
        >>> short_names(["wall_left.brdf_0.reflectance.value", "environment.data"])
        ['wall_left reflectance', 'environment']
    """
    short = [" ".join(part for part in key.split(".") if not _SILENT.match(part)) or key for key in keys]
    return [key if short.count(name) > 1 else name for key, name in zip(keys, short, strict=True)]


def _read_history(folder: Path) -> list[dict]:
    """The steps; a last line that was cut off in the middle is left out."""
    file = folder / "history.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _read_views(folder: Path) -> list[_View]:
    names = [file.stem.removeprefix("target_") for file in sorted((folder / "images").glob("target_*.exr"))]
    return [
        _View(name, *(_read_image(folder / "images" / f"{kind}_{name}.exr") for kind in ("target", "before", "after")))
        for name in names[:_MAX_VIEWS]
    ]


def _read_image(file: Path) -> np.ndarray | None:
    if not file.is_file():
        return None
    bitmap = mi.Bitmap(str(file)).convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.Float32, srgb_gamma=False)
    return np.array(bitmap)


def _mesh_lines(result: dict) -> list[str]:
    """What the run says of the triangles of each mesh."""
    return [
        f"{name}: " + ", ".join(f"{count:,} {what.replace('_', '-')}" for what, count in counts.items())
        for name, counts in result.get("meshes", {}).items()
    ]


def _draw_header(figure: SubFigure, history: list[dict], result: dict, meshes: list[str]) -> None:
    """One line that says how the run went, and one for each mesh."""
    if result:
        initial, final = result["loss_initial"], result["loss_final"]
        parts = [f"loss {_text(initial)} → {_text(final)}"]
        if initial and final:
            fell = final <= initial
            parts[0] += f" ({_factor(initial / final if fell else final / initial)} × {'lower' if fell else 'higher'})"
        parts += [f"{result['steps']} steps", f"{result['seconds']:.1f} s"]
    else:
        parts = [f"unfinished run, {len(history)} steps"]
    height = _HEADER + _LINE_HEIGHT * len(meshes)
    title = 1 - 0.55 * _HEADER / height
    figure.text(0.012, title, "  ·  ".join(parts), fontsize=13, weight="bold", color="#222222", va="center")
    for row, line in enumerate(meshes):
        place = 1 - (0.95 * _HEADER + (row + 0.3) * _LINE_HEIGHT) / height
        figure.text(0.012, place, line, fontsize=9, color="#444444", va="center")


def _text(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.3g}"


def _factor(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def _draw_views(figure: SubFigure, views: list[_View]) -> None:
    """A row per view; the errors have a colour scale each, that begins at zero."""
    if not views:
        return
    axes = figure.subplots(len(views), 4, squeeze=False)
    for row, view in zip(axes, views, strict=True):
        for place, name in zip(row, ("target", "before", "after"), strict=False):
            _draw_image(place, getattr(view, name))
        error = None
        if view.after is not None and view.target is not None and view.after.shape == view.target.shape:
            error = np.abs(view.after - view.target).mean(axis=-1)
        if error is None:
            _draw_image(row[3], None)
        else:
            limit = float(np.percentile(error, 96)) or 1.0
            shown = row[3].imshow(error, cmap="magma", vmin=0, vmax=limit, interpolation="nearest")
            bar = figure.colorbar(shown, ax=row[3], fraction=0.046, pad=0.03, extend="max")
            bar.ax.tick_params(labelsize=7, color=_SOFT)
            bar.locator = MaxNLocator(4)
            bar.outline.set_visible(False)
            _frame(row[3])
        row[0].set_ylabel(re.sub(r"^\d+_", "", view.name), fontsize=10)
    for place, title in zip(axes[0], ("target", "before", "after", "|after − target|"), strict=True):
        place.set_title(title, fontsize=10)


def _draw_image(axes: Axes, image: np.ndarray | None) -> None:
    if image is None:
        axes.text(0.5, 0.5, "not yet", transform=axes.transAxes, ha="center", va="center", color=_SOFT)
        axes.set_aspect(1)
    else:
        axes.imshow(tonemap(image), interpolation="nearest")
    _frame(axes)


def _frame(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#cccccc")


def _style(axes: Axes, title: str) -> None:
    """A plot with little ink besides its curves."""
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(labelsize=7, color=_SOFT)
    axes.grid(color="#e6e9ee", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b5bdc8")


def _draw_loss(figure: SubFigure, history: list[dict]) -> None:
    axes = figure.subplots()
    _style(axes, "loss")
    # null and NaN: the loss was not finite
    points = [(line["step"], line["loss"]) for line in history if line["loss"] and 0 < line["loss"] < np.inf]
    if points:
        steps, losses = zip(*points, strict=True)
        axes.plot(steps, losses, color=_LINE, linewidth=1.3, marker="o" if len(points) == 1 else None)
        axes.set_yscale("log")
    axes.set_xlabel("step", fontsize=8)


def _draw_parameters(figure: SubFigure, rows: int, keys: list[str], history: list[dict], result: dict) -> None:
    """Small panels; a curve begins at the initial value and dashed lines are the truth."""
    if not keys:
        return
    columns = -(-len(keys) // rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    has_truth = False
    for place, key, name in zip(axes, keys, short_names(keys), strict=False):
        entry = result.get(key, {})
        points = [(0, entry["initial"])] if "initial" in entry else []
        points += [(line["step"] + 1, line["parameters"][key]) for line in history if key in line["parameters"]]
        # Of a mesh's vertices, the size of their bounding box is kept
        title = name.replace("vertex_positions", "size")
        _style(place, f"{title} ({entry['unit']})" if "unit" in entry else name)
        _draw_curves(place, points)
        if "true" in entry:
            _draw_truth(place, entry["true"])
            has_truth = True
        if place is axes[-1] or list(axes).index(place) >= len(keys) - columns:
            place.set_xlabel("step", fontsize=8)
    for place in axes[len(keys) :]:
        place.set_visible(False)
    for place, key in zip(axes, keys, strict=False):
        entry = result.get(key, {})
        handles = []
        # Coordinates of a pose have the colours of channels
        if "unit" in entry and np.size(entry["initial"]) == 3:
            handles += [Line2D([], [], color=c, linewidth=1.4, label=n) for n, c in zip("xyz", _CHANNELS, strict=True)]
        if has_truth and place is axes[0]:
            handles.append(Line2D([], [], color="#555555", linestyle=(0, (4, 3)), linewidth=1.0, label="truth"))
        if handles:
            place.legend(handles=handles, fontsize=7, frameon=False, loc="best", handlelength=2.0, ncols=len(handles))


def _draw_curves(axes: Axes, points: list[tuple[int, float | list | dict]]) -> None:
    if not points:
        return
    steps = [step for step, _ in points]
    if isinstance(points[0][1], dict):
        low, mean, high = (np.array([value[name] for _, value in points]) for name in ("min", "mean", "max"))
        axes.fill_between(steps, low, high, color=_LINE, alpha=0.13, linewidth=0, label="range")
        axes.plot(steps, mean, color=_LINE, linewidth=1.4)
        axes.set_title(axes.get_title(loc="left") + " (mean, range)", fontsize=9, loc="left")
        return
    curves = np.array([np.ravel(value) for _, value in points], np.float64)
    for curve, color in zip(curves.T, _colors(curves.shape[1]), strict=True):
        axes.plot(steps, curve, color=color, linewidth=1.4)


def _draw_truth(axes: Axes, truth: float | list | dict) -> None:
    levels = np.ravel(truth["mean"] if isinstance(truth, dict) else truth)
    for level, color in zip(levels, _colors(len(levels)), strict=True):
        axes.axhline(level, color=color, linestyle=(0, (4, 3)), linewidth=1.0, alpha=0.8)


def _colors(count: int) -> list[str]:
    """Channel colours for three curves, one colour for any other number."""
    return list(_CHANNELS) if count == 3 else [_LINE] * count
