"""Fixtures for commands and runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import mitsuba as mi
import pytest

from ..conftest import Outcome


@pytest.fixture
def refused(pbdr_command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable:
    """Run ``pbdr optimize`` and return its sentence: exit code 2, one line, nothing rendered, no run begun."""

    def render(*_: object, **__: object) -> None:
        raise RuntimeError("bad input reached the renderer")

    def run(*arguments: str | Path, out: Path | None = None) -> str:
        monkeypatch.setattr(mi, "render", render)
        outcome = pbdr_command("optimize", *arguments, "--out", out or tmp_path / "run")
        monkeypatch.undo()
        assert outcome.code == 2, outcome
        assert re.fullmatch(r"error: [^\n]+\n", outcome.stderr), outcome.stderr
        assert out or not (tmp_path / "run").exists()
        return outcome.stderr.removeprefix("error: ").strip()

    return run


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep references in the folder of the test."""
    monkeypatch.setenv("PBDR_CACHE", str(tmp_path / "cache"))
