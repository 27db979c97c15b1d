"""`zoo fit`: training on one's own images, from the command line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.console import StageBars, make_console, make_table, print_json, say
from zoo.cli.parameters import (
    CROP_SCALE_HELP,
    FLOP_HELP,
    STORED_SIZE_HELP,
    Device,
    JsonFlag,
    LPIPSWeights,
    Model,
    Overwrite,
    Precision,
    Seed,
    Set,
    Size,
    WeightsFiles,
    named_files,
)
from zoo.cli.signals import handled
from zoo.errors import InputError, OptionError, OutputError

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.colorizer import Colorizer
    from zoo.cost import Cost
    from zoo.data.dataset import ImageSet
    from zoo.metric import Metric
    from zoo.training.checkpoint import Checkpoint
    from zoo_benchmark.validation import Files, Validation


def fit(
    model: Model,
    data: Annotated[
        str,
        typer.Option(help="Images to train on: folder:PATH, or a name that zoo datasets shows."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="The weights to write, a .safetensors file; reports go beside it."
        ),
    ],
    budget: Annotated[
        str,
        typer.Option(
            help=f"When to stop: after 30min, 2h, 5000steps, 50kimages or 2PFLOP; {FLOP_HELP}."
        ),
    ] = "10min",
    size: Size = None,
    input_variety: Annotated[
        bool,
        typer.Option(
            "--input-variety/--no-input-variety",
            help="Show the network blurred, noisy, faded, specked and JPEG-compressed copies among "
            "the clean ones; the colours to be learnt stay.",
        ),
    ] = True,
    crop_scale: Annotated[
        str,
        typer.Option(help=CROP_SCALE_HELP),
    ] = "1,1",
    stored_size: Annotated[
        int | None,
        typer.Option(help=f"{STORED_SIZE_HELP} [default: --size]"),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Size of the network: small for laptops, or paper as it was published. "
            "[default: small]"
        ),
    ] = None,
    settings: Set = None,
    initial: Annotated[
        str | None,
        typer.Option(
            "--init",
            help="Weights to start from: a file, or a name that zoo weights list shows. "
            "unet_timm@release names both.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with a training that was stopped, from its last save."
        ),
    ] = False,
    checkpoint_every: Annotated[
        float, typer.Option(help="Seconds between two saves of the unfinished training.")
    ] = 60.0,
    metrics: Annotated[
        str,
        typer.Option(help="How to measure progress on images kept out of training: NAME[,NAME…]."),
    ] = "psnr,lpips,colourfulness",
    weights_file: WeightsFiles = None,
    lpips_weights: LPIPSWeights = None,
    learning_rate: Annotated[
        str,
        typer.Option(
            "--lr",
            help="Learning rate: options (the colorizer's own), or find (searched first, inside "
            "the budget).",
        ),
    ] = "options",
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a colorizer on your own images and save its weights.

    Ctrl-C stops it; the same command with --resume goes on.

    Example: zoo fit unet_timm --data folder:photos/ -o mine.safetensors --budget 30min
    """
    from zoo import registry
    from zoo.data.containers import check_size
    from zoo.data.jpeg_blocks import block_note
    from zoo.options import read_settings
    from zoo.training.budget import Budget
    from zoo.training.checkpoint import Checkpoint
    from zoo.training.session import training_identity
    from zoo.training.variety import Variety, read_crop_scale
    from zoo.weights.file import find_weights
    from zoo.weights.rescue import save_somewhere
    from zoo_benchmark.run.scoring import metric_names
    from zoo_benchmark.validation import Files, Validation

    files = Files(out.expanduser())
    with _alone(files):
        # Whatever can be found out before the images are read comes first.
        model, start = registry.name_and_weights(model, initial)
        initial = None if start is None else str(start)
        limit = Budget.parse(budget)
        if learning_rate not in ("options", "find"):
            raise OptionError(f"--lr is options or find, got {learning_rate!r}")
        wanted = metric_names(metrics)
        named = named_files(weights_file, lpips_weights)
        changes = read_settings(settings or ()) | {"device": device, "precision": precision}
        colorizer = _open_colorizer(model, preset, initial, changes)
        check_size(size, colorizer.multiple, colorizer.minimum_size)
        dataset = registry.open_dataset(data)
        side = dataset.info.native_size if size is None else size
        variety = Variety(input_variety, read_crop_scale(crop_scale), stored_size)
        stored = variety.stored(side)
        _check_files(files, resume=resume, overwrite=overwrite)
        console = make_console(stderr=True)
        view = _View(console, model)
        checkpoint = Checkpoint(files.checkpoint, checkpoint_every, _note, view.resumed)
        if resume:
            identity = training_identity(
                colorizer,
                limit,
                seed=seed,
                data_seed=None,
                variety=variety,
                find_learning_rate=learning_rate == "find",
                initial=None if initial is None else find_weights(initial, type(colorizer)),
            )
            checkpoint.read(identity)
        sides = {"train": stored, "test": side}
        images = {split: _load(dataset, split, sides[split], console) for split in sides}
        opened, notes = _open_metrics(wanted, named, colorizer, images["test"], console)
        for split, images_of_split in images.items():
            notes += [f"{split}: {note}" for note in images_of_split.left_out()]
        if note := block_note(images["train"]):
            notes.append(f"train: {note}")
        for note in notes:
            _note(note)

        if overwrite and not resume:
            checkpoint.remove()
        validation = Validation(
            colorizer,
            images["test"],
            opened,
            limit,
            files,
            title=f"{model} on {data}, {limit}",
            on_point=view.point,
            on_problem=_note,
        )
        floor = validation.floor()
        with _stoppable(checkpoint) as stopped_by:
            try:
                with view.shown(validation, checkpoint):
                    colorizer.fit(
                        images["train"],
                        budget=limit,
                        seed=seed,
                        size=side,
                        input_variety=variety.input,
                        crop_scale=variety.crop_scale,
                        stored_size=variety.stored_size,
                        find_learning_rate=learning_rate == "find",
                        initial=initial,
                        checkpoint=checkpoint,
                        on_step=view.step,
                    )
                saved, problem = save_somewhere(colorizer.save, files.weights, _ask_for_room)
                validation.finish()
            except KeyboardInterrupt:
                raise typer.Exit(_interrupted(checkpoint, stopped_by)) from None
            except OutputError as error:
                raise OutputError(f"{error}{_way_on(checkpoint)}") from error
            if not problem:
                checkpoint.remove()
        _show(model, colorizer, validation, files, saved, floor, as_json=as_json)
        if problem:
            told = f"{problem}; the weights are in {saved}: move them"
            say(f"error: {told}{_way_on(checkpoint)}", err=True)
            raise typer.Exit(1)


