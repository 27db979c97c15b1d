"""`zoo info`: what a colorizer says of itself."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys

import typer

from zoo.cli.console import make_console
from zoo.cli.parameters import JsonFlag, Model


def info(name: Model, as_json: JsonFlag = False) -> None:
    """Show a colorizer's paper, license, options and presets.

    Also what it does otherwise than its paper, and what each option means.

    Example: zoo info zhang_rebalanced
    """
    from rich.markup import escape
    from rich.table import Table

    from zoo import registry
    from zoo.options import describe_options

    # What a plugin prints when it is imported is no part of this command's output.
    with contextlib.redirect_stdout(sys.stderr):
        cls = registry.colorizer_class(name)
    options = describe_options(cls.Options)
    small = cls.preset("small")
    if as_json:
        described = [
            {"name": o, "type": kind, "paper": default, "small": getattr(small, o)}
            for o, kind, default in options
        ]
        facts = {**dataclasses.asdict(cls.info), "options": described}
        typer.echo(json.dumps(facts, indent=1))
        return
    console = make_console()
    console.print(f"[bold]{escape(cls.info.name)}[/bold]  {escape(cls.info.title)}")
    rows = [
        ("paper", cls.info.paper),
        ("license", cls.info.license),
        ("output", "paints RGB" if cls.info.output == "rgb" else "predicts ab"),
        ("sides", f"at least {cls.info.minimum_size} px, padded to {cls.info.multiple}s"),
        *[("differs" if i == 0 else "", text) for i, text in enumerate(cls.info.differs)],
        *[("fails", f"{check}: {why}") for check, why in cls.info.known_failures.items()],
    ]
    for label, text in rows:
        console.print(f"  {label:<8} {text}", markup=False, highlight=False)
    if options:
        table = Table(show_edge=False, pad_edge=False)
        for heading in ("option", "type", "paper", "small", "meaning"):
            table.add_column(heading, overflow="fold")
        meanings = _meanings(cls.Options)
        for option, kind, default in options:
            small_value = str(getattr(small, option))
            table.add_row(option, escape(kind), str(default), small_value, meanings.get(option, ""))
        console.print(table)


def _meanings(options_class: type) -> dict[str, str]:
    """Field descriptions out of the Attributes sections of the class and its bases."""
    found: dict[str, str] = {}
    for cls in reversed(options_class.__mro__):
        name = ""
        for line in (cls.__doc__ or "").partition("Attributes:")[2].splitlines():
            head, colon, text = line.strip().partition(":")
            if colon and head.isidentifier():
                name = head
                found[name] = text.strip()
            elif name and line.strip():
                found[name] += f" {line.strip()}"
    return found
