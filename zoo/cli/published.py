"""`zoo published`: the numbers that papers published."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from zoo.cli.console import make_console, make_table, print_json
from zoo.cli.parameters import JsonFlag


def published(
    protocol: Annotated[
        str | None,
        typer.Argument(help="A protocol whose split papers report on, as val5k. [default: all]"),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what papers published, with each number's source.

    None of it was measured here: splits, networks and formulas differ from paper to paper, as
    the documents' page "Whose FID?" tells.

    Example: zoo published val5k
    """
    from zoo_benchmark.results.published import CONFIDENCE, as_text
    from zoo_benchmark.results.published import published as find

    found = find(protocol)
    if as_json:
        print_json(json.loads(found.to_json(orient="records")))
        return
    console = make_console()
    for name in found["protocol"].unique():
        headings, rows = as_text(found[found["protocol"] == name])
        table = make_table(*headings, right=headings[1:-3])
        for row in rows:
            table.add_row(*row)
        title = f"{name or 'split not stated'}: published, not measured here"
        console.print(title, style="italic", highlight=False)
        console.print(table)
    for letter, words in CONFIDENCE.items():
        console.print(f"• {letter}: {words}", style="dim", highlight=False)
