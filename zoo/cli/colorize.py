"""`zoo colorize`: photographs on disk, coloured."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.console import make_console, photograph_bars, print_json, say
from zoo.cli.parameters import Device, JsonFlag, Overwrite, Precision
from zoo.errors import InputError, OptionError, OutputError, WeightsError

if TYPE_CHECKING:
    from zoo.colorizer import Colorizer
    from zoo.pipeline.plan import Job
    from zoo.pipeline.run import Event
    from zoo.prediction.working_size import WorkingSize


def colorize(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Photographs: files, folders (with all that is below them), or patterns in "
            "quotes such as 'scans/*.tif'.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            help="A folder for the coloured photographs; or a file, for one input. [default: "
            "scans-colour/ beside a folder scans/, old-colour.jpg beside a file old.jpg]",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The colorizer's name, as zoo list shows it, and its weights: unet_timm@release, "
            "or unet_timm@mine.safetensors. A name alone takes the weights that came along. "
            "[default: unet_timm@release]"
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Write a sheet of each photograph in grey and as several colorizers see it, "
            "old-models.png, instead: all whose weights are on this computer, or "
            "unet_timm@release,unet_timm@mine.safetensors."
        ),
    ] = None,
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
            help="How cautious the colours are, from 0 (vivid, patchy) to 1 (pale), for colorizers "
            "that choose among colours, such as zhang_rebalanced. [default: as trained]"
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

    Without options, the weights that came along with the zoo are used, and the results lie
    beside the photographs.

    The exit code is 1 where a photograph failed or a folder could not be listed; the others are
    coloured all the same.

    Example: zoo colorize scans/
    """
    from zoo.images.find import PassedOver
    from zoo.pipeline.plan import COLOURED, SHEET, Settings, plan

    if not inputs:
        raise InputError("name photographs to colour: a file, a folder or a pattern, as scans/")
    sheets = models is not None
    if sheets:
        of_one = {"--model": model, "--weights": weights, "--temperature": temperature}
        of_one |= {"--compare": compare or None, "--workers": workers}
        of_one |= {"--batch-size": None if batch_size == "auto" else batch_size}
        if given := [option for option, value in of_one.items() if value is not None]:
            raise OptionError(
                f"--models draws sheets, for which {', '.join(given)} means nothing; leave it out"
            )
        suffix = suffix or _suffix_of_sheet(inputs, out)
    rule = "the batch size must be auto or a number"
    settings = Settings(
        working_size=parse_working_size(working_size),
        saturation=saturation,
        compare=compare,
        overwrite=overwrite,
        batch_size="auto" if batch_size == "auto" else _parse_number(batch_size, rule),
        workers=workers,
    )
    # A model without weights is told before folders are searched.
    name, found = ("", "") if sheets else _model_and_weights(model, weights)
    ending, passed = SHEET if sheets else COLOURED, PassedOver()
    jobs = plan(inputs, out, suffix=suffix, overwrite=overwrite, passed_over=passed, ending=ending)
    if line := passed.line():
        say(f"note: {line}", err=True)
    # What Pillow warns of, such as damaged EXIF, is left out or is an error of that file.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if models is not None:
        from zoo.cli.sheet_models import load_models
        from zoo.pipeline.sheet import draw_sheets

        shown = load_models(models, device=device, precision=precision)
        used = f"by {', '.join(shown)}: likely colours, not the true ones"
        work = partial(draw_sheets, shown, jobs, settings)
    else:
        from zoo.pipeline.run import colorize_files
        from zoo.registry import load

        changes = _temperature(name, temperature)
        colorizer = load(name, found, device=device, precision=precision, **changes)
        used = _used(f"{name}@{found}", colorizer, settings.working_size)
        work = partial(colorize_files, colorizer, jobs, settings)
    outcomes: list[Event] = []
    interrupted, stopped = False, ""
    start = time.perf_counter()
    with _progress(len(jobs)) as show:

        def on_event(event: Event) -> None:
            if event.kind != "note":
                outcomes.append(event)
            show(event)

        try:
            work(on_event)
        except KeyboardInterrupt:
            interrupted = True
        except OutputError as error:
            if not outcomes:
                raise
            stopped = str(error)
    seconds = time.perf_counter() - start
    done = sum(event.kind == "done" for event in outcomes)
    failed = len(outcomes) - done
    if in_colour := [event for event in outcomes if event.had_colour and event.job]:
        say(f"note: {_in_colour(in_colour)}", err=True)
    if as_json:
        print_json(_rows(jobs, outcomes))
    else:
        place = out if out is not None else _place(inputs, jobs, ending)
        say(_summary(jobs, done, failed, seconds, place))
        say(used)
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


