"""Where the files that come with pbdr lie: in a wheel, an editable install or a bare checkout."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder ``plugins`` or ``scenes``: inside the package when installed from a wheel, beside it in a checkout."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def scene_names() -> list[str]:
    """The bundled scenes, sorted by name.

    Example:
        >>> "cornell_box" in scene_names()
        True
    """
    return sorted(path.parent.name for path in folder("scenes").glob("*/scene.xml"))


def scene_description(name: str) -> str:
    """One line about a bundled scene: ``description`` of its ``job.toml``, else the first comment of its XML."""
    scene = folder("scenes") / name
    job = scene / "job.toml"
    if job.is_file():
        description = tomllib.loads(job.read_text(encoding="utf-8")).get("description")
        if description:
            return str(description)
    comment = re.search(r"<!--(.*?)-->", (scene / "scene.xml").read_text(encoding="utf-8"), flags=re.S)
    return " ".join(comment[1].split()) if comment else ""
