"""`zoo bench`, `zoo report` and `zoo protocols`: what is printed, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from zoo_benchmark.protocol import Protocol
    from zoo_benchmark.results.redraw import Comparison
    from zoo_benchmark.settings import BenchSettings


def bench_command(settings: BenchSettings, *, as_json: bool) -> int:
    """Runs the comparison and shows it; 0, 1 if a model failed, 130 after Ctrl-C."""
    from zoo.cli.console import make_console
    from zoo_benchmark.bench import run_bench

    comparison = run_bench(settings, make_console(stderr=True))
    _show(comparison, as_json=as_json)
    for label, reason in comparison.failures:
        typer.echo(f"error: {label} failed: {reason}", err=True)
    if comparison.interrupted:
        typer.echo("interrupted: the table holds what was finished", err=True)
        return 130
    return 1 if comparison.failures else 0


def report_command(folder: Path, at: str | None, *, as_json: bool) -> None:
    """Redraws a run's files and shows its table, or the table at an earlier point."""
    from zoo.cli.console import make_console
    from zoo_benchmark.results.at import show_at, table_at
    from zoo_benchmark.results.redraw import redraw

    if at is None:
        _show(redraw(folder), as_json=as_json)
        return
    earlier = table_at(folder, at)
    if as_json:
        typer.echo(json.dumps(earlier.to_dict(), indent=1))
    else:
        show_at(earlier, make_console())


def show_protocols(name: str | None, *, as_json: bool) -> None:
    """Lists the protocols of the package, or all that one of them fixes."""
    from zoo.cli.console import make_console
    from zoo_benchmark.protocol import find_protocol, names

    if name is not None:
        _show_protocol(find_protocol(name), as_json=as_json)
        return
    known = [find_protocol(each) for each in names()]
    if as_json:
        rows = [{"id": each.id, **each.to_dict()} for each in known]
        typer.echo(json.dumps(rows, indent=1))
        return
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    for heading in ("protocol", "data", "size", "preset", "budget", "seeds", "title"):
        table.add_column(heading, overflow="fold")
    for each in known:
        facts = (each.dataset, f"{each.size}²", each.preset, each.budget, str(each.seeds))
        table.add_row(each.id, *facts, each.title)
    make_console().print(table)


def _show_protocol(protocol: Protocol, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"id": protocol.id, **protocol.to_dict()}, indent=1))
        return
    for name, value in protocol.to_dict().items():
        typer.echo(f"{name} = {_plain(value)}")
    typer.echo(f"sha256 = {protocol.digest()}")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items()) or "(none)"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    return str(value) if value != "" else "(none)"


def _show(comparison: Comparison, *, as_json: bool) -> None:
    from zoo.cli.console import make_console
    from zoo_benchmark.results.redraw import show

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
        "ceilings": json.loads(comparison.ceilings.to_json(orient="records")),
    }
    typer.echo(json.dumps(summary, indent=1))
