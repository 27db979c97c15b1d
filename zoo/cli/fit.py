"""`zoo fit`: training on one's own images, from the command line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.colorizer import Colorizer
    from zoo.data.dataset import ImageSet
    from zoo.metric import Metric
    from zoo.training.budget import Budget
    from zoo.training.checkpoint import Checkpoint
    from zoo_benchmark.run.validation import Files, Point, Validation

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
    weights_files: Mapping[str, Path]
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
    from zoo_benchmark.run.validation import Files

    files = Files(request.out.expanduser())
    with _alone(files):
        return _fit(request, files)


def _fit(request: Request, files: Files) -> int:
    from zoo import registry
    from zoo.cli.console import make_console
    from zoo.data.containers import check_size
    from zoo.errors import OptionError
    from zoo.training.budget import Budget
    from zoo.training.checkpoint import Checkpoint
    from zoo_benchmark.run.scoring import metric_names
    from zoo_benchmark.run.validation import Validation

    # Whatever can be found out before the images are read comes first.
    budget = Budget.parse(request.budget)
    if request.learning_rate not in ("options", "find"):
        raise OptionError(f"--lr is options or find, got {request.learning_rate!r}")
    wanted = metric_names(request.metrics)
    colorizer = _open_colorizer(request)
    check_size(request.size, colorizer.info.multiple, colorizer.info.minimum_size)
    _check_files(files, request)
    console = make_console(stderr=True)
    view = _View(console, request)
    checkpoint = Checkpoint(files.checkpoint, request.checkpoint_every, _note, view.resumed)
    if request.resume:
        checkpoint.read(_identity(request, colorizer, budget))
    dataset = registry.open_dataset(request.data)
    size = dataset.info.native_size if request.size is None else request.size
    images = {split: _load(dataset, split, size, console) for split in ("train", "test")}
    metrics, notes = _open_metrics(wanted, request, colorizer, images["test"], console)
    for split, images_of_split in images.items():
        notes += [f"{split}: {note}" for note in images_of_split.left_out()]
    for note in notes:
        _note(note)

    if request.overwrite and not request.resume:
        checkpoint.remove()
    validation = Validation(
        colorizer,
        images["test"],
        metrics,
        budget,
        files,
        title=f"{request.model} on {request.data}, {budget}",
        on_point=view.point,
        on_problem=_note,
    )
    floor = validation.floor()
    with _stoppable(checkpoint) as stopped_by:
        try:
            with view.shown(validation, checkpoint):
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
            colorizer.save(files.weights)
            validation.finish()
        except KeyboardInterrupt:
            return _interrupted(checkpoint, stopped_by)
        checkpoint.remove()
    _show(request, colorizer, validation, files, floor)
    return 0


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


@contextlib.contextmanager
def _alone(files: Files) -> Iterator[None]:
    """A block in which no other `zoo fit` on this machine writes the same files."""
    from filelock import FileLock, Timeout

    from zoo.errors import InputError
    from zoo.files import cache_folder

    name = hashlib.sha256(str(files.weights.resolve()).encode()).hexdigest()
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f"{name}.lock", blocking=False):
            yield
    except Timeout:
        raise InputError(
            f"{files.weights} is being trained by another process; wait for it, or name another "
            "with -o"
        ) from None


def _open_colorizer(request: Request) -> Colorizer:
    """The colorizer with the options of its preset, or of the weights that it starts from."""
    from zoo import registry
    from zoo.errors import OptionError
    from zoo.options import read_settings

    changes = read_settings(request.settings)
    changes |= {"device": request.device, "precision": request.precision}
    if request.initial is None:
        cls = registry.colorizer_class(request.model)
        return cls(cls.preset(request.preset or "small"), **changes)  # type: ignore[arg-type]
    if request.preset is not None:
        raise OptionError(
            f"--init {request.initial} brings its own options; leave --preset {request.preset} "
            "out, and change single ones with --set option=value"
        )
    # Loaded as a whole: tells now, not after an hour, if they do not fit.
    return registry.load(request.model, request.initial, **changes)  # type: ignore[arg-type]


def _identity(request: Request, colorizer: Colorizer, budget: Budget) -> dict[str, object]:
    """What a checkpoint is compared with before the images are read."""
    from zoo.training.checkpoint import training_identity
    from zoo.weights.file import find_weights

    initial = request.initial
    return training_identity(
        colorizer.info,
        colorizer.options,
        budget,
        seed=request.seed,
        data_seed=None,
        find_learning_rate=request.learning_rate == "find",
        initial=None if initial is None else find_weights(initial, type(colorizer)),
        device=colorizer.device,
        precision=colorizer.precision,
    )


def _check_files(files: Files, request: Request) -> None:
    from zoo.cli.outputs import check_outputs, output_paths
    from zoo.errors import InputError
    from zoo.pipeline.plan import check_folders_are_writable

    output_paths(files.weights, ".safetensors", overwrite=True)
    unfinished = files.checkpoint.exists()
    if request.resume and not unfinished:
        raise InputError(f"there is nothing to resume: no {files.checkpoint}; leave --resume out")
    if unfinished and not (request.resume or request.overwrite):
        raise InputError(
            f"{files.checkpoint} is an unfinished training: type --resume to go on with it, "
            "or --overwrite to begin anew"
        )
    # A resumed training goes on in its own tables and pictures; weights are never its own.
    mine = [files.weights] if request.resume else files.results
    check_outputs(mine, overwrite=request.overwrite)
    check_folders_are_writable([files.weights])


def _load(dataset: Any, split: Any, size: int, console: Console) -> ImageSet:
    from zoo_benchmark.report.progress import bar_callback, progress_bars

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
    from zoo_benchmark.metrics.weights_files import find_metric_files
    from zoo_benchmark.report.progress import bar_callback, progress_bars
    from zoo_benchmark.run.scoring import open_metrics

    with progress_bars(console) as bars:
        task = bars.add_task("metrics", total=None, state="")
        files = find_metric_files(names, request.weights_files, progress=bar_callback(bars, task))
    context = MetricContext(colorizer.device, held_out.images)
    metrics, unavailable = open_metrics(names, context, held_out.size, files)
    return metrics, [f"{name} is not measured: {why}" for name, why in unavailable.items()]


class _View:
    """What is seen of a training: a bar for people, a line per look for everyone."""

    def __init__(self, console: Console, request: Request) -> None:
        self._console, self._request = console, request

    @contextlib.contextmanager
    def shown(self, validation: Validation, checkpoint: Checkpoint) -> Iterator[None]:
        """Shows the bar while the block runs."""
        from zoo_benchmark.report.progress import progress_bars

        self._validation, self._checkpoint = validation, checkpoint
        with progress_bars(self._console) as self._bars:
            self._task = self._bars.add_task(self._request.model, total=1.0, state="starting")
            yield

    def resumed(self, checkpoint: Checkpoint) -> None:
        """Before the first step of a training that goes on."""
        self._validation.resume(checkpoint.notes)
        self._say(f"resumed after {checkpoint.resumed_steps:,} steps")

    def step(self, feed: Any) -> None:
        """After every step of the training."""
        self._validation.step(feed)
        cost = feed.cost
        rate = cost.images / cost.seconds if cost.seconds else 0.0
        loss = f", loss {feed.curve.points[-1]['loss']:.3f}" if feed.curve.points else ""
        state = f"{cost.steps:,} steps, {rate:,.0f} images/s{loss}"
        self._bars.update(self._task, completed=feed.progress, state=state)

    def point(self, point: Point) -> None:
        """After every look at the half-trained model."""
        self._checkpoint.notes.update(self._validation.notes())
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
    validation: Validation,
    files: Files,
    floor: dict[str, float],
) -> None:
    from zoo.cli.console import make_console

    record = colorizer.record
    assert record is not None
    points = validation.points()
    written = [file for file in files.results if file.exists()]
    if request.as_json:
        facts = {
            "model": request.model,
            "weights": str(files.weights),
            "stop_reason": record.stop_reason,
            "grey": floor,
            "points": points,
            "files": [str(file) for file in written],
        }
        typer.echo(json.dumps(facts, indent=1))
        return
    from rich.table import Table

    from zoo_benchmark.results.learning_curve import COLUMNS

    console = make_console()
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("held-out images", "left grey", request.model, "truth"):
        table.add_column(heading, justify="left" if heading == "held-out images" else "right")
    last = points[-1] if points else {}
    for name, value in _shown(last).items():
        if name not in COLUMNS and not name.endswith("_truth"):
            cells = (floor.get(name), value, last.get(f"{name}_truth"))
            table.add_row(name, *("" if cell is None else f"{cell:.4g}" for cell in cells))
    cost = record.cost
    lines = [
        f"{request.model}: {cost.steps:,} steps, {cost.images:,} images in {cost.seconds:.1f} s, "
        f"{colorizer.parameter_count:,} parameters",
        *(f"written: {file}" for file in written),
        f"to use it: zoo colorize PHOTOS -o OUT --model {request.model} --weights {files.weights}",
    ]
    console.print(lines[0], markup=False, highlight=False)
    console.print(table)
    for line in lines[1:]:
        console.print(line, markup=False, highlight=False)
