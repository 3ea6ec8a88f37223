"""Tables for terminals, which may be narrow, and for pipes, which have no width."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


def print_table(table: Table, *, pipe_width: int) -> None:
    """Print a table; on a terminal too narrow for its words, each row becomes a block: the first cell, then the others.

    Args:
        table: With text in its cells.
        pipe_width: Characters a line where stdout is no terminal.
    """
    console = Console(highlight=False)
    needed = Measurement.get(console, console.options.update(max_width=1000), table).minimum
    if not console.is_terminal:
        Console(highlight=False, width=pipe_width).print(table)
    elif needed <= console.width:
        console.print(table)
    else:
        for first, *others in zip(*(column.cells for column in table.columns), strict=True):
            console.print(Text(first), soft_wrap=True)
            said = [f"{column.header}: {cell}" for column, cell in zip(table.columns[1:], others, strict=True) if cell]
            console.print(Padding("; ".join(said), (0, 0, 0, 2)))
