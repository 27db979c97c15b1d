"""`zoo fit`: training on one's own images, from the command line."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.checkpoint import Checkpoint
    from zoo.colorizer import Colorizer
    from zoo.dataset import ImageSet
    from zoo.metric import Metric
    from zoo_benchmark.validation import Files, Point, Validation

_TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class Request:
    """What `zoo fit` was asked for; attributes are the command's options."""

    model: str
    data: str
    budget: str
    out: Path
    size: int | None
    preset: str | None
    settings: Sequence[str]
    initial: str | None
    resume: bool
    checkpoint_every: float
    metrics: str
    lpips_weights: Path | None
    learning_rate: str
    seed: int
    device: str
    precision: str
    overwrite: bool
    as_json: bool


def fit_command(request: Request) -> int:
    """Trains and saves; returns the exit code: 0, 130 after Ctrl-C, 143 where it was terminated.

    Raises:
        ZooError: something is wrong with the request or the images, or training failed.
    """
    from zoo import registry
    from zoo.budget import Budget
    from zoo.checkpoint import Checkpoint
    from zoo.cli.main import make_console
    from zoo.errors import OptionError
    from zoo_benchmark.scoring import metric_names
    from zoo_benchmark.validation import Files

    budget = Budget.parse(request.budget)
    if request.learning_rate not in ("options", "find"):
        raise OptionError(f"--lr is options or find, got {request.learning_rate!r}")
    wanted = metric_names(request.metrics)
    colorizer = _open_colorizer(request)
    files = Files(request.out)
    _check_outputs(files, request)
    checkpoint = Checkpoint(
        files.checkpoint,
        request.checkpoint_every,
        lambda problem: typer.echo(f"note: {problem}", err=True),
    )
    dataset = registry.open_dataset(request.data)
    console = make_console(stderr=True)
    size = request.size or dataset.info.native_size
    images = {split: _load(dataset, split, size, console) for split in ("train", "test")}
    metrics, notes = _open_metrics(wanted, request, colorizer, images["test"], console)
    for split, images_of_split in images.items():
        notes += [f"{split}: {note}" for note in images_of_split.left_out()]
    for note in notes:
        typer.echo(f"note: {note}", err=True)

    if request.overwrite and not request.resume:
        checkpoint.remove()
    from zoo_benchmark.validation import Validation

    view = _View(console, request, checkpoint)
    validation = Validation(
        colorizer,
        images["test"],
        metrics,
        budget,
        files,
        title=f"{request.model} on {request.data}, {budget}",
        on_point=view.point,
    )
    floor = validation.floor()
    try:
        with _stoppable(checkpoint) as stopped_by, view.shown(validation):
            colorizer.fit(
                images["train"],
                budget=budget,
                seed=request.seed,
                size=size,
                find_learning_rate=request.learning_rate == "find",
                initial=request.initial,
                checkpoint=checkpoint,
                on_step=view.step,
            )
    except KeyboardInterrupt:
        return _interrupted(checkpoint, stopped_by)
    colorizer.save(files.weights)
    validation.finish()
    checkpoint.remove()
    _show(request, colorizer, files, view.points, floor, console=make_console())
    return 0


def _open_colorizer(request: Request) -> Colorizer:
    """The colorizer with the options of its preset, or of the weights that it starts from."""
    from zoo import registry
    from zoo.errors import OptionError
    from zoo.options import read_settings
    from zoo.weights import find_weights

    cls = registry.colorizer_class(request.model)
    changes = read_settings(request.settings)
    changes |= {"device": request.device, "precision": request.precision}
    if request.initial is None:
        return cls(cls.preset(request.preset or "small"), **changes)  # type: ignore[arg-type]
    if request.preset is not None:
        raise OptionError(
            f"--init {request.initial} brings its own options; leave --preset {request.preset} "
            "out, and change single ones with --set option=value"
        )
    stored = find_weights(request.initial, cls)
    colorizer = cls(**{**stored.options, **changes})
    return colorizer.restore(stored)  # tells now, not after an hour, if they do not fit


def _check_outputs(files: Files, request: Request) -> None:
    from zoo.errors import InputError, WeightsError

    if files.weights.suffix != ".safetensors":
        better = files.weights.with_suffix(".safetensors") if files.weights.name else "FILE"
        raise WeightsError(f"weights are written as safetensors; type -o {better}")
    if files.weights.is_dir():
        raise InputError(f"{files.weights} is a folder; name a file with -o")
    unfinished = files.checkpoint.exists()
    if request.resume and request.overwrite:
        raise InputError("--resume goes on, --overwrite begins anew; type one of them")
    if request.resume and not unfinished:
        raise InputError(f"there is nothing to resume: no {files.checkpoint}; leave --resume out")
    if unfinished and not (request.resume or request.overwrite):
        raise InputError(
            f"{files.checkpoint} is an unfinished training: type --resume to go on with it, "
            "or --overwrite to begin anew"
        )
    if files.weights.exists() and not (request.resume or request.overwrite):
        raise InputError(
            f"{files.weights} is there already; name another with -o, or type --overwrite"
        )


def _load(dataset: Any, split: Any, size: int, console: Console) -> ImageSet:
    from zoo_benchmark.bench_progress import bar_callback, progress_bars

    with progress_bars(console) as bars:
        task = bars.add_task(f"{dataset.info.name} {split}", total=None, state="")
        images: ImageSet = dataset.open(split, size, bar_callback(bars, task))
        return images


