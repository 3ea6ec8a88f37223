"""The tutorials run, say what they say with their own outputs, and both files of a pair are the same."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
SOURCES = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
#: One that runs with every test; the others are slow
REPRESENTATIVE = "01_first_gradient"
LARGEST = 600_000

needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ipykernel", "jupytext", "nbclient")),
    reason='tutorials are executed with packages of an extra: pip install "pbdr[notebooks]"',
)
each_tutorial = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def cells_of_script(source: Path) -> list[tuple[str, str]]:
    """Kind and text of each cell of a script in jupytext's percent format."""
    body = re.sub(r"\A# ---\n.*?# ---\n", "", source.read_text(encoding="utf-8"), flags=re.DOTALL)
    cells = []
    for part in re.split(r"^# %%", body, flags=re.MULTILINE)[1:]:
        head, _, text = part.partition("\n")
        if head.strip() == "[markdown]":
            cells.append(("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip()))
        else:
            cells.append(("code", text.strip()))
    return cells


def cells_of_notebook(file: Path) -> list[dict]:
    return json.loads(file.read_text(encoding="utf-8"))["cells"]


def texts(cell: dict) -> str:
    """All text that a cell has printed or returned."""
    parts = []
    for output in cell.get("outputs", []):
        parts += output.get("text", [])
        parts += output.get("data", {}).get("text/plain", [])
    return "".join(parts)


def check_outputs(cells: list[dict]) -> None:
    """Every code cell ran without an error, a warning, or anything of the machine that it ran on."""
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        assert cell["execution_count"], "a cell was not executed"
        for output in cell["outputs"]:
            assert output["output_type"] != "error" and output.get("name") != "stderr", output
        found = re.search(r"WARN|Warning|/home/|/root/|/tmp/|site-packages", texts(cell))
        assert found is None, texts(cell)
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))


def run_quickly(source: Path, folder: Path) -> None:
    command = [sys.executable, FOLDER / "execute.py", "--quick", "--out", folder, source.stem]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    check_outputs(cells_of_notebook(folder / f"{source.stem}.ipynb"))


@each_tutorial
def test_both_files_of_a_pair_are_the_same(source: Path) -> None:
    notebook = [(c["cell_type"], "".join(c["source"]).strip()) for c in cells_of_notebook(source.with_suffix(".ipynb"))]
    assert notebook == cells_of_script(source), f"execute it again: python notebooks/execute.py {source.stem[:2]}"


@each_tutorial
def test_committed_outputs_are_clean_and_small(source: Path) -> None:
    file = source.with_suffix(".ipynb")
    check_outputs(cells_of_notebook(file))
    assert file.stat().st_size < LARGEST


@each_tutorial
def test_tutorials_say_what_one_learns_and_what_can_go_wrong(source: Path) -> None:
    text = source.read_text(encoding="utf-8").lower()
    for part in ("**what you will learn**", "## what can go wrong", "resume"):
        assert part in text, part


@each_tutorial
def test_links_lead_somewhere(source: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", source.read_text(encoding="utf-8")):
        assert (FOLDER / target).is_file(), target


def test_every_tutorial_is_listed() -> None:
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    for source in SOURCES:
        assert f"notebooks/{source.stem}.ipynb" in readme
        assert f"({source.stem}.ipynb)" in (FOLDER / "README.md").read_text(encoding="utf-8")


@needs_extra
def test_a_tutorial_runs(tmp_path: Path) -> None:
    run_quickly(FOLDER / f"{REPRESENTATIVE}.py", tmp_path)


@needs_extra
@pytest.mark.slow
@pytest.mark.parametrize("source", [s for s in SOURCES if s.stem != REPRESENTATIVE], ids=lambda path: path.stem)
def test_tutorials_run(source: Path, tmp_path: Path) -> None:
    run_quickly(source, tmp_path)
