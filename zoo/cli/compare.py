"""`zoo compare`: what is printed, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import typer


def compare_command(run_a: Path, run_b: Path, *, as_json: bool) -> int:
    """Shows what changed between two runs; 1 where they cannot be ranked together."""
    from zoo.cli.console import make_console
    from zoo_benchmark.results.compare import compare_runs, show_comparison

    comparison = compare_runs(run_a, run_b)
    if as_json:
        typer.echo(json.dumps(comparison.to_dict(), indent=1))
    else:
        show_comparison(comparison, make_console())
    return 1 if comparison.obstacles else 0
