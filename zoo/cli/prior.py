"""`zoo prior`: how common each colour of a training set is."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.console import counting_bars, make_console, note_left_out, print_json, say
from zoo.cli.parameters import JsonFlag, Overwrite, Size

_OPTION = "prior"


def prior(
    data: Annotated[
        str,
        typer.Argument(help="The images to count: folder:PATH, or a name that zoo datasets shows."),
    ],
    size: Size = None,
    neighbours: Annotated[
        int,
        typer.Option(help="How many of the nearest of the 313 colour bins share each pixel."),
    ] = 5,
    sigma: Annotated[
        float,
        typer.Option(
            help="Width of the Gaussian that shares a pixel among its bins, in units of Lab's ab."
        ),
    ] = 5.0,
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="The table to write, a .csv; a plot (.png) goes beside it."
        ),
    ] = Path("prior.csv"),
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Count how common each colour is in a training set.

    Colorizers that weigh rare colours more (class rebalancing) take the table as an option.

    Example: zoo prior folder:photos/ -o prior.csv
    """
    from zoo import registry
    from zoo.cli.outputs import output_paths
    from zoo.color.prior import REBALANCING, check_counting, class_weights, write_prior
    from zoo.diagnose.prior_plot import plot_prior
    from zoo.training.prior import prior_of_images

    table, picture = output_paths(out, ".csv", ".png", overwrite=overwrite)
    dataset = registry.open_dataset(data)
    size = dataset.info.native_size if size is None else size
    check_counting(size, neighbours, sigma)

    with counting_bars(make_console(stderr=True)) as bars:
        loading = bars.add_task(f"images of {data}", total=None)

        def on_load(what: str, done: int, total: int) -> None:
            bars.update(loading, description=what, completed=done, total=total or None)

        images = dataset.open("train", size, on_load)
        bars.remove_task(loading)
        counting = bars.add_task("counting colours", total=len(images))
        shares = prior_of_images(
            images.images,
            size,
            neighbours=neighbours,
            sigma=sigma,
            on_images=lambda done: bars.update(counting, completed=done),
        )
    note_left_out(images)
    weights = class_weights(shares, REBALANCING)
    counted = f"{len(images):,} training images of {size} px"
    seen, largest = int((shares > 0).sum()), shares.max().item()
    lowest, highest = weights.min().item(), weights.max().item()
    if as_json:
        facts = {"data": data, "images": len(images), "size": size, "bins": seen}
        facts |= {"largest": largest, "rebalancing": REBALANCING, "weights": [lowest, highest]}
        print_json(facts | {"table": str(table), "plot": str(picture)})
    else:
        say(f"{data}: {counted}")
        say(f"{seen} of {len(shares)} bins occur; the largest has {largest:.2%} of the pixels")
        say(f"class weights at λ = {REBALANCING:g}: {lowest:.4f} … {highest:.4f}")
    write_prior(table, shares)
    plot_prior(picture, shares, REBALANCING, f"{data}: {counted}")
    if as_json:
        return
    say(f"written to {table} and {picture}")
    for model in registry.colorizers_with_option(_OPTION):
        path = shlex.quote(str(table))
        say(f"to use it: zoo bench --set {model}.{_OPTION}={path}")
        say(f"       or: zoo fit {model} --set {_OPTION}={path}")
