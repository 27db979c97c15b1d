"""Consoles of the command line and the kinds of progress bars on them, for people and for pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def make_console(**keywords: Any) -> Console:
    """A console that wraps for people and never for pipes."""
    from rich.console import Console

    console = Console(**keywords)
    if not console.is_terminal:
        console.width = 10_000
    return console


def share_bars(console: Console) -> Progress:
    """Bars that fill from 0 to 1, for a terminal; nothing for a pipe."""
    from rich.progress import Progress

    return Progress(console=console, disable=not console.is_terminal)


def counting_bars(console: Console) -> Progress:
    """Bars of how many are done, with the time that is left, for a terminal; nothing for a pipe."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


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
