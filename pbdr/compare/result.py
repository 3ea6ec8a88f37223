"""The result of a comparison: frozen rows and images, and four views of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from .measure import Row


@dataclasses.dataclass(frozen=True)
class Picture:
    """What the figure shows of one case.

    Attributes:
        reference: Reference derivative. [H, W, C]
        primal: The image itself. [H, W, C]
        gradients: Mean derivative image of each estimator that has a forward mode. {name: [H, W, C]}
        hard: What makes the case hard.
        source: Where the reference comes from.
    """

    reference: np.ndarray
    primal: np.ndarray
    gradients: dict[str, np.ndarray]
    hard: str = ""
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Estimators × cases: one row each, with verdicts.

    Attributes:
        rows: One per case and estimator, in the order of the study.
        pictures: Images by name of the case.
        settings: What was asked for: seeds, samples, criteria, versions.

    Example:
        >>> result = pbdr.compare("cornell_box", "wall_left.brdf_0.reflectance.value", ["prb", "pbdr"])
        >>> print(result.to_markdown())
        >>> result.figure().savefig("figure.png")
    """

    rows: tuple[Row, ...]
    pictures: dict[str, Picture]
    settings: dict

    @property
    def exit_code(self) -> int:
        """0 if all is consistent, 1 if a row is biased or failed, else 4 for inconclusive or unsupported rows."""
        words = {row.word for row in self.rows}
        if words & {"biased", "failed"}:
            return 1
        return 0 if words <= {"consistent"} else 4

    def to_dict(self) -> dict:
        """Settings and rows as JSON data."""
        return {"settings": self.settings, "rows": [dataclasses.asdict(row) for row in self.rows]}

    def to_json(self) -> str:
        """``to_dict`` as text; infinities become ``null``."""
        return json.dumps(_finite(self.to_dict()), indent=1, ensure_ascii=False)

    def to_markdown(self) -> str:
        """A table per case, for reading."""
        from .report import markdown

        return markdown(self)

    def figure(self):
        """Reference, every estimator and its error, side by side: a matplotlib figure."""
        from .figure import gradient_figure

        return gradient_figure(self)

    def scatter(self):
        """Bias against noise at equal time, the cost as size: a matplotlib figure."""
        from .figure import scatter_figure

        return scatter_figure(self)

    def write(self, folder: str | Path) -> Path:
        """Write ``results.json``, ``table.md``, ``figure.png`` and ``scatter.png``.

        Args:
            folder: Where; it is made if it does not exist.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(self.to_json() + "\n", encoding="utf-8")
        (folder / "table.md").write_text(self.to_markdown(), encoding="utf-8")
        self.figure().savefig(folder / "figure.png", dpi=110)
        self.scatter().savefig(folder / "scatter.png", dpi=130)
        return folder


def with_efficiency(rows: list[Row], baseline: str) -> tuple[Row, ...]:
    """The rows with 1 / (variance · time) over that of the baseline on the same case.

    Biased estimators have none. Where the baseline is biased, the first one that is not takes its place. Time is in
    seconds: primal renders of the integrator itself would flatter those with slow ones.
    """
    bases: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: row.estimator != baseline):
        if row.word in ("consistent", "inconclusive") and (own := _inverse_work(row)):
            bases.setdefault(row.case, own)
    done = []
    for row in rows:
        own, base = None if row.word == "biased" else _inverse_work(row), bases.get(row.case)
        done.append(dataclasses.replace(row, efficiency=own / base if own and base else None))
    return tuple(done)


def _inverse_work(row: Row) -> float | None:
    """1 / (variance · time) of a row; ``None`` without noise, where it has no meaning."""
    if not row.error or not row.seconds or (row.relative_deviation or 0) < 1e-5:
        return None
    return 1 / (row.error**2 * row.seeds * row.seconds)


def _finite(data):
    """JSON data without infinities and NaN, which JSON does not know."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    if isinstance(data, float) and not np.isfinite(data):
        return None
    return data
