"""Least-squares systems from recorded paths against one forward rendering for each column, interleaved in one process.

python benchmarks/step/columns.py [--rounds 8] [--write]

The job is that of cornell_box: eight unknown numbers, one view.
"""

from __future__ import annotations

import time

import drjit as dr
import numpy as np
import table

import pbdr
from pbdr.optimize import columns
from pbdr.optimize.job import check_job, load_job
from pbdr.optimize.loop import _Run


def main() -> None:
    """Print the table."""
    options = table.start(__doc__, rounds=8)
    entries = load_job("cornell_box").model_dump(exclude_none=True) | {"optimizer": {"type": "levenberg_marquardt"}}
    problem = pbdr.Problem.from_job(check_job(entries))
    run, recorded = _Run(problem), columns.recorded_pictures
    seconds = []
    for k in range(options.rounds + 2):
        row = []
        for function in (recorded, lambda *arguments, **named: None):
            columns.recorded_pictures = function
            dr.sync_thread()
            start = time.perf_counter()
            run.method.system(problem, run.optimizer, [0], 16, lambda label, view, k=k: run._seed(label, view, k))
            row.append(time.perf_counter() - start)
        seconds.append(row)
    ratio = np.divide(*np.array(seconds)[2:].T[::-1])
    lines = [
        "| unknown numbers | forward rendering / recorded: min – median – max |",
        "| --- | --- |",
        f"| 8 | {ratio.min():.2f} – {np.median(ratio):.2f} – {ratio.max():.2f} |",
    ]
    print(*lines, sep="\n")
    if options.write:
        table.write("columns.py", lines)


if __name__ == "__main__":
    main()