def _model_and_weights(model: str | None, weights: str | None) -> tuple[str, str]:
    """The colorizer's name and its weights: those named, those that came along, or the default.

    Raises:
        WeightsError: there are none to take, or nobody says whose they are.
    """
    from zoo.registry import colorizer_class, name_and_weights
    from zoo.weights.published import DEFAULT, weights_for

    if model is None and weights is not None:
        raise WeightsError(f"whose weights are {weights}? Type --model NAME@{weights}")
    name, found = name_and_weights(model or DEFAULT, weights)
    if found is None:
        colorizer_class(name)  # an unknown name is told as such
        found = weights_for(name)
    return name, str(found)


def _temperature(name: str, temperature: float | None) -> dict[str, object]:
    """The change of options that `--temperature` stands for.

    Raises:
        OptionError: the colorizer has no such option.
    """
    from zoo.options import option_names
    from zoo.registry import colorizer_class

    if temperature is None:
        return {}
    options = option_names(colorizer_class(name).Options)
    if "temperature" not in options:
        has = f"its options are {', '.join(options)}" if options else "it has no options"
        raise OptionError(f"{name} has no temperature: {has}; leave --temperature out")
    return {"temperature": temperature}


def _used(label: str, colorizer: Colorizer, working_size: WorkingSize) -> str:
    """What the colours come from, and at which size the network saw the photographs."""
    from zoo.weights.published import UNKNOWN_LICENSE

    license = colorizer.origin.license if colorizer.origin is not None else UNKNOWN_LICENSE
    terms = "" if license == UNKNOWN_LICENSE else f"{license}; "
    said = f"by {label} ({terms}likely colours, not the true ones)"
    if working_size == "auto":
        if colorizer.working_size is None:  # it is fixed inside
            return said
        working_size = colorizer.working_size
    size = f"{working_size} × {working_size}" if colorizer.info.squashed else f"{working_size}"
    seen = "its own size" if working_size == "full" else f"{size} px"
    return f"{said}, seen by the network at {seen}, which --working-size changes"


def _in_colour(events: list[Event]) -> str:
    assert events[0].job is not None
    what = (
        f"{events[0].job.source} was"
        if len(events) == 1
        else f"{len(events)} photographs (such as {events[0].job.source}) were"
    )
    return f"{what} in colour or tinted, and coloured anew from the lightness alone"


def _suffix_of_sheet(inputs: list[str], out: str | None) -> str:
    """The format of sheets: PNG, unless the one output that is named has another."""
    from zoo.images.write import find_format

    ending = Path(out).suffix if out is not None and len(inputs) == 1 else ""
    named = ending and Path(inputs[0]).is_file() and find_format(ending) is not None
    return ending if named else "png"


def _place(inputs: list[str], jobs: list[Job], ending: str) -> str:
    """Where the results lie that nobody named a place for."""
    from zoo.pipeline.plan import beside_folder

    if len(inputs) == 1 and Path(inputs[0]).is_dir():
        return f"{beside_folder(inputs[0], ending)}{os.sep}"
    others = f", and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    return f"{jobs[0].target}{others}"


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
