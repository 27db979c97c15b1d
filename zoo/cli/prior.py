"""`zoo prior`: what is printed and written."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import typer

_OPTION = "prior"


@dataclass(frozen=True)
class Request:
    """What `zoo prior` was asked for; attributes are the command's options."""

    data: str
    size: int | None
    neighbours: int
    sigma: float
    out: Path
    overwrite: bool
    as_json: bool


def prior_command(request: Request) -> None:
    """Counts the colours of a training set, writes table and plot, shows the class weights.

    Raises:
        ZooError: something is wrong with the request or with the data.
    """
    from zoo import registry
    from zoo.cli.console import counting_bars, make_console
    from zoo.cli.outputs import output_paths
    from zoo.color.prior import REBALANCING, check_counting, class_weights, write_prior
    from zoo.diagnose.prior_plot import plot_prior
    from zoo.training.prior import prior_of_images

    table, picture = output_paths(request.out, ".csv", ".png", overwrite=request.overwrite)
    dataset = registry.open_dataset(request.data)
    size = dataset.info.native_size if request.size is None else request.size
    check_counting(size, request.neighbours, request.sigma)

    console = make_console(stderr=True)
    with counting_bars(console) as bars:
        loading = bars.add_task(f"images of {request.data}", total=None)

        def on_load(what: str, done: int, total: int) -> None:
            bars.update(loading, description=what, completed=done, total=total or None)

        images = dataset.open("train", size, on_load)
        bars.remove_task(loading)
        counting = bars.add_task("counting colours", total=len(images))
        prior = prior_of_images(
            images.images,
            size,
            neighbours=request.neighbours,
            sigma=request.sigma,
            on_images=lambda done: bars.update(counting, completed=done),
        )
    weights = class_weights(prior, REBALANCING)
    write_prior(table, prior)
    counted = f"{len(images):,} training images of {size} px"
    plot_prior(picture, prior, REBALANCING, f"{request.data}: {counted}")

    seen, largest = int((prior > 0).sum()), prior.max().item()
    lowest, highest = weights.min().item(), weights.max().item()
    if request.as_json:
        facts = {"data": request.data, "images": len(images), "size": size, "bins": seen}
        facts |= {"largest": largest, "rebalancing": REBALANCING, "weights": [lowest, highest]}
        typer.echo(json.dumps(facts | {"table": str(table), "plot": str(picture)}, indent=1))
        return
    typer.echo(f"{request.data}: {counted}")
    typer.echo(f"{seen} of {len(prior)} bins occur; the largest has {largest:.2%} of the pixels")
    typer.echo(f"class weights at λ = {REBALANCING:g}: {lowest:.4f} … {highest:.4f}")
    typer.echo(f"written to {table} and {picture}")
    for model in registry.colorizers_with_option(_OPTION):
        path = shlex.quote(str(table))
        typer.echo(f"to use it: zoo bench --set {model}.{_OPTION}={path}")
        typer.echo(f"       or: zoo fit {model} --set {_OPTION}={path}")
