"""Consoles of the command line and the kinds of progress bars on them, for people and for pipes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import typer

from zoo.text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from zoo.data.dataset import ImageSet


def make_console(**keywords: Any) -> Console:
    """A console that wraps for people and never for pipes, and takes no text for an order."""
    from zoo.console import PlainConsole

    return PlainConsole(**keywords)


def say(line: object, *, err: bool = False) -> None:
    """Prints a line as it is, whatever is in it, on stdout or stderr."""
    typer.echo(visible(str(line)), err=err)


def note_left_out(images: ImageSet) -> None:
    """Says what a dataset has and does not use, a line each, on stderr."""
    for note in images.left_out():
        say(f"note: {note}", err=True)


def print_json(value: object) -> None:
    """Prints what other programs read."""
    typer.echo(json.dumps(value, indent=1))


def make_table(*headings: str, whole: int = 0, right: Collection[str] = ()) -> Table:
    """A table: the first `whole` columns are never broken, those in `right` hold numbers."""
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    for place, heading in enumerate(headings):
        if place < whole:
            table.add_column(heading, no_wrap=True, overflow="ignore")
        elif heading in right:
            table.add_column(heading, no_wrap=True, justify="right")
        else:
            table.add_column(heading, overflow="fold")
    return table


class StageBars:
    """Progress bars of tasks, each with its state in words, on a terminal; lines on a pipe.

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
            self._console.print(line, highlight=False, soft_wrap=True)


def share_bars(console: Console) -> Progress:
    """Bars that fill from 0 to 1, on a terminal; nothing on a pipe."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def counting_bars(console: Console) -> Progress:
    """Bars that count what is done and show the time left, on a terminal; nothing on a pipe."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def photograph_bars(console: Console) -> Progress:
    """A bar of photographs done, with the fields `rate` and `name`, that goes away at its end."""
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