def _open_metrics(
    names: Sequence[str],
    request: Request,
    colorizer: Colorizer,
    held_out: ImageSet,
    console: Console,
) -> tuple[list[Metric], list[str]]:
    """The metrics that can work here, and why the others cannot."""
    from zoo.metric import MetricContext
    from zoo_benchmark.bench_progress import bar_callback, progress_bars
    from zoo_benchmark.metrics.lpips_weights import find_lpips_weights
    from zoo_benchmark.scoring import open_metrics

    backbone, status = None, ""
    if "lpips" in names:
        with progress_bars(console) as bars:
            task = bars.add_task("LPIPS weights", total=None, state="")
            found = find_lpips_weights(
                request.lpips_weights, download=True, progress=bar_callback(bars, task)
            )
        backbone, status = found.path, found.status
    context = MetricContext(colorizer.device, held_out.images, backbone)
    metrics, unavailable = open_metrics(names, context, held_out.size)
    if "lpips" in unavailable and status:
        unavailable["lpips"] = status
    return metrics, [f"{name} is not measured: {why}" for name, why in unavailable.items()]


class _View:
    """What is seen of a training: a bar for people, a line per look for everyone."""

    def __init__(self, console: Console, request: Request, checkpoint: Checkpoint) -> None:
        self.points: list[Point] = []
        self._console, self._request, self._checkpoint = console, request, checkpoint
        self._resumed = False

    @contextlib.contextmanager
    def shown(self, validation: Validation) -> Iterator[None]:
        """Shows the bar while the block runs."""
        from zoo_benchmark.bench_progress import progress_bars

        self._validation = validation
        with progress_bars(self._console) as self._bars:
            self._task = self._bars.add_task(self._request.model, total=1.0, state="starting")
            yield

    def step(self, feed: Any) -> None:
        """After every step of the training."""
        if self._checkpoint.resumed_steps and not self._resumed:
            self._resumed = True
            self._validation.resume(self._checkpoint.notes)
            self._say(f"resumed after {self._checkpoint.resumed_steps:,} steps")
        before = len(self.points)
        self._validation.step(feed)
        if len(self.points) > before:
            self._checkpoint.notes.update(self._validation.notes())
        cost = feed.cost
        rate = cost.images / cost.seconds if cost.seconds else 0.0
        loss = f", loss {feed.curve.points[-1]['loss']:.3f}" if feed.curve.points else ""
        state = f"{cost.steps:,} steps, {rate:,.0f} images/s{loss}"
        self._bars.update(self._task, completed=feed.progress, state=state)

    def point(self, point: Point) -> None:
        """After every look at the half-trained model."""
        self.points.append(point)
        values = (f"{name} {value:.4g}" for name, value in _shown(point.metrics).items())
        spent = time.strftime("%H:%M:%S", time.gmtime(point.cost.seconds))
        self._say(f"{point.share:4.0%}  {spent}  {point.cost.steps:,} steps: {', '.join(values)}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _shown(metrics: dict[str, float]) -> dict[str, float]:
    """Without what follows from the others."""
    return {name: value for name, value in metrics.items() if not name.endswith("_difference")}


@contextlib.contextmanager
def _stoppable(checkpoint: Checkpoint) -> Iterator[list[int]]:
    """Lets Ctrl-C and `kill` end training after the step under way; a second one at once."""
    received: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        typer.echo("\nstopping after this step; again to stop at once", err=True)
        checkpoint.stop()

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupted(checkpoint: Checkpoint, stopped_by: Sequence[int]) -> int:
    if checkpoint.path.exists():
        typer.echo(
            f"interrupted: {checkpoint.path} is kept; type the same command with --resume to go on",
            err=True,
        )
    else:
        typer.echo("interrupted before anything could be kept", err=True)
    return _TERMINATED if list(stopped_by[:1]) == [signal.SIGTERM] else 128 + signal.SIGINT


def _show(
    request: Request,
    colorizer: Colorizer,
    files: Files,
    points: Sequence[Point],
    floor: dict[str, float],
    console: Console,
) -> None:
    from zoo_benchmark.validation import describe

    record = colorizer.record
    assert record is not None
    last = points[-1].metrics
    written = [files.weights, files.samples, files.plot, files.losses, files.metrics]
    if request.as_json:
        facts = {
            "model": request.model,
            "weights": str(files.weights),
            "stop_reason": record.stop_reason,
            "grey": floor,
            "points": [describe(point) for point in points],
            "files": [str(file) for file in written],
        }
        typer.echo(json.dumps(facts, indent=1))
        return
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    for heading in ("held-out images", "left grey", request.model, "truth"):
        table.add_column(heading, justify="left" if heading == "held-out images" else "right")
    for name, value in _shown(last).items():
        if not name.endswith("_truth"):
            truth = last.get(f"{name}_truth")
            shown = f"{truth:.4g}" if truth is not None else ""
            table.add_row(
                name, f"{floor[name]:.4g}" if name in floor else "", f"{value:.4g}", shown
            )
    cost = record.cost
    console.print(
        f"{request.model}: {cost.steps:,} steps, {cost.images:,} images in {cost.seconds:.1f} s, "
        f"{colorizer.parameter_count:,} parameters",
        markup=False,
        highlight=False,
    )
    console.print(table)
    for file in written:
        console.print(f"written: {file}", markup=False, highlight=False)
    console.print(
        f"to use it: zoo colorize PHOTOS -o OUT --model {request.model} --weights {files.weights}",
        markup=False,
        highlight=False,
    )
