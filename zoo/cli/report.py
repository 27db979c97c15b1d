"""`zoo report`: the tables, pictures and page of a run, drawn anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.console import make_console, print_json
from zoo.cli.parameters import JsonFlag, Run

if TYPE_CHECKING:
    from zoo_benchmark.report.redraw import Comparison


def report(
    run: Run,
    at: Annotated[
        str | None,
        typer.Option(
            help="Show the table as it stood earlier in the training, after 10s, 100steps, "
            "5kimages or 1TFLOP, and draw nothing."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Draw the tables, pictures and report.html of a run anew.

    Example: zoo report runs/first --at 100steps
    """
    from zoo_benchmark.report.redraw import redraw
    from zoo_benchmark.results.at import show_at, table_at

    if at is None:
        show_results(redraw(run), as_json=as_json)
        return
    earlier = table_at(run, at)
    if as_json:
        print_json(earlier.to_dict())
    else:
        show_at(earlier, make_console())


def show_results(comparison: Comparison, *, as_json: bool) -> None:
    """Prints the table of a run and its notes."""
    from zoo_benchmark.report.redraw import show

    if not as_json:
        show(comparison, make_console())
        return
    summary = {
        "out": str(comparison.out),
        "title": comparison.run.manifest["title"],
        "protocol": comparison.run.protocol_id,
        "departures": comparison.run.manifest["departures"],
        "notes": comparison.notes,
        "rows": json.loads(comparison.board.to_json(orient="records")),
        "ceilings": json.loads(comparison.run.ceilings.to_json(orient="records")),
    }
    if comparison.conditions is not None:
        table = comparison.conditions.table
        summary["conditions"] = json.loads(table.to_json(orient="records"))
    print_json(summary)
