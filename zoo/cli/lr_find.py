"""`zoo lr-find`: what is printed and written."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer


@dataclass(frozen=True)
class Request:
    """What `zoo lr-find` was asked for; attributes are the command's options."""

    model: str
    dataset: str
    size: int | None
    preset: str
    settings: Sequence[str]
    steps: int
    lowest: float
    highest: float
    device: str
    precision: str
    seed: int
    out: Path | None
    overwrite: bool
    as_json: bool


def lr_find_command(request: Request) -> None:
    """Sweeps the learning rate of a model, shows the suggestion, writes the plot and its numbers.

    Raises:
        ZooError: something is wrong with the request, or the loss never fell.
    """
    from zoo import registry
    from zoo.cli.console import make_console, share_bars
    from zoo.cli.outputs import output_paths
    from zoo.diagnose.learning_rate import range_test
    from zoo.errors import TrainingError
    from zoo.files import atomic_path
    from zoo.options import read_settings
    from zoo.training.feed import Feed

    cls = registry.colorizer_class(request.model)
    colorizer = cls(
        cls.preset(request.preset),  # type: ignore[arg-type]
        device=request.device,
        precision=request.precision,
        **read_settings(request.settings),
    )
    wanted = request.out or Path(f"lr-{request.model}.png")
    picture, table = output_paths(wanted, ".png", ".csv", overwrite=request.overwrite)
    dataset = registry.open_dataset(request.dataset)
    images = dataset.open("train", request.size or dataset.info.native_size)

    console = make_console(stderr=True)
    with share_bars(console) as bars:
        task = bars.add_task(f"learning rates of {request.model}", total=1.0)

        def on_step(feed: Feed) -> None:
            bars.update(task, completed=feed.progress)

        test = range_test(
            colorizer,
            images,
            steps=request.steps,
            lowest=request.lowest,
            highest=request.highest,
            seed=request.seed,
            size=request.size,
            on_step=on_step,
        )
    test.plot(picture, f"{cls.info.title}: learning-rate range test")
    with atomic_path(table) as partial, partial.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["learning_rate", "loss", "smoothed"])
        writer.writerows(zip(test.learning_rates, test.losses, test.smoothed, strict=True))
    used = colorizer.training_options.learning_rate
    if request.as_json:
        facts = {"model": request.model, "suggestion": test.suggestion, "default": used}
        facts |= {"steps": len(test.losses), "stop_reason": test.stop_reason}
        typer.echo(json.dumps(facts | {"plot": str(picture), "table": str(table)}, indent=1))
    elif test.suggestion is not None:
        typer.echo(f"suggestion: {test.suggestion:.2g} (now {used:g})")
        typer.echo(
            f"to use it: zoo bench --set {request.model}.learning_rate={test.suggestion:.2g}"
        )
        typer.echo(f"written to {picture} and {table}")
    if test.suggestion is None:
        raise TrainingError(
            f"the loss of {request.model} never fell between {request.lowest:g} and "
            f"{request.highest:g}; look at {picture}, or try more --steps"
        )
