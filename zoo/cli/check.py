"""`zoo check`: the conformance kit, printed as a list."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections import Counter

import typer
from rich.markup import escape
from rich.table import Table

from zoo.cli.console import make_console
from zoo.device import resolve_device
from zoo.testing import CHECKS, Outcome, run
from zoo.testing.kit import Status

_STYLES: dict[Status, str] = {
    "ok": "",
    "failed": "bold red",
    "skipped": "dim",
    "known failure": "yellow",
}


def list_checks(*, as_json: bool) -> None:
    """Prints the ids of all checks and what each promises."""
    if as_json:
        listed = [{"check": check.id, "promise": check.promise} for check in CHECKS.values()]
        typer.echo(json.dumps(listed, indent=1))
        return
    table = _table("check", "promise")
    for check in CHECKS.values():
        table.add_row(check.id, escape(check.promise))
    make_console().print(table)


def check_command(name: str, only: list[str], device: str, *, as_json: bool) -> int:
    """Runs the checks of a colorizer, prints how each went; 1 where one failed.

    Raises:
        UnknownNameError: no such colorizer, or no such check.
        PluginError: it is installed but broken.
        DeviceError: the device is not there.
    """
    outcomes = _run(name, only, str(resolve_device(device)))
    counts = Counter(outcome.status for outcome in outcomes)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=1))
        return int("failed" in counts)
    table = _table("check", "outcome", "reason")
    for outcome in outcomes:
        promise = f"The promise: {outcome.promise} " if outcome.status == "failed" else ""
        table.add_row(
            outcome.check,
            outcome.status.upper() if outcome.status == "failed" else outcome.status,
            escape(promise + outcome.reason),
            style=_STYLES[outcome.status],
        )
    console = make_console()
    console.print(table)
    found = ", ".join(f"{counts[status]} {status}" for status in _STYLES if counts[status])
    console.print(f"{name}: {found}", highlight=False, markup=False)
    return int("failed" in counts)


def _run(name: str, only: list[str], device: str) -> list[Outcome]:
    outcomes: list[Outcome] = []
    # What a plugin prints is no part of the list.
    with (
        contextlib.redirect_stdout(sys.stderr),
        make_console(stderr=True).status(f"checking {name} …") as status,
    ):
        chosen = only or list(CHECKS)
        for outcome in run(name, only, device=device):
            outcomes.append(outcome)
            status.update(f"checking {name}: {len(outcomes)} of {len(chosen)} …")
    return outcomes


def _table(first: str, *others: str) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column(first, no_wrap=True, overflow="ignore")
    for heading in others:
        table.add_column(heading, overflow="fold")
    return table
