"""`zoo new`: the first files of a new colorizer."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.console import say


def new(
    name: Annotated[
        str,
        typer.Argument(help="What to call the new colorizer and its Python module: my_colorizer."),
    ],
    template: Annotated[
        str,
        typer.Option(
            help="What to start from: unet (a network that predicts colours), classifier (one "
            "that chooses among 313 colours), or wrapper (a network that exists already)."
        ),
    ] = "unet",
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="A new folder for the files. [default: the name, with hyphens]"
        ),
    ] = None,
) -> None:
    """Write a new colorizer: a package of its own, with tests.

    Example: zoo new my_colorizer --template classifier
    """
    from zoo.new_plugin import NewPlugin

    plugin = NewPlugin(name, template)
    folder = out if out is not None else Path(plugin.distribution)
    for path in plugin.write(folder):
        say(path)
    quoted = shlex.quote(str(folder))
    say(f"next: pip install -e {quoted} && zoo check {name}")
    say("then fill in what says FILL IN: the license first")
