"""What the scripts beside it have in common: options, and a table of docs/performance.md.

A table stands there between two comments that name the script that made it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import mitsuba as mi

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def start(description: str, scenes: Iterable[str] = (), **counts: int) -> argparse.Namespace:
    """Read the options of a script, and choose the variant.

    Args:
        scenes: Bundled scenes that ``--scene`` chooses from; no such option without.
        counts: Names and defaults of options with a whole number.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if scenes:
        parser.add_argument("--scene", nargs="*", choices=sorted(scenes), default=sorted(scenes))
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    mi.set_variant("llvm_ad_rgb")
    mi.set_log_level(mi.LogLevel.Error)
    return options


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
