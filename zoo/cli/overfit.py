"""`zoo overfit`: one image learnt by heart, with the colour error at object edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.console import make_console, make_table, print_json, say, share_bars
from zoo.cli.parameters import Device, JsonFlag, Model, Overwrite, Precision, Preset, Seed, Set
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.diagnose.bleeding import EdgeError
    from zoo.diagnose.overfit import Overfit
    from zoo.training.feed import Feed


def overfit(
    model: Model,
    image: Annotated[Path, typer.Argument(help="The file of a photograph in colour.")],
    initialization: Annotated[
        str | None,
        typer.Option(
            "--init",
            help="How the network's weights start: default (as PyTorch sets them), xavier, or "
            "both, one after the other. [default: the model's own]",
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(help="How long to train with each initialization, as 500steps or 2min."),
    ] = "200steps",
    size: Annotated[
        int, typer.Option(help="Side in pixels of the square that the image is reduced to.")
    ] = 128,
    preset: Preset = "small",
    settings: Set = None,
    device: Device = "auto",
    precision: Precision = "auto",
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="The picture of the results to write, a .png. [default: overfit-<model>.png]",
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Learn one image by heart: a quick test of a network.

    A network that cannot learn one image will not learn many. Shows how far it gets, and how
    much colour bleeds over the edges of objects.

    Example: zoo overfit unet_timm cat.jpg --init both
    """
    from zoo.cli.outputs import output_paths
    from zoo.diagnose import overfit as work
    from zoo.diagnose.overfit_plot import plot_overfit
    from zoo.options import read_settings
    from zoo.training.budget import Budget

    changes = read_settings(settings or ())
    asked: list[str | None] = [*work.initializations(model, initialization, changes)] or [None]
    colorizers = [
        work.prepare_overfit(
            model,
            size,
            preset=preset,  # type: ignore[arg-type]
            initialization=each,
            changes=changes,
            device=device,
            precision=precision,
        )
        for each in asked
    ]
    limit = Budget.parse(budget)
    [picture] = output_paths(out or Path(f"overfit-{model}.png"), ".png", overwrite=overwrite)
    if picture.resolve() == image.resolve():
        raise InputError(f"-o {picture} is the image itself; name another with -o")
    tile = work.read_tile(image, size)

    fits: list[Overfit] = []
    with share_bars(make_console(stderr=True)) as bars:
        for colorizer, each in zip(colorizers, asked, strict=True):
            task = bars.add_task(f"{model} {each or ''}", total=1.0)

            def on_step(feed: Feed, task: Any = task) -> None:
                bars.update(task, completed=feed.progress)

            fits.append(work.overfit(colorizer, tile, limit, seed=seed, on_step=on_step))
    grey = work.grey_error(tile)
    if as_json:
        rows = [
            {"initialization": fit.initialization or None, "losses": fit.losses}
            | {"steps": fit.steps, "seconds": fit.seconds, **_facts(fit.error)}
            for fit in fits
        ]
        facts = {"model": model, "image": str(image), "size": size}
        facts |= {"budget": str(limit), "plot": str(picture)}
        print_json(facts | {"fits": rows, "grey": _facts(grey)})
    else:
        _show(model, fits, grey)
    # After what was found: a full disk does not take that away.
    plot_overfit(picture, tile, fits, f"{colorizers[0].info.title}: {image.name}")
    if not as_json:
        say(f"written to {picture}")


def _show(model: str, fits: Sequence[Overfit], grey: EdgeError) -> None:
    from zoo.diagnose.bleeding import REACH

    numbers = ("loss, first → last", "ab error", "at edges", "elsewhere", "ratio")
    table = make_table(model, *numbers, right=numbers)
    for fit in fits:
        losses = "no steps" if fit.losses is None else "{:.4g} → {:.4g}".format(*fit.losses)
        table.add_row(fit.initialization or "fit", losses, *_cells(fit.error))
    table.add_row("(no colour)", "–", *_cells(grey))
    make_console().print(table)
    if grey.edges is None:
        say("the image has no object edges: its chroma changes nowhere sharply")
    else:
        say(
            f"mean distances in the ab plane (CIE Lab units); {grey.share:.0%} of the pixels lie "
            f"within {REACH:g} px of an object edge"
        )


def _cells(error: EdgeError) -> list[str]:
    values = (error.whole, error.edges, error.elsewhere, error.ratio)
    return ["–" if value is None else f"{value:.2f}" for value in values]


def _facts(error: EdgeError) -> dict[str, float | None]:
    return {**asdict(error), "ratio": error.ratio}
