"""`zoo check`: the conformance kit, printed as a list."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.console import make_console, make_table, print_json
from zoo.cli.parameters import Device, JsonFlag
from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.testing import Outcome
    from zoo.testing.kit import Status

_STYLES: dict[Status, str] = {
    "ok": "",
    "failed": "bold red",
    "skipped": "dim",
    "known failure": "yellow",
}


def check(
    name: Annotated[
        str | None,
        typer.Argument(help="The colorizer's name, as zoo list shows it: my_colorizer."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Run these checks alone, by their ids: ID[,ID…]. [default: all]"),
    ] = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="Show the checks and what each promises, and run none.")
    ] = False,
    device: Device = "cpu",
    as_json: JsonFlag = False,
) -> None:
    """Check that a colorizer works with every part of the zoo.

    For authors: runs the tests that every colorizer must pass; --list shows them. The
    exit code is 1 where a check failed.

    Example: zoo check my_colorizer
    """
    from zoo.device import resolve_device

    if list_only:
        _list_checks(as_json=as_json)
        return
    if name is None:
        raise ZooError("which colorizer? type zoo check NAME; zoo list shows them")
    identifiers = [part.strip() for part in (only or "").split(",") if part.strip()]
    outcomes = _run(name, identifiers, str(resolve_device(device)))
    counts = Counter(outcome.status for outcome in outcomes)
    if as_json:
        print_json([dataclasses.asdict(outcome) for outcome in outcomes])
    else:
        table = make_table("check", "outcome", "reason", whole=1)
        for outcome in outcomes:
            promise = f"The promise: {outcome.promise} " if outcome.status == "failed" else ""
            table.add_row(
                outcome.check,
                outcome.status.upper() if outcome.status == "failed" else outcome.status,
                promise + outcome.reason,
                style=_STYLES[outcome.status],
            )
        console = make_console()
        console.print(table)
        found = ", ".join(f"{counts[status]} {status}" for status in _STYLES if counts[status])
        console.print(f"{name}: {found}", highlight=False)
    if counts["failed"]:
        raise typer.Exit(1)


def _list_checks(*, as_json: bool) -> None:

    from zoo.testing import CHECKS

    if as_json:
        listed = [{"check": each.id, "promise": each.promise} for each in CHECKS.values()]
        print_json(listed)
        return
    table = make_table("check", "promise", whole=1)
    for each in CHECKS.values():
        table.add_row(each.id, each.promise)
    make_console().print(table)


def _run(name: str, only: list[str], device: str) -> list[Outcome]:
    from rich.markup import escape

    from zoo.testing import CHECKS, run

    outcomes: list[Outcome] = []
    # What a plugin prints is no part of the list.
    with (
        contextlib.redirect_stdout(sys.stderr),
        make_console(stderr=True).status(escape(f"checking {name} …")) as status,
    ):
        chosen = only or list(CHECKS)
        for outcome in run(name, only, device=device):
            outcomes.append(outcome)
            status.update(escape(f"checking {name}: {len(outcomes)} of {len(chosen)} …"))
    return outcomes
