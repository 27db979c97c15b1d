"""`zoo compare`: what changed between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.console import make_console, print_json
from zoo.cli.parameters import JsonFlag, Run


def compare(
    run_a: Run,
    run_b: Annotated[
        Path, typer.Argument(help="The folder of another run, to compare with the first.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Show what changed between two runs of zoo bench.

    Scores, speed and environment. The exit code is 1 where the runs followed different rules
    and cannot be ranked together.

    Example: zoo compare runs/before runs/after
    """
    from zoo_benchmark.results.compare import compare_runs, show_comparison

    comparison = compare_runs(run_a, run_b)
    if as_json:
        print_json(comparison.to_dict())
    else:
        show_comparison(comparison, make_console())
    if comparison.obstacles:
        raise typer.Exit(1)
