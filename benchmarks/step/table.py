"""Tables of docs/performance.md, written between two comments that name the script that made them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def write(script: str, lines: Sequence[str]) -> None:
    """Replace the table of a script.

    Args:
        script: Its file name, as in ``<!-- cost.py -->``.
        lines: The table in Markdown.
    """
    begin, end = f"<!-- {script} -->\n", f"<!-- end of {script} -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    PAGE.write_text(before + begin + "\n" + "\n".join(lines) + "\n\n" + end + after, encoding="utf-8")
