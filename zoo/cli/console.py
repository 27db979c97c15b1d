"""Consoles of the command line and the kinds of progress bars on them, for people and for pipes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table


def make_console(**keywords: Any) -> Console:
    """A console that wraps for people and never for pipes."""
    from rich.console import Console

    console = Console(**keywords)
    if not console.is_terminal:
        console.width = 10_000
    return console


def make_table(*headings: str, whole: Collection[str] = (), numbers: Collection[str] = ()) -> Table:
    """An empty table: columns in `whole` are never cut, all others fold; `numbers` are right."""
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    for heading in headings:
        table.add_column(
            heading,
            justify="right" if heading in numbers else "left",
            no_wrap=heading in whole,
            overflow="ignore" if heading in whole else "fold",
        )
    return table


def print_json(facts: object) -> None:
    """Prints what `--json` gives other programs to read."""
    typer.echo(json.dumps(facts, indent=1))


class StageBars:
    """Bars of what is at work, each with its state in words, for a terminal; lines for a pipe.

    They appear with the first bar, and stay when the block ends.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> StageBars:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def bar(self, name: str) -> Callable[[str, float, float], None]:
        """Adds a bar; returns what to call with its state, how much is done, and of how much.

        A total of 0 stands for one that is not known.
        """
        self._bars.start()
        task = self._bars.add_task(name, total=None, state="")

        def update(state: str, done: float, total: float) -> None:
            self._bars.update(task, completed=done, total=total or None, state=state)

        return update

    def say(self, line: str) -> None:
        """Prints a line where there are no bars to watch."""
        if not self._console.is_terminal:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def share_bars(console: Console) -> Progress:
    """Bars of the share that is done and the time that is left, for a terminal; none for a pipe."""
    from rich.progress import Progress

    return Progress(console=console, disable=not console.is_terminal)


def photograph_bars(console: Console) -> Progress:
    """A bar that goes away: how many photographs, the fields `rate` and `name`, the time left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} {task.fields[name]}", markup=False),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)
