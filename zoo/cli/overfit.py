"""`zoo overfit`: what is printed and written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from zoo.diagnose.bleeding import EdgeError
    from zoo.diagnose.overfit import Overfit


@dataclass(frozen=True)
class Request:
    """What `zoo overfit` was asked for; attributes are the command's options."""

    model: str
    image: Path
    initialization: str | None
    budget: str
    size: int
    preset: str
    settings: Sequence[str]
    device: str
    precision: str
    seed: int
    out: Path | None
    overwrite: bool
    as_json: bool


def overfit_command(request: Request) -> None:
    """Fits one image, once for each initialization; shows how far it got, writes the picture.

    Raises:
        ZooError: something is wrong with the request, or training failed.
    """
    from zoo.cli.console import make_console, share_bars
    from zoo.cli.outputs import output_paths
    from zoo.diagnose.overfit import (
        grey_error,
        initializations,
        overfit,
        prepare_overfit,
        read_tile,
    )
    from zoo.diagnose.overfit_plot import plot_overfit
    from zoo.errors import InputError
    from zoo.options import read_settings
    from zoo.training.budget import Budget
    from zoo.training.feed import Feed

    changes = read_settings(request.settings)
    asked: list[str | None] = [
        *initializations(request.model, request.initialization, changes)
    ] or [None]
    colorizers = [
        prepare_overfit(
            request.model,
            request.size,
            preset=request.preset,  # type: ignore[arg-type]
            initialization=initialization,
            changes=changes,
            device=request.device,
            precision=request.precision,
        )
        for initialization in asked
    ]
    budget = Budget.parse(request.budget)
    wanted = request.out or Path(f"overfit-{request.model}.png")
    [picture] = output_paths(wanted, ".png", overwrite=request.overwrite)
    if picture.resolve() == request.image.resolve():
        raise InputError(f"-o {picture} is the image itself; name another with -o")
    tile = read_tile(request.image, request.size)

    fits: list[Overfit] = []
    console = make_console(stderr=True)
    with share_bars(console) as bars:
        for colorizer, initialization in zip(colorizers, asked, strict=True):
            task = bars.add_task(f"{request.model} {initialization or ''}", total=1.0)

            def on_step(feed: Feed, task: Any = task) -> None:
                bars.update(task, completed=feed.progress)

            fits.append(overfit(colorizer, tile, budget, seed=request.seed, on_step=on_step))
    plot_overfit(picture, tile, fits, f"{colorizers[0].info.title}: {request.image.name}")

    grey = grey_error(tile)
    if request.as_json:
        rows = [
            {"initialization": fit.initialization or None, "losses": fit.losses}
            | {"steps": fit.steps, "seconds": fit.seconds, **_facts(fit.error)}
            for fit in fits
        ]
        facts = {"model": request.model, "image": str(request.image), "size": request.size}
        facts |= {"budget": str(budget), "plot": str(picture)}
        typer.echo(json.dumps(facts | {"fits": rows, "grey": _facts(grey)}, indent=1))
        return
    _show(request, fits, grey)
    typer.echo(f"written to {picture}")


def _show(request: Request, fits: Sequence[Overfit], grey: EdgeError) -> None:
    from rich.table import Table

    from zoo.cli.console import make_console
    from zoo.diagnose.bleeding import REACH

    table = Table(show_edge=False, pad_edge=False)
    table.add_column(request.model, overflow="fold")
    for heading in ("loss, first → last", "ab error", "at edges", "elsewhere", "ratio"):
        table.add_column(heading, justify="right")
    for fit in fits:
        losses = "no steps" if fit.losses is None else "{:.4g} → {:.4g}".format(*fit.losses)
        table.add_row(fit.initialization or "fit", losses, *_cells(fit.error))
    table.add_row("(no colour)", "–", *_cells(grey))
    make_console().print(table)
    if grey.edges is None:
        typer.echo("the image has no object edges: its chroma changes nowhere sharply")
    else:
        typer.echo(
            f"mean distances in the ab plane (CIE Lab units); {grey.share:.0%} of the pixels lie "
            f"within {REACH:g} px of an object edge"
        )


def _cells(error: EdgeError) -> list[str]:
    values = (error.whole, error.edges, error.elsewhere, error.ratio)
    return ["–" if value is None else f"{value:.2f}" for value in values]


def _facts(error: EdgeError) -> dict[str, float | None]:
    return {**asdict(error), "ratio": error.ratio}
