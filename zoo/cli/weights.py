"""`zoo weights`: what is published, and the files of it that are here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.parameters import JsonFlag
from zoo.errors import InputError, WeightsError

if TYPE_CHECKING:
    from zoo.weights.published import BrokenEntry, PublishedWeights

app = typer.Typer(
    help="Show, download and check published weights.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Names = Annotated[
    list[str] | None, typer.Argument(help="NAME or MODEL:NAME, as zoo weights list shows them.")
]


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """Show the published weights, and which are here."""
    from zoo.weights import published

    rows = [_describe(weights) for weights in published.published()]
    rows += [_describe_broken(entry) for entry in published.broken()]
    rows.sort(key=lambda row: (row["model"], row["name"]))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        _print_table(rows)


@app.command()
def fetch(
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are published.")] = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="A file on disk to take, once it is verified.")
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            help="Base URL to try first, with the file's name appended. [or ZOO_WEIGHTS_MIRROR]"
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Download nothing, say what is missing. [or ZOO_OFFLINE=1]"),
    ] = False,
) -> None:
    """Download weights; an interrupted download goes on where it was."""
    from zoo.weights import published
    from zoo.weights.download import download_bar

    if bool(names) == everything:
        raise InputError("name the weights to fetch, or type --all")
    chosen = published.published() if everything else _choose(names)
    if source is not None and len(chosen) != 1:
        raise InputError(f"--from is one file, but {len(chosen)} weights are to be fetched")
    failed = False
    for weights in chosen:
        try:
            with download_bar() as progress:
                path = published.fetch(
                    weights,
                    offline=offline or None,
                    mirror=mirror,
                    source=source,
                    progress=progress,
                )
        except WeightsError as error:
            failed = _complain(error)
        else:
            typer.echo(f"{weights.label} ({published.status(weights)}): {path}")
    raise typer.Exit(int(failed))


@app.command()
def verify(names: Names = None) -> None:
    """Read fetched files whole and compare them with their hashes."""
    from zoo.weights import published

    if names:
        chosen = _choose(names)
    else:
        as_they_were = (published.NOT_FETCHED, published.BUNDLED)
        chosen = [w for w in published.published() if published.status(w) not in as_they_were]
    if not chosen:
        typer.echo("nothing is fetched", err=True)
    failed = False
    for weights in chosen:
        try:
            path = published.verify(weights)
        except WeightsError as error:
            failed = _complain(error)
        else:
            typer.echo(f"{weights.label} (ok): {path}")
    raise typer.Exit(int(failed))


@app.command()
def where(
    name: Annotated[
        str | None, typer.Argument(help="NAME or MODEL:NAME, as zoo weights list shows them.")
    ] = None,
) -> None:
    """Print where a fetched file is, or where all are."""
    from zoo.weights import published

    if name is None:
        typer.echo(published.weights_folder())
        return
    weights = published.find_by_label(name)
    path = published.cached_file(weights)
    if path is None:
        state = published.status(weights)
        typer.echo(f"{weights.label} is {state}; type zoo weights fetch {weights.label}", err=True)
        raise typer.Exit(1)
    typer.echo(path)


@app.command()
def convert(
    file: Annotated[
        Path, typer.Argument(help="A .pth or .safetensors file in a format that MODEL knows.")
    ],
    model: Annotated[str, typer.Option(help="The colorizer that the weights are for.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .safetensors file to write.")],
    license: Annotated[
        str | None,
        typer.Option(
            "--license",
            "--licence",
            help="Of the weights. [default: the published file's, else unknown]",
        ),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where they are published.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output that exists.")
    ] = False,
) -> None:
    """Write weights of another program in the zoo's own format."""
    from zoo.cli.outputs import output_paths
    from zoo.registry import load
    from zoo.weights.file import UNKNOWN_LICENSE

    (target,) = output_paths(out, ".safetensors", overwrite=overwrite)
    if not file.is_file():
        raise WeightsError(f"there are no weights at {file}; check the path")
    if target.exists() and target.samefile(file):
        raise InputError(f"{target} is the input itself; type another -o")
    colorizer = load(model, file, device="cpu")
    assert colorizer.origin is not None
    origin = dataclasses.replace(
        colorizer.origin,
        license=license or colorizer.origin.license,
        source=source or colorizer.origin.source,
    )
    colorizer.origin = origin
    colorizer.save(target)
    if origin.license == UNKNOWN_LICENSE:
        typer.echo("note: their license is not known here; say it with --license", err=True)
    typer.echo(f"{model}, license {origin.license}: {target}")


def _choose(names: list[str] | None) -> list[PublishedWeights]:
    from zoo.weights.published import find_by_label

    return list(dict.fromkeys(find_by_label(name) for name in names or ()))


def _describe(weights: PublishedWeights) -> dict[str, Any]:
    from zoo.weights.published import cached_file, status

    file = cached_file(weights)
    described = dataclasses.asdict(weights)
    return {**described, "status": status(weights), "file": str(file) if file else None}


def _describe_broken(entry: BrokenEntry) -> dict[str, Any]:
    from zoo.weights.published import PublishedWeights

    unknown = {field.name: None for field in dataclasses.fields(PublishedWeights)}
    known = {key: getattr(entry, key) for key in ("model", "name", "distribution")}
    return {**unknown, **known, "status": f"broken: {entry.reason}", "file": None}


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from zoo.cli.console import make_console

    if not rows:
        typer.echo("nothing that is installed publishes weights")
        return
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("model", "name"):
        table.add_column(heading, no_wrap=True, overflow="ignore")
    table.add_column("status", overflow="fold")
    table.add_column("size", no_wrap=True, justify="right")
    for heading in ("license", "trained on", "distribution"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        size = f"{row['size'] / 1e6:,.0f} MB" if row["size"] else "?"
        shown = [row[key] or "?" for key in ("license", "trained_on", "distribution")]
        cells = (row["model"] or "?", row["name"], row["status"], size, *shown)
        bad = row["status"].startswith(("broken", "damaged"))
        table.add_row(*map(escape, cells), style="red" if bad else "")
    make_console().print(table, highlight=False)


def _complain(error: WeightsError) -> bool:
    typer.echo(f"error: {' '.join(str(error).split())}", err=True)
    return True