def _note(text: str) -> None:
    say(f"note: {text}", err=True)


@contextlib.contextmanager
def _alone(files: Files) -> Iterator[None]:
    """A block in which no other `zoo fit` on this machine writes the same files."""
    import hashlib

    from filelock import Timeout

    from zoo.files import cache_errors, cache_folder, locked, remove_leftovers

    name = hashlib.sha256(os.fsencode(os.path.realpath(files.weights))).hexdigest()
    lock = locked(cache_folder() / "locks" / f"{name}.lock", 0, _note)
    with contextlib.ExitStack() as stack:
        try:
            with cache_errors("locks"):
                stack.enter_context(lock)
        except Timeout:
            raise InputError(
                f"{files.weights} is being trained by another process; wait for it, or name "
                "another with -o"
            ) from None
        remove_leftovers([files.checkpoint, *files.results])
        yield


def _open_colorizer(
    model: str, preset: str | None, initial: str | None, changes: dict[str, object]
) -> Colorizer:
    """The colorizer with the options of its preset, or of the weights that it starts from."""
    from zoo import registry

    if initial is None:
        cls = registry.trainable_class(model)
        return cls(cls.preset(preset or "small"), **changes)  # type: ignore[arg-type]
    if preset is not None:
        raise OptionError(
            f"--init {initial} brings its own options; leave --preset {preset} "
            "out, and change single ones with --set option=value"
        )
    # Loaded as a whole: tells now, not after an hour, if they do not fit.
    return registry.load(model, initial, **changes)  # type: ignore[arg-type]


def _check_files(files: Files, *, resume: bool, overwrite: bool) -> None:
    from zoo.cli.outputs import check_outputs, output_paths

    output_paths(files.weights, ".safetensors", overwrite=True)
    unfinished = files.checkpoint.exists()
    if resume and not unfinished:
        raise InputError(f"there is nothing to resume: no {files.checkpoint}; leave --resume out")
    if unfinished and not (resume or overwrite):
        raise InputError(
            f"{files.checkpoint} is an unfinished training: type --resume to go on with it, "
            "or --overwrite to begin anew"
        )
    # A resumed training goes on in its own tables and pictures; weights are never its own.
    mine = [files.weights] if resume else files.results
    check_outputs(mine, overwrite=overwrite)


def _load(dataset: Any, split: Any, size: int, console: Console) -> ImageSet:
    with StageBars(console) as bars:
        images: ImageSet = dataset.open(split, size, bars.bar(f"{dataset.info.name} {split}"))
        return images


def _open_metrics(
    names: Sequence[str],
    weights_files: Mapping[str, Path],
    colorizer: Colorizer,
    held_out: ImageSet,
    console: Console,
) -> tuple[list[Metric], list[str]]:
    """The metrics that can work here, and why the others cannot."""
    from zoo.metric import MetricContext
    from zoo_benchmark.metrics.weights_files import find_metric_files
    from zoo_benchmark.run.scoring import open_metrics

    with StageBars(console) as bars:
        files = find_metric_files(names, weights_files, progress=bars.bar("metrics"))
    context = MetricContext(colorizer.device, held_out.images)
    metrics, unavailable = open_metrics(names, context, held_out.size, files)
    return metrics, [f"{name} is not measured: {why}" for name, why in unavailable.items()]


