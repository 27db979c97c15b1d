"""Writes `commands.md`, the help of every command, for readers who have nothing installed.

    python docs/commands.py

Type it after a help text has changed: a test compares the two.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from zoo.cli.main import app

PAGE = Path(__file__).with_name("commands.md")


def command_page() -> str:
    """The help of `zoo` and of all its commands, as Markdown."""
    top = get_command(app)
    text = [
        "# Commands",
        "What `zoo COMMAND --help` shows; [commands.py](commands.py) makes this page of it.",
    ]
    for command, context in _commands(top, top.make_context("zoo", [], resilient_parsing=True)):
        text.append(f"## `{context.command_path}`")
        text.append(_cell(command.help or ""))
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        text.append(f"```text\n{usage}\n```")
        parameters = [p for p in command.get_params(context) if p.name != "help"]
        records = [p.get_help_record(context) for p in parameters]
        rows = [f"| {_names(name)} | {_cell(text)} |" for name, text in filter(None, records)]
        text.append("\n".join(["| what | meaning |", "| --- | --- |", *rows]))
    return "\n\n".join(text) + "\n"


def _commands(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """A command with its context, then all below it; typer may bring a click of its own."""
    yield command, context
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        below = command.get_command(context, name)
        inner = below.make_context(name, [], parent=context, resilient_parsing=True)
        yield from _commands(below, inner)


def _names(text: str) -> str:
    """`-o, --out <path>` as code, each name and the type apart: lines break between them."""
    return re.sub(r"[^\s,/][^\s,]*", r"`\g<0>`", text)


def _cell(text: str) -> str:
    """Help as the cell of a table, letter by letter."""
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", html.escape(text, quote=False))


if __name__ == "__main__":
    PAGE.write_text(command_page(), encoding="utf-8")
