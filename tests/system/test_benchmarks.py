"""The scripts of ``benchmarks/`` run, each with the smallest of its settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
#: Scripts by their path, with arguments, and how many lines with numbers they print at the least
SCRIPTS = {
    "boundary_efficiency.py": ("--cases silhouette_single_vertex --seeds 2 --guidings none", 1),
    "interior_cost.py": ("--scene cornell_box --rounds 1 --depths 1 2", 2),
    "inverse/run.py": ("--problems material --seeds 1 --limit 0", 2),
    "step/columns.py": ("--rounds 1", 1),
    "step/cost.py": ("--scene cornell_box --rounds 2", 4),
    "step/lobes.py": ("--scene cornell_box --seeds 2 --spp 1 --size 8", 4),
    "step/profile.py": ("--scene cornell_box --pixels 8 --spp 1", 2),
    "step/remembering.py": ("--scene cornell_box --runs 2 --spp 1", 1),
    "step/sampling.py": ("--scene cornell_box --seeds 2", 3),
    "step/sharing.py": ("--scene cornell_box --seeds 2 --spp 1", 3),
}
#: Those that take longer
LONG = {
    "velocity_fields.py": ("--seeds 2 --rays 4 --reference 2 4 --output figure.png", 16),
    "inverse/run.py": ("--problems texture,light,pose,shape --seeds 1 --limit 0", 8),
}


def check(script: str, arguments: str, count: int, folder: Path) -> None:
    """A script ends well, and prints numbers that are numbers."""
    command = [sys.executable, FOLDER / script, *arguments.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if re.search(r"\d[.\d]* ", line)]
    assert len(lines) >= count, done.stdout
    assert "nan" not in done.stdout.lower()


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_run(script: str, tmp_path: Path) -> None:
    check(script, *SCRIPTS[script], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("script", LONG)
def test_long_scripts_run(script: str, tmp_path: Path) -> None:
    check(script, *LONG[script], tmp_path)


def test_every_script_is_run() -> None:
    names = {str(file.relative_to(FOLDER)) for file in FOLDER.rglob("*.py") if "__main__" in file.read_text("utf-8")}
    # The page of estimators is tested beside the reports that it is made of
    assert names - {"estimators_page.py"} == {*SCRIPTS, *LONG}


@pytest.mark.parametrize("script", ["run.py", *(Path(name).name for name in SCRIPTS if name.startswith("step/"))])
def test_tables_have_their_place(script: str) -> None:
    page = (FOLDER.parent / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page.count(f"<!-- {script} -->") == page.count(f"<!-- end of {script} -->") == 1
