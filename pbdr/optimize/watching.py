"""What looks on while a run goes: TensorBoard, Weights & Biases, and a picture in a notebook."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MissingExtra
from .report import tonemap

if TYPE_CHECKING:
    from .entries import Output
    from .outcome import Step


def scalars(step: Step) -> dict[str, float]:
    """The numbers of a step by name; textures by their mean, vectors and colours by component.

    Example:
        >>> scalars(step)
        {'loss': 0.1, 'wall.bsdf.reflectance.value/0': 0.5, …}
    """
    found = {"loss": step.loss, "spp": float(step.spp)}
    for key, value in step.parameters.items():
        if isinstance(value, dict):
            found[key] = value["mean"]
        elif np.size(value) == 1:
            found[key] = float(np.ravel(value)[0])
        else:
            found |= {f"{key}/{k}": float(x) for k, x in enumerate(np.ravel(value))}
    return found


def require_extras(output: Output) -> None:
    """Refuse what a job wants to log to, if its package is missing."""
    if output.tensorboard:
        _import_tensorboard()
    if output.wandb:
        _import_wandb()


def _import_tensorboard() -> tuple[type, type, type]:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        raise MissingExtra("TensorBoard", package="tensorboard", extra="tensorboard") from None
    return Event, Summary, EventFileWriter


def _import_wandb() -> ModuleType:
    try:
        import wandb
    except ImportError:
        raise MissingExtra("Weights & Biases", package="wandb", extra="wandb") from None
    return wandb


class TensorBoard:
    """Writes losses and parameters for TensorBoard, in its own format and without PyTorch.

    Example:
        >>> pbdr.optimize(problem, out="runs/box", progress=TensorBoard("runs/box/tensorboard"))
    """

    def __init__(self, folder: str | Path):
        self._event, self._summary, writer = _import_tensorboard()
        self._writer = writer(str(folder))

    def __call__(self, step: Step) -> None:
        """Write one step."""
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in scalars(step).items()]
        event = self._event(step=step.index, wall_time=time.time(), summary=self._summary(value=values))
        self._writer.add_event(event)
        if step.index + 1 == step.count:
            self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WeightsAndBiases:
    """Logs losses and parameters to a run of Weights & Biases.

    Example:
        >>> pbdr.optimize(problem, progress=WeightsAndBiases(project="boxes"))
    """

    def __init__(self, **settings: object):
        self._run = _import_wandb().init(**settings)

    def __call__(self, step: Step) -> None:
        """Log one step."""
        self._run.log(scalars(step), step=step.index)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class LiveView:
    """A picture in a notebook that changes in place: the first view, its target, their difference, and curves.

    When the run ends, or is stopped, the last picture stays.

    Example:
        >>> pbdr.optimize(problem, progress=LiveView())
    """

    def __init__(self, seconds: float = 1.0, show: Callable[[bytes], None] | None = None):
        """Show at most one picture each ``seconds``; ``show`` takes a PNG in place of the notebook."""
        self.seconds, self._show = seconds, show or _notebook_display()
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._values: dict[str, list[float]] = {}
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._shown = 0.0

    def __call__(self, step: Step) -> None:
        """Take a step into the curves, and show them if it is time."""
        self._steps.append(step.index)
        for name, value in scalars(step).items():
            (self._losses if name == "loss" else self._values.setdefault(name, [])).append(value)
        self._last = step.images or self._last
        if time.perf_counter() - self._shown >= self.seconds or step.index + 1 == step.count:
            self._show(self.picture())
            self._shown = time.perf_counter()

    def close(self) -> None:
        """Show the last state."""
        if self._steps:
            self._show(self.picture())

    def picture(self) -> bytes:
        """The present state as PNG."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 4.6), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        places = figure.subplot_mosaic([["image", "target", "error"], ["loss", "values", "values"]])
        if self._last:
            image, target = (tonemap(x[..., :3]) for x in self._last)
            error = np.abs(self._last[0] - self._last[1])[..., :3].mean(axis=-1)
            for name, pixels in (("image", image), ("target", target)):
                places[name].imshow(pixels)
            places["error"].imshow(error, cmap="magma")
        for name in ("image", "target", "error"):
            places[name].set_axis_off()
            places[name].set_title(name, fontsize=9, loc="left")
        places["loss"].semilogy(self._steps, np.maximum(self._losses, 1e-12))
        places["loss"].set_title(f"loss {self._losses[-1]:.3g}", fontsize=9, loc="left")
        for name, values in list(self._values.items())[1:9]:
            places["values"].plot(self._steps[-len(values) :], values, label=name)
        places["values"].legend(fontsize=6, frameon=False)
        places["values"].set_title(f"parameters, step {self._steps[-1] + 1}", fontsize=9, loc="left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        return buffer.getvalue()


def _notebook_display() -> Callable[[bytes], None]:
    try:
        from IPython.display import Image, display
    except ImportError:
        raise MissingExtra("a live view", package="ipython", extra="notebook") from None
    handle = None

    def show(png: bytes) -> None:
        nonlocal handle
        if handle is None:
            handle = display(Image(png), display_id=True)
        else:
            handle.update(Image(png))

    return show
