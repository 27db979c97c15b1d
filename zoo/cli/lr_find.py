"""`zoo lr-find`: the learning-rate range test, with its plot."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.console import make_console, note_left_out, print_json, say, share_bars
from zoo.cli.parameters import (
    Device,
    JsonFlag,
    Model,
    Overwrite,
    Precision,
    Preset,
    Seed,
    Set,
    Size,
)
from zoo.errors import TrainingError

if TYPE_CHECKING:
    from zoo.training.feed import Feed


def lr_find(
    model: Model,
    dataset: Annotated[
        str,
        typer.Option(help="Images to train on: folder:PATH, or a name that zoo datasets shows."),
    ] = "photos",
    size: Size = None,
    preset: Preset = "small",
    settings: Set = None,
    steps: Annotated[
        int, typer.Option(help="Training steps of the test, each with a higher learning rate.")
    ] = 100,
    lowest: Annotated[
        float, typer.Option("--from", help="The learning rate of the first step.")
    ] = 1e-6,
    highest: Annotated[
        float, typer.Option("--to", help="The learning rate of the last step.")
    ] = 1.0,
    device: Device = "auto",
    precision: Precision = "auto",
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="The plot to write, a .png; its numbers (.csv) go beside it. "
            "[default: lr-<model>.png]",
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Find a good learning rate: raise it, watch the loss, plot it.

    Example: zoo lr-find zhang_rebalanced --dataset folder:photos/
    """
    from zoo import registry
    from zoo.cli.outputs import output_paths
    from zoo.data.containers import check_size
    from zoo.diagnose.learning_rate import range_test
    from zoo.files import atomic_path
    from zoo.options import read_settings

    cls = registry.trainable_class(model)
    colorizer = cls(
        cls.preset(preset),  # type: ignore[arg-type]
        device=device,
        precision=precision,
        **read_settings(settings or ()),
    )
    images_of = registry.open_dataset(dataset)
    side = images_of.info.native_size if size is None else size
    check_size(side, colorizer.multiple, colorizer.minimum_size)
    picture, table = output_paths(
        out or Path(f"lr-{model}.png"), ".png", ".csv", overwrite=overwrite
    )
    images = images_of.open("train", side)

    with share_bars(make_console(stderr=True)) as bars:
        task = bars.add_task(f"learning rates of {model}", total=1.0)

        def on_step(feed: Feed) -> None:
            bars.update(task, completed=feed.progress)

        test = range_test(
            colorizer,
            images,
            steps=steps,
            lowest=lowest,
            highest=highest,
            seed=seed,
            size=side,
            on_step=on_step,
        )
    note_left_out(images)
    used = colorizer.training_options.learning_rate
    if as_json:
        facts = {"model": model, "suggestion": test.suggestion, "default": used}
        facts |= {"steps": len(test.losses), "stop_reason": test.stop_reason}
        print_json(facts | {"plot": str(picture), "table": str(table)})
    elif test.suggestion is not None:
        say(f"suggestion: {test.suggestion:.2g} (now {used:g})")
        say(f"to use it: zoo bench --set {model}.learning_rate={test.suggestion:.2g}")
    # After what was found: a full disk does not take that away.
    test.plot(picture, f"{cls.info.title}: learning-rate range test")
    with atomic_path(table) as partial, partial.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["learning_rate", "loss", "smoothed"])
        writer.writerows(zip(test.learning_rates, test.losses, test.smoothed, strict=True))
    if test.suggestion is not None and not as_json:
        say(f"written to {picture} and {table}")
    if test.suggestion is None:
        raise TrainingError(
            f"the loss of {model} never fell between {lowest:g} and {highest:g}; look at "
            f"{picture}, or try more --steps"
        )
