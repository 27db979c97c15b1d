"""What authors of plugins type: `zoo check` and `zoo new`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.parameters import Device, JsonFlag
from zoo.errors import ZooError


def check(
    name: Annotated[str | None, typer.Argument(help="A colorizer, as zoo list names it.")] = None,
    only: Annotated[
        str | None, typer.Option(help="ID[,ID…]: these checks alone. [default: all]")
    ] = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="Show the checks and what they promise; run none.")
    ] = False,
    device: Device = "cpu",
    as_json: JsonFlag = False,
) -> None:
    """Check that a colorizer keeps the promises of the interface."""
    from zoo.cli.check import check_command, list_checks

    if list_only:
        list_checks(as_json=as_json)
        return
    if name is None:
        raise ZooError("which colorizer? type zoo check NAME; zoo list shows them")
    identifiers = [part.strip() for part in (only or "").split(",") if part.strip()]
    if code := check_command(name, identifiers, device, as_json=as_json):
        raise typer.Exit(code)


def new(
    name: Annotated[str, typer.Argument(help="Of the colorizer and its module: my_colorizer.")],
    template: Annotated[str, typer.Option(help="unet, classifier or wrapper.")] = "unet",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="A new folder. [default: the name, with hyphens]"),
    ] = None,
) -> None:
    """Write a new colorizer: a distribution of its own, with tests."""
    from zoo.new_plugin import NewPlugin

    plugin = NewPlugin(name, template)
    folder = out if out is not None else Path(plugin.distribution)
    for path in plugin.write(folder):
        typer.echo(path)
    quoted = shlex.quote(str(folder))
    typer.echo(f"next: pip install -e {quoted} && zoo check {name}")
    typer.echo("then fill in what says FILL IN: the license first")
