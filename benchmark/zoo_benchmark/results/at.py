"""`zoo report RUN --at 10s`: the table as it stood at an earlier point of every budget."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from zoo.errors import BudgetError
from zoo.training.budget import Budget
from zoo_benchmark.metrics import DIFFERENCE, TRUTH
from zoo_benchmark.results.columns import CURVE, metric_column
from zoo_benchmark.results.leaderboard import write_csv
from zoo_benchmark.results.run_folder import AT, Cell, open_run


@dataclass(frozen=True)
class EarlierTable:
    """A table of a run's learning curves, cut at one point.

    Attributes:
        title: what it is: a point inside a longer budget, never a run of its own.
        table: a row per model: the point that was taken and the metrics' means there.
        file: where it was written.
        notes: what a reader must know.
    """

    title: str
    table: pd.DataFrame
    file: Path
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON can hold it."""
        rows = json.loads(self.table.to_json(orient="records"))
        return {"title": self.title, "out": str(self.file), "notes": self.notes, "rows": rows}


def table_at(folder: Path, at: str) -> EarlierTable:
    """The last measured point of every model at or before `at`, in any unit of a budget.

    A model that has no such point has an empty row; one that needs no training is taken as it
    is. The table is written to `RUN/at/`.

    Raises:
        InputError: there is no run in the folder.
        BudgetError: `at` cannot be read, or no model had a point measured by then.
    """
    run = open_run(folder)
    if not run.trains:
        raise BudgetError(f"nothing was trained in {folder}: it has no earlier points")
    point = Budget.parse(at)
    budget = run.manifest["protocol"]["budget"]
    rows = []
    for label in dict.fromkeys(cell.label for cell in run.cells if not cell.given):
        cells = [cell for cell in run.cells if cell.label == label and cell.ok]
        taken = [found for cell in cells if (found := _last_point(cell, point)) is not None]
        row: dict[str, Any] = {"model": label}
        if taken:
            row |= {str(k): float(v) for k, v in pd.DataFrame(taken).mean().items()}
        rows.append(row)
    if all(len(row) == 1 for row in rows):
        raise BudgetError(
            f"no model of {folder} was measured by {point}: points lie at 1, 2, 4, … % of "
            f"{budget}; name a later one"
        )
    table = pd.DataFrame(rows)
    file = folder / AT / f"{re.sub(r'[^A-Za-z0-9.]', '', str(point))}.csv"
    write_csv(table, file)
    unfinished = any(row.get("share", 1) < 1 for row in rows)
    title = f"{_spaced(str(point))} into a budget of {_spaced(budget)}"
    notes = [
        "measured on the same few test images at every point; the final table uses all of them.",
        "not a run with this budget: do not rank it against one.",
    ]
    if run.given:
        notes.append(f"left out, as it was not trained here: {', '.join(run.given)}.")
    return EarlierTable(
        f"{title}, schedule unfinished" if unfinished else title, table, file, notes
    )


def show_at(earlier: EarlierTable, console: Console) -> None:
    """Prints the table; its rows stay in the order of the request, as it is no ranking."""
    console.print(earlier.title, style="italic", highlight=False)
    table = Table(show_edge=False, pad_edge=False)
    columns = [c for c in map(str, earlier.table.columns) if not c.endswith((TRUTH, DIFFERENCE))]
    for column in columns:
        table.add_column(column, justify="left" if column == "model" else "right", overflow="fold")
    for _, row in earlier.table.iterrows():
        table.add_row(*(_cell_text(column, row[column]) for column in columns))
    console.print(table)
    for note in earlier.notes:
        console.print(f"• {note}", style="dim", highlight=False)
    console.print(f"written to {earlier.file}", highlight=False)


def _last_point(cell: Cell, point: Budget) -> dict[str, float] | None:
    """The costs and metrics of a cell's last measurement that `point` pays for."""
    curve = cell.learning()
    untrained = cell.result["training"]["cost"]["steps"] == 0
    within = curve if untrained else curve[curve[point.unit] <= point.amount]
    if not len(within):
        return None
    last = within[within["share"] == within["share"].max()]
    costs = {column.name: float(last[column.name].iloc[0]) for column in CURVE}
    return costs | {str(m): float(v) for m, v in zip(last["metric"], last["value"], strict=True)}


def _cell_text(column: str, value: Any) -> str:
    if column == "model":
        return str(value)
    known = {each.name: each for each in CURVE}
    return (known.get(column) or metric_column(column)).text(value)


def _spaced(budget: str) -> str:
    return re.sub(r"(\d)\s*([A-Za-z])", r"\1 \2", budget, count=1)
