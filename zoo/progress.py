"""What is seen of a download."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.dataset import Progress


@contextmanager
def download_bar() -> Iterator[Progress]:
    """A bar on stderr for people, for as long as the block runs; nothing for pipes."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("", total=None, visible=False)

        def update(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total or None, visible=True)

        yield update