class _View:
    """The display of a training: a bar for people, and a line for everyone at each evaluation."""

    def __init__(self, console: Console, model: str) -> None:
        self._console, self._model = console, model

    @contextlib.contextmanager
    def shown(self, validation: Validation, checkpoint: Checkpoint) -> Iterator[None]:
        """Shows the bar while the block runs."""
        self._validation, self._checkpoint = validation, checkpoint
        with StageBars(self._console) as bars:
            self._bar = bars.bar(self._model)
            self._bar("starting", 0, 1)
            yield

    def resumed(self, checkpoint: Checkpoint) -> None:
        """Says that an unfinished training goes on, before its first step."""
        self._validation.resume(checkpoint.notes)
        self._say(f"resumed after {checkpoint.resumed_steps:,} steps")

    def step(self, feed: Any) -> None:
        """Passes a step on to the validation, and moves the bar."""
        self._validation.step(feed)
        cost = feed.cost
        rate = cost.images / cost.seconds if cost.seconds else 0.0
        loss = f", loss {feed.curve.points[-1]['loss']:.3f}" if feed.curve.points else ""
        state = f"{cost.steps:,} steps, {rate:,.0f} images/s{loss}"
        self._bar(state, feed.progress, 1)

    def point(self, share: float, cost: Cost, metrics: dict[str, float]) -> None:
        """Prints the metrics of an evaluation, and notes them for the checkpoint."""
        self._checkpoint.notes.update(self._validation.notes())
        values = (f"{name} {value:.4g}" for name, value in _shown(metrics).items())
        minutes, seconds = divmod(int(cost.seconds), 60)
        spent = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
        self._say(f"{share:4.0%}  {spent}  {cost.steps:,} steps: {', '.join(values)}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


def _shown(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics without those that follow from the others."""
    from zoo_benchmark.metrics import DIFFERENCE

    return {name: value for name, value in metrics.items() if not name.endswith(DIFFERENCE)}


@contextlib.contextmanager
def _stoppable(checkpoint: Checkpoint) -> Iterator[list[int]]:
    """Lets Ctrl-C and `kill` end training after the step under way; a second one at once."""
    received: list[int] = []

    def stop(number: int) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        say("\nstopping after this step; again to stop at once", err=True)
        checkpoint.stop()

    with handled(stop, signal.SIGINT):
        yield received


def _ask_for_room(problem: str) -> bool:
    """Waits for a person to make room; False where none is there, or wants to."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    say(f"error: {problem}", err=True)
    say(
        "make room there and press Enter to try again, or Ctrl-C to keep the weights elsewhere",
        err=True,
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        input()
    except (KeyboardInterrupt, EOFError):
        return False
    finally:
        signal.signal(signal.SIGINT, before)
    return True


def _way_on(checkpoint: Checkpoint) -> str:
    """How to go on where there was no room for the weights, but was for the checkpoint."""
    if not checkpoint.path.exists():
        return ""
    return (
        f"; {checkpoint.path} is kept: where there is room again, the same command with --resume "
        "writes all"
    )


def _interrupted(checkpoint: Checkpoint, stopped_by: Sequence[int]) -> int:
    if checkpoint.kept_in is not None:
        say(
            f"interrupted: move {checkpoint.kept_in} to {checkpoint.path} where there is room, and "
            "type the same command with --resume to go on",
            err=True,
        )
    elif checkpoint.path.exists():
        say(
            f"interrupted: {checkpoint.path} is kept; type the same command with --resume to go on",
            err=True,
        )
    else:
        say("interrupted before anything could be kept", err=True)
    return 128 + next(iter(stopped_by), signal.SIGINT)


def _show(
    model: str,
    colorizer: Colorizer,
    validation: Validation,
    files: Files,
    saved: Path,
    floor: dict[str, float],
    *,
    as_json: bool,
) -> None:
    record = colorizer.record
    assert record is not None
    points = validation.points()
    written = [saved, *(file for file in files.reports if file.exists())]
    if as_json:
        facts = {
            "model": model,
            "weights": str(saved),
            "stop_reason": record.stop_reason,
            "grey": floor,
            "points": points,
            "files": [str(file) for file in written],
        }
        print_json(facts)
        return
    from zoo_benchmark.metrics import TRUTH
    from zoo_benchmark.run.learning_curve import COLUMNS

    console = make_console()
    numbers = ("left grey", model, "truth")
    table = make_table("held-out images", *numbers, right=numbers)
    last = points[-1] if points else {}
    for name, value in _shown(last).items():
        if name not in COLUMNS and not name.endswith(TRUTH):
            cells = (floor.get(name), value, last.get(f"{name}{TRUTH}"))
            table.add_row(name, *("" if cell is None else f"{cell:.4g}" for cell in cells))
    cost = record.cost
    lines = [
        f"{model}: {cost.steps:,} steps, {cost.images:,} images in {cost.seconds:.1f} s, "
        f"{colorizer.parameter_count:,} parameters",
        *(f"written: {file}" for file in written),
        f"to use it: zoo colorize PHOTOS -o OUT --model {model}@{saved}",
    ]
    console.print(lines[0], highlight=False)
    console.print(table)
    for line in lines[1:]:
        console.print(line, highlight=False)
