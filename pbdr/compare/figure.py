"""Figures of a comparison: gradient images side by side, and bias against noise."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from .measure import Row
from .report import MARKS, number, percent
from .result import Comparison, Picture

#: Colours of the verdicts, told apart by their marks as well.
_COLORS = {
    "consistent": "#1a7f37",
    "biased": "#c62828",
    "inconclusive": "#a06800",
    "failed": "#7b1fa2",
    "unsupported": "#666666",
}
_MAP = "RdBu_r"
#: Side of a picture, and the room below it for its caption, in inches.
_SIDE, _CAPTION, _TITLE = 1.5, 0.62, 0.34
#: Left edge of the scatter plot; estimators without noise stand there.
_LEAST_NOISE = 1e-4


def signed(image: np.ndarray) -> np.ndarray:
    """The mean over the channels, which keeps the sign. [H, W]"""
    return np.asarray(image, np.float64).mean(axis=-1)


def gradient_limit(image: np.ndarray) -> float:
    """End of a symmetric colour scale: the largest absolute value, outliers aside."""
    values = np.abs(signed(image))
    visible = values[values > 1e-3 * values.max()] if values.max() > 0 else values
    return float(np.percentile(visible, 98)) or 1.0


def gradient_picture(image: np.ndarray, title: str) -> Figure:
    """One gradient image on a symmetric diverging map with a colour bar.

    Args:
        image: [H, W, C]
        title: Above the picture.
    """
    height, width = image.shape[:2]
    figure = Figure(figsize=(6.0, 0.6 + 4.8 * height / width), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    limit = gradient_limit(image)
    shown = axes.imshow(signed(image), cmap=_MAP, vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()
    beyond = "both" if np.abs(signed(image)).max() > limit else "neither"
    figure.colorbar(shown, ax=axes, label="derivative of the pixel (mean over channels)", extend=beyond)
    return figure


def gradient_figure(comparison: Comparison) -> Figure:
    """A row per case: image, reference, then every estimator beside its error, all gradients on one scale."""
    cases = list(comparison.pictures)
    estimators = list(dict.fromkeys(row.estimator for row in comparison.rows))
    columns = 2 + 2 * len(estimators)
    left, bar = 0.15, 0.75
    cell = _TITLE + _SIDE + _CAPTION
    size = (left + columns * (_SIDE + 0.12) + bar, cell * len(cases) + 0.62)
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    rows = {(row.case, row.estimator): row for row in comparison.rows}
    for i, case in enumerate(cases):
        top = size[1] - 0.3 - i * cell
        place = _Places(figure, size, left, top)
        figure.text(left / size[0], (top - 0.02) / size[1], case, fontsize=10, weight="bold", va="top")
        limit = gradient_limit(comparison.pictures[case].reference)
        _draw_truth(place, comparison.pictures[case], limit)
        for j, estimator in enumerate(estimators):
            _draw_estimator(place, 2 + 2 * j, comparison.pictures[case], rows.get((case, estimator)), limit)
        place.color_bar(columns, limit)
    _draw_legend(figure, size, comparison)
    return figure


class _Places:
    """Axes of one row of pictures, placed by column."""

    def __init__(self, figure: Figure, size: tuple[float, float], left: float, top: float):
        self.figure, self.size, self.left, self.top = figure, size, left, top

    def axes(self, column: int, title: str, caption: str = "", *, color: str = "black", mark: str = ""):
        """A square for a picture: its title above, a verdict and numbers below."""
        x = self.left + column * (_SIDE + 0.12)
        y = self.top - _TITLE - _SIDE
        axes = self.figure.add_axes([x / self.size[0], y / self.size[1], _SIDE / self.size[0], _SIDE / self.size[1]])
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#bbbbbb")
        axes.set_title(title, fontsize=7.5, pad=2)
        down = -0.03
        if mark:
            axes.text(0, down, mark, transform=axes.transAxes, fontsize=7.5, weight="bold", color=color, va="top")
            down -= 0.11
        axes.text(0, down, caption, transform=axes.transAxes, fontsize=6.5, color="#333333", va="top", linespacing=1.25)
        return axes

    def color_bar(self, column: int, limit: float) -> None:
        """The colour scale of the row's gradients."""
        x = self.left + column * (_SIDE + 0.12)
        y = self.top - _TITLE - _SIDE
        axes = self.figure.add_axes([x / self.size[0], y / self.size[1], 0.09 / self.size[0], _SIDE / self.size[1]])
        self.figure.colorbar(ScalarMappable(Normalize(-limit, limit), _MAP), cax=axes)
        axes.tick_params(labelsize=6)


