"""Consoles of the command line, for people and for pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def make_console(**keywords: Any) -> Console:
    """A console that wraps for people and never for pipes."""
    from rich.console import Console

    console = Console(**keywords)
    if not console.is_terminal:
        console.width = 10_000
    return console
