"""`zoo colorize`: photographs on disk, coloured."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.console import make_console, photograph_bars, print_json, say
from zoo.cli.parameters import Device, JsonFlag, Overwrite, Precision
from zoo.errors import OptionError, OutputError, WeightsError

if TYPE_CHECKING:
    from zoo.pipeline.plan import Job
    from zoo.pipeline.run import Event
    from zoo.prediction.working_size import WorkingSize


def colorize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Photographs: files, folders (with all that is below them), or patterns in "
            "quotes such as 'scans/*.tif'."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "-o", "--out", help="A folder for the coloured photographs; or a file, for one input."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="The colorizer's name, as zoo list shows it, and its weights: unet_timm@release, "
            "or unet_timm@mine.safetensors."
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="What the colorizer has learnt, where --model names it alone: a file that zoo fit "
            "or zoo bench wrote, or a name that zoo weights list shows."
        ),
    ] = None,
    working_size: Annotated[
        str,
        typer.Option(
            help="Short side in pixels at which the network sees a photograph; the output keeps "
            "its full size. Or full: each photograph's own; or auto: the size that the "
            "weights were trained at, 256 where they do not say."
        ),
    ] = "auto",
    suffix: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="File format to write, as png, jpg, tif or webp. [default: each file's own]",
        ),
    ] = None,
    overwrite: Overwrite = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Write pictures of grey and colour side by side instead."),
    ] = False,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="For colorizers that choose among colours, such as zhang_rebalanced: 0 is "
            "daring, 1 timid. [default: as trained]"
        ),
    ] = None,
    saturation: Annotated[
        float,
        typer.Option(help="Factor on the strength of the colours: above 0, at most 3."),
    ] = 1.0,
    batch_size: Annotated[
        str,
        typer.Option(
            help="How many photographs go through the network at once; auto measures which "
            "number is fastest."
        ),
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(help="Threads that read files, and as many that write. [default: up to 4]"),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Colour photographs, at their full size and own lightness.

    The exit code is 1 where a photograph failed or a folder could not be listed; the others are
    coloured all the same.

    Example: zoo colorize scans/ -o coloured/ --model zhang_rebalanced@eccv16
    """
    import dataclasses

    from zoo.images.find import PassedOver
    from zoo.pipeline.plan import Settings, plan
    from zoo.pipeline.run import colorize_files
    from zoo.registry import colorizer_class, load, name_and_weights

    rule = "the batch size must be auto or a number"
    settings = Settings(
        working_size=parse_working_size(working_size),
        saturation=saturation,
        compare=compare,
        overwrite=overwrite,
        batch_size="auto" if batch_size == "auto" else _parse_number(batch_size, rule),
        workers=workers,
    )
    name, found = name_and_weights(model, weights)
    if found is None:
        raise WeightsError(
            f"{name} needs weights: type --model {name}@FILE.safetensors, as zoo fit and zoo "
            "bench write them (runs/<time>/weights), or a name of zoo weights list"
        )
    passed = PassedOver()
    jobs = plan(inputs, out, suffix=suffix, overwrite=overwrite, passed_over=passed)
    if line := passed.line():
        say(f"note: {line}", err=True)
    # What Pillow warns of, such as damaged EXIF, is left out or is an error of that file.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    changes: dict[str, object] = {}
    if temperature is not None:
        options = [f.name for f in dataclasses.fields(colorizer_class(name).Options)]
        if "temperature" not in options:
            has = f"its options are {', '.join(options)}" if options else "it has no options"
            raise OptionError(f"{name} has no temperature: {has}; leave --temperature out")
        changes["temperature"] = temperature
    colorizer = load(name, found, device=device, precision=precision, **changes)
    outcomes: list[Event] = []
    interrupted, stopped = False, ""
    start = time.perf_counter()
    with _progress(len(jobs)) as show:

        def on_event(event: Event) -> None:
            if event.kind != "note":
                outcomes.append(event)
            show(event)

        try:
            colorize_files(colorizer, jobs, settings, on_event)
        except KeyboardInterrupt:
            interrupted = True
        except OutputError as error:
            if not outcomes:
                raise
            stopped = str(error)
    seconds = time.perf_counter() - start
    done = sum(event.kind == "done" for event in outcomes)
    failed = len(outcomes) - done
    if as_json:
        print_json(_rows(jobs, outcomes))
    else:
        say(_summary(jobs, done, failed, seconds, out))
        if settings.working_size == "auto" and colorizer.working_size is not None:
            size = str(colorizer.working_size)
            size += f" × {size}" if colorizer.info.squashed else ""
            say(f"seen by the network at {size} px, which --working-size changes")
    if interrupted:
        say("interrupted: the files that were finished are whole", err=True)
        raise typer.Exit(130)
    if stopped:
        say(f"{stopped}: the files that were finished are whole", err=True)
    if failed or passed.failed:
        raise typer.Exit(1)


def _parse_number(text: str, rule: str) -> int:
    """A number, where the words that stand for one were no match.

    Raises:
        OptionError: it is none; `rule` says what would be.
    """
    try:
        return int(text)
    except ValueError:
        raise OptionError(f"{rule}, got {text!r}") from None


def parse_working_size(text: str) -> WorkingSize:
    """A working size as it is typed.

    Raises:
        OptionError: it is neither a number nor one of the words.
    """
    if text == "auto":
        return "auto"
    if text == "full":
        return "full"
    return _parse_number(text, "the working size must be auto, full or a number of pixels")


def _summary(jobs: list[Job], done: int, failed: int, seconds: float, out: str) -> str:
    of = "" if done == len(jobs) else f" of {len(jobs)}"
    noun = "photograph" if len(jobs) == 1 else "photographs"
    bad = f", {failed} failed" if failed else ""
    rate = f"{done / seconds:.3g} images/s" if done else "no images/s"
    return f"{done}{of} {noun} coloured in {seconds:.1f} s ({rate}){bad}: {out}"


def _rows(jobs: list[Job], outcomes: list[Event]) -> list[dict[str, str | None]]:
    told = {event.job: event for event in outcomes}
    rows: list[dict[str, str | None]] = []
    for job in jobs:
        event = told.get(job)
        row: dict[str, str | None] = {
            "input": str(job.source),
            "output": str(job.target),
            "status": event.kind if event else "not started",
        }
        if event and event.message:
            row["reason"] = event.message
        rows.append(row)
    return rows


def _line(event: Event) -> str:
    what = "error: " if event.kind == "failed" else "note: "
    where = f"{event.job.source}: " if event.job else ""
    return f"{what}{where}{event.message}"


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[Event], None]]:
    """Shows events: a bar with its rate on a terminal, lines for what went wrong anywhere."""
    console = make_console(stderr=True)
    if not console.is_terminal:

        def tell(event: Event) -> None:
            if event.kind != "done":
                say(_line(event), err=True)

        yield tell
        return

    start = time.perf_counter()
    with photograph_bars(console) as progress:
        task = progress.add_task("", total=total, rate="", name="")
        count = 0

        def advance(event: Event) -> None:
            nonlocal count
            if event.kind != "done":
                progress.console.print(_line(event), highlight=False, soft_wrap=True)
            if event.kind != "note":
                count += 1
                rate = f"{count / (time.perf_counter() - start):.3g} images/s"
                name = Path(event.job.source).name if event.job else ""
                progress.update(task, completed=count, rate=rate, name=name)

        yield advance
