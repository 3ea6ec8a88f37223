"""What the README says is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pbdr.cli import app
from pbdr.integrators import own_integrators

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_quick_start_has_two_blocks():
    section = README.split("## Quick start", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    assert len(blocks) == 2
    assert "pbdr optimize cornell_box" in blocks[0] and "pytest" in blocks[1]
    for block in blocks:
        assert block.startswith("python3 -m venv"), "each block must work without the other"


def test_the_python_examples_run(fresh_python):
    examples = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(examples) == 2
    outcome = fresh_python("\n".join(examples))
    assert outcome.code == 0, outcome.stderr
    gradient, loss, value = (float(number.strip("[]")) for number in outcome.stdout.split())
    assert gradient != 0 and loss > 0 and value != 0.3


@pytest.mark.parametrize("name", own_integrators())
def test_every_integrator_is_in_the_table(name: str):
    table = README.split("## Integrators", 1)[1].split("\n## ", 1)[0]
    assert f"| `{name}`" in table


def test_the_commands_exist():
    known = {command.name for command in app.registered_commands}
    named = set(re.findall(r"^\| `pbdr ([\w-]+)", README, flags=re.MULTILINE))
    assert named == known


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_links_lead_somewhere(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).is_file(), target