def _draw_truth(place: _Places, picture: Picture, limit: float) -> None:
    axes = place.axes(0, "image", textwrap.fill(picture.hard, 29, max_lines=5))
    axes.imshow(np.clip(picture.primal / max(np.percentile(picture.primal, 99), 1e-9), 0, 1) ** (1 / 2.2))
    axes = place.axes(1, "reference", textwrap.fill(picture.source, 29))
    axes.imshow(signed(picture.reference), cmap=_MAP, vmin=-limit, vmax=limit)


def _draw_estimator(place: _Places, column: int, picture: Picture, row: Row | None, limit: float) -> None:
    if row is None:
        return
    mark, color = f"{MARKS[row.word]} {row.word}", _COLORS[row.word]
    gradient = picture.gradients.get(row.estimator)
    if gradient is None:
        reason = textwrap.fill(row.reason, 34, max_lines=3)
        axes = place.axes(column, row.estimator, reason, color=color, mark=mark)
        axes.text(0.5, 0.5, "no image", transform=axes.transAxes, ha="center", va="center", color="#999999", fontsize=8)
        return
    caption = (
        f"bias {percent(row.relative_bias) or 'undefined'}  ({number(row.standard_errors, '+.1f')} se)\n"
        f"cost {number(row.cost, '.1f')} renders\nefficiency {number(row.efficiency, '.2g', '×') or '–'}"
    )
    axes = place.axes(column, row.estimator, caption, color=color, mark=mark)
    axes.imshow(signed(gradient), cmap=_MAP, vmin=-limit, vmax=limit)
    axes = place.axes(column + 1, "its error", f"image bias {percent(row.image_bias, sign=False) or 'undefined'}")
    axes.imshow(signed(gradient - picture.reference), cmap=_MAP, vmin=-limit, vmax=limit)


def _draw_legend(figure: Figure, size: tuple[float, float], comparison: Comparison) -> None:
    settings = comparison.settings
    text = (
        f"{settings['seeds']} seeds at {settings['spp']} spp · red: brighter, blue: darker; one scale per row · "
        f"cost: one gradient in primal renders · efficiency: 1/(variance · time) relative to {settings['baseline']}"
    )
    figure.text(0.15 / size[0], 0.1 / size[1], textwrap.fill(text, int(size[0] * 15)), fontsize=6.5, color="#333333")


def scatter_figure(comparison: Comparison) -> Figure:
    """Each cell as a point: noise at equal time across, bias up, cost as size; arrows are upper bounds."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    estimators = list(dict.fromkeys(row.estimator for row in comparison.rows))
    for k, estimator in enumerate(estimators):
        color = f"C{k % 10}"
        for row in comparison.rows:
            if row.estimator == estimator and row.relative_deviation is not None and row.cost and row.interval:
                _draw_point(axes, row, color)
        axes.scatter([], [], color=color, label=estimator)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axhline(comparison.settings["tolerance"], color="#999999", linewidth=0.8, linestyle="--")
    axes.set_xlabel("noise at equal time: relative standard deviation · √cost")
    axes.set_ylabel("|relative bias|")
    axes.set_title(
        "Down and left is better. Filled: biased. Hollow with arrow: upper bound of a consistent one.\n"
        "Size: cost of one gradient. Dashed: the tolerance.",
        fontsize=8,
    )
    axes.legend(fontsize=7)
    return figure


def _draw_point(axes, row: Row, color: str) -> None:
    x = max(row.relative_deviation * np.sqrt(row.cost), _LEAST_NOISE)
    size = 12 + 12 * row.cost**0.7
    if row.word == "biased":
        y = max(abs(row.relative_bias), row.image_bias or 0)
        axes.scatter(x, y, s=size, color=color, alpha=0.7, linewidths=0)
        return
    bound = max(abs(row.interval[0]), abs(row.interval[1]))
    axes.scatter(x, bound, s=size, facecolors="none", edgecolors=color)
    axes.annotate("", (x, bound * 0.7), (x, bound), arrowprops={"arrowstyle": "->", "color": color, "lw": 0.8})
