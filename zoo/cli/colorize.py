"""`zoo colorize`: photographs on disk, coloured."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

from zoo.cli.console import make_console, photograph_bars
from zoo.errors import OptionError, OutputError, WeightsError
from zoo.pipeline.plan import Job, Settings, plan
from zoo.pipeline.run import Event, colorize_files
from zoo.prediction.working_size import WorkingSize
from zoo.registry import colorizer_class, load


@dataclass(frozen=True)
class Request:
    """The command line, as typed."""

    inputs: list[str]
    out: str
    model: str
    weights: str | None
    suffix: str | None
    temperature: float | None
    device: str
    precision: str
    settings: Settings
    as_json: bool


def parse_batch_size(text: str) -> int | Literal["auto"]:
    """`auto`, or a number.

    Raises:
        OptionError: neither.
    """
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise OptionError(f"the batch size must be auto or a number, got {text!r}") from None


def parse_working_size(text: str) -> WorkingSize:
    """`auto`, `full`, or a number.

    Raises:
        OptionError: none of them.
    """
    if text == "auto":
        return "auto"
    if text == "full":
        return "full"
    try:
        return int(text)
    except ValueError:
        raise OptionError(
            f"the working size must be auto, full or a number of pixels, got {text!r}"
        ) from None


def colorize_command(request: Request) -> int:
    """Does it; returns the exit code: 0, 1 where a file failed, 130 where interrupted."""
    if request.weights is None:
        raise WeightsError(
            f"{request.model} needs weights: type --weights FILE.safetensors, as zoo fit and zoo "
            "bench write them (runs/<time>/weights), or a name of zoo weights list"
        )
    jobs = plan(
        request.inputs,
        request.out,
        suffix=request.suffix,
        overwrite=request.settings.overwrite,
    )
    # What Pillow warns of, such as damaged EXIF, is left out or is an error of that file.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    changes: dict[str, object] = {}
    if request.temperature is not None:
        options = [f.name for f in dataclasses.fields(colorizer_class(request.model).Options)]
        if "temperature" not in options:
            has = f"its options are {', '.join(options)}" if options else "it has no options"
            raise OptionError(f"{request.model} has no temperature: {has}; leave --temperature out")
        changes["temperature"] = request.temperature
    colorizer = load(
        request.model,
        request.weights,
        device=request.device,
        precision=request.precision,
        **changes,
    )
    outcomes: list[Event] = []
    interrupted, stopped = False, ""
    start = time.perf_counter()
    with _progress(len(jobs)) as show:

        def on_event(event: Event) -> None:
            if event.kind != "note":
                outcomes.append(event)
            show(event)

        try:
            colorize_files(colorizer, jobs, request.settings, on_event)
        except KeyboardInterrupt:
            interrupted = True
        except OutputError as error:
            if not outcomes:
                raise
            stopped = str(error)
    seconds = time.perf_counter() - start
    done = sum(event.kind == "done" for event in outcomes)
    failed = len(outcomes) - done
    if request.as_json:
        typer.echo(json.dumps(_rows(jobs, outcomes), indent=1))
    else:
        typer.echo(_summary(jobs, done, failed, seconds, request.out))
        if request.settings.working_size == "auto":
            size = colorizer.working_size
            typer.echo(f"seen by the network at {size} px, which --working-size changes")
    if interrupted:
        typer.echo("interrupted: the files that were finished are whole", err=True)
        return 130
    if stopped:
        typer.echo(f"{stopped}: the files that were finished are whole", err=True)
    return 1 if failed else 0


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
                sys.stderr.write(f"{_line(event)}\n")

        yield tell
        return

    start = time.perf_counter()
    with photograph_bars(console) as progress:
        task = progress.add_task("", total=total, rate="", name="")
        count = 0

        def advance(event: Event) -> None:
            nonlocal count
            if event.kind != "done":
                progress.console.print(_line(event), markup=False, highlight=False, soft_wrap=True)
            if event.kind != "note":
                count += 1
                rate = f"{count / (time.perf_counter() - start):.3g} images/s"
                name = Path(event.job.source).name if event.job else ""
                progress.update(task, completed=count, rate=rate, name=name)

        yield advance
