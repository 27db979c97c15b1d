"""`zoo weights`: published weights, and their files on this computer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.console import make_console, make_table, print_json, say
from zoo.cli.parameters import JsonFlag, Overwrite
from zoo.errors import InputError, WeightsError
from zoo.text import one_line

if TYPE_CHECKING:
    from zoo.weights.manifest import BrokenEntry, PublishedWeights

app = typer.Typer(
    help="Show, download and check published weights.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Published weights by name, as zoo weights list shows them: eccv16, or "
        "zhang_rebalanced@eccv16; or by their place on the Hugging Face hub: "
        "hf:OWNER/REPOSITORY[/FILE]."
    ),
]


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """Show the published weights, and which are on this computer.

    Example: zoo weights list --json
    """
    from zoo.weights import published

    known = [*published.published(), *published.fetched_from_hub()]
    rows = [_describe(weights) for weights in known]
    rows += [_describe_broken(entry) for entry in published.broken()]
    rows.sort(key=lambda row: (row["model"], row["name"]))
    if as_json:
        print_json(rows)
    else:
        _print_table(rows)


@app.command()
def fetch(
    names: Names = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Fetch all weights that are published.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Take this file on disk instead of downloading, if it is the one published.",
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            help="Address of a server to try first; the file's name is appended to it. "
            "[or ZOO_WEIGHTS_MIRROR]"
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Download nothing, and say what is missing. [or ZOO_OFFLINE=1]"
        ),
    ] = False,
) -> None:
    """Download published weights, and check that they are whole.

    A download that was interrupted goes on where it was.

    Example: zoo weights fetch eccv16
    """
    from zoo.weights import published
    from zoo.weights.download import download_bar

    if bool(names) == everything:
        raise InputError("name the weights to fetch, or type --all")
    chosen = published.published() if everything else _choose(names)
    if source is not None and len(chosen) != 1:
        raise InputError(f"--from is one file, but {len(chosen)} weights are to be fetched")

    def fetch_one(weights: PublishedWeights) -> str:
        with download_bar() as progress:
            path = published.fetch(
                weights, offline=offline or None, mirror=mirror, source=source, progress=progress
            )
        return f"({published.status(weights)}): {path}"

    _for_each(chosen, fetch_one)


@app.command()
def verify(names: Names = None) -> None:
    """Check that downloaded weights are still as published.

    Reads the files whole and compares their SHA-256; without names, all that are here.

    Example: zoo weights verify eccv16
    """
    from zoo.weights import published

    if names:
        chosen = _choose(names)
    else:
        as_they_were = (published.NOT_FETCHED, published.BUNDLED)
        known = [*published.published(), *published.fetched_from_hub()]
        chosen = [w for w in known if published.status(w) not in as_they_were]
    if not chosen:
        say("nothing is fetched", err=True)
    _for_each(chosen, lambda weights: f"(ok): {published.verify(weights)}")


@app.command()
def where(
    name: Annotated[
        str | None,
        typer.Argument(
            help="The name of published weights, as zoo weights list shows it: eccv16, or "
            "zhang_rebalanced@eccv16; or hf:OWNER/REPOSITORY[/FILE]."
        ),
    ] = None,
) -> None:
    """Print the path of a downloaded file, or of the folder of all.

    Example: zoo weights where eccv16
    """
    from zoo.weights import published

    if name is None:
        say(published.weights_folder())
        return
    weights = published.find_by_label(name)
    path = published.cached_file(weights)
    if path is None:
        state = published.status(weights)
        say(f"{weights.label} is {state}; type zoo weights fetch {weights.label}", err=True)
        raise typer.Exit(1)
    say(path)


@app.command()
def convert(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .pth or .safetensors file of another program, in a layout that the "
            "colorizer can read."
        ),
    ],
    model: Annotated[
        str, typer.Option(help="The colorizer that the weights are for: zhang_rebalanced.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .safetensors file to write.")],
    license: Annotated[
        str | None,
        typer.Option(
            "--license",
            "--licence",
            help="License of the weights, as MIT. [default: the published file's, else unknown]",
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="The web address where the weights are published.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write weights of another program in the zoo's own format.

    Example: zoo weights convert colors.pth --model zhang_rebalanced -o colors.safetensors
    """
    from zoo.cli.outputs import output_paths
    from zoo.registry import load
    from zoo.weights.published import UNKNOWN_LICENSE

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
        say("note: their license is not known here; say it with --license", err=True)
    say(f"{model}, license {origin.license}: {target}")


@app.command()
def card(
    file: Annotated[Path, typer.Argument(help="The .safetensors file that the card is for.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="The .md file to write. [default: README.md beside the weights]",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the model card of weights, for the Hugging Face hub.

    It says whose weights they are, how they were trained and, of those in a run's folder, how
    they scored.

    Example: zoo weights card mine.safetensors
    """
    from zoo.cli.outputs import output_paths
    from zoo.files import write_text
    from zoo.registry import colorizer_class
    from zoo.weights.card import model_card
    from zoo.weights.file import model_of, open_weights
    from zoo_benchmark.results.weights_scores import recorded_scores

    (target,) = output_paths(out or file.with_name("README.md"), ".md", overwrite=overwrite)
    cls = colorizer_class(model_of(file))
    text = model_card(open_weights(file, cls), cls.info, recorded_scores(file))
    write_text(target, text)
    say(f"the model card of {file}: {target}")


def _for_each(chosen: list[PublishedWeights], work: Callable[[PublishedWeights], str]) -> None:
    """Prints what came of each, whatever became of the others, and ends the command."""
    failed = False
    for weights in chosen:
        try:
            say(f"{weights.label} {work(weights)}")
        except WeightsError as error:
            say(f"error: {one_line(str(error))}", err=True)
            failed = True
    raise typer.Exit(int(failed))


def _choose(names: list[str] | None) -> list[PublishedWeights]:
    from zoo.weights.published import find_by_label

    return list(dict.fromkeys(find_by_label(name) for name in names or ()))


def _describe(weights: PublishedWeights) -> dict[str, Any]:
    from zoo.weights.published import cached_file, status

    file = cached_file(weights)
    described = dataclasses.asdict(weights)
    return {**described, "status": status(weights), "file": str(file) if file else None}


def _describe_broken(entry: BrokenEntry) -> dict[str, Any]:
    from zoo.weights.manifest import PublishedWeights

    unknown = {field.name: None for field in dataclasses.fields(PublishedWeights)}
    known = {key: getattr(entry, key) for key in ("model", "name", "distribution")}
    return {**unknown, **known, "status": f"broken: {entry.reason}", "file": None}


def _print_table(rows: list[dict[str, Any]]) -> None:

    if not rows:
        say("nothing that is installed publishes weights")
        return
    headings = ("model", "name", "status", "size", "license", "trained on", "distribution")
    table = make_table(*headings, whole=2, right=("size",))
    for row in rows:
        size = f"{row['size'] / 1e6:,.0f} MB" if row["size"] else "?"
        shown = [row[key] or "?" for key in ("license", "trained_on", "distribution")]
        cells = (row["model"] or "?", row["name"], row["status"], size, *shown)
        bad = row["status"].startswith(("broken", "damaged", "missing"))
        table.add_row(*cells, style="red" if bad else "")
    make_console().print(table, highlight=False)
