"""Execute the tutorials: each .ipynb is made anew from its .py, with its pictures.

Example:
    python notebooks/execute.py          # all of them
    python notebooks/execute.py 01 06    # those whose names begin so
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

HERE = Path(__file__).resolve().parent


def execute(source: Path, *, quick: bool) -> nbformat.NotebookNode:
    """Run a tutorial in a kernel of its own, in a folder that is thrown away.

    Args:
        source: Its .py file in jupytext's percent format.
        quick: Whether it renders few samples and takes few steps.
    """
    notebook = jupytext.read(source)
    environment = {**os.environ, "PBDR_QUICK": "1" if quick else ""}
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=900,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
            # The kernel warns that its sockets on this machine are not encrypted
            extra_arguments=["--log-level=ERROR"],
        )
        client.execute(env=environment)
    # What would differ in each execution without meaning anything
    notebook.metadata = {
        "jupytext": {"formats": "ipynb,py:percent"},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    }
    for position, cell in enumerate(notebook.cells):
        cell.id = f"cell-{position}"
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = compressed(output.data["image/png"])
    return notebook


def compressed(png: str) -> str:
    """A picture without its opaque alpha channel, as small as PNG allows; both in base64."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """Execute what the command line names."""
    parser = argparse.ArgumentParser(description="Execute the tutorials and keep their outputs.")
    parser.add_argument("names", nargs="*", help="first letters of names; default: all")
    parser.add_argument("--quick", action="store_true", help="few samples and steps")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the .ipynb files; default: beside the .py")
    arguments = parser.parse_args()
    sources = sorted(HERE.glob("[0-9][0-9]_*.py"))
    chosen = [s for s in sources if not arguments.names or s.stem.startswith(tuple(arguments.names))]
    if not chosen:
        parser.error(f"no tutorial begins with {', '.join(arguments.names)}; there are {[s.stem for s in sources]}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for source in chosen:
        start = time.perf_counter()
        try:
            notebook = execute(source, quick=arguments.quick)
        except CellExecutionError as error:
            sys.exit(f"{source.name}: {error.traceback}")
        nbformat.write(notebook, arguments.out / f"{source.stem}.ipynb")
        print(f"{source.stem}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
