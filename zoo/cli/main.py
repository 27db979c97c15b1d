"""The command `zoo`: what can be typed; each command's work is in a module of its own."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo._version import __version__
from zoo.cli import authors, weights
from zoo.cli.parameters import (
    Device,
    JsonFlag,
    LPIPSWeights,
    Precision,
    WeightsFiles,
    named_files,
)
from zoo.cli.training_commands import add_training_commands
from zoo.errors import ZooError

if TYPE_CHECKING:
    pass

app = typer.Typer(
    name="zoo",
    help="Compare, train and use colorizers of black-and-white photographs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"colorizer-zoo {__version__}")
        raise typer.Exit


@app.callback()
def _zoo(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Compare, train and use colorizers of black-and-white photographs."""


@app.command("list")
def list_command(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Check each in a process of its own.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the installed colorizers, broken ones included."""
    from zoo.cli.listing import list_plugins

    list_plugins("zoo.colorizers", verbose=verbose, as_json=as_json)


@app.command()
def datasets(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Check each in a process of its own.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the installed datasets: what --dataset takes."""
    from zoo.cli.listing import list_plugins

    list_plugins("zoo.datasets", verbose=verbose, as_json=as_json)


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="A colorizer, as zoo list names it.")],
    as_json: JsonFlag = False,
) -> None:
    """Show a colorizer's paper, departures from it, presets and options."""
    from zoo.cli.listing import show_info

    show_info(name, as_json=as_json)


app.command()(authors.check)
app.command()(authors.new)


@app.command()
def protocols(
    name: Annotated[
        str | None, typer.Argument(help="One of them, or a file: shows all that it fixes.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the named rules of comparison: what zoo bench --protocol takes."""
    from zoo.cli.bench import show_protocols

    show_protocols(name, as_json=as_json)


@app.command()
def bench(
    models: Annotated[
        str,
        typer.Option(help="all, or NAME[:opt=value][,opt=value][,NAME…]."),
    ] = "all",
    protocol: Annotated[
        str, typer.Option(help="The rules, a name or a TOML file; see zoo protocols.")
    ] = "quick@1",
    dataset: Annotated[
        str | None,
        typer.Option(
            help="photos, cifar10, folder:PATH, …; see zoo datasets. [default: the protocol's]"
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Per model: 20s, 10min, 500steps, 50kimages, 2PFLOP. [default: the protocol's]"
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the images in pixels. [default: the protocol's]")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="small or paper. [default: the protocol's]")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Repetitions. [default: the protocol's]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The base of all seeds. [default: the protocol's]")
    ] = None,
    learning_rate: Annotated[
        str | None,
        typer.Option(
            "--lr",
            help="options, or find: each searches its own in its budget. [default: the protocol's]",
        ),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="NAME[,NAME…]. [default: the protocol's]")
    ] = None,
    references: Annotated[
        bool,
        typer.Option("--references/--no-references", help="Frame the table: floors and ceilings."),
    ] = True,
    device: Device = "auto",
    precision: Precision = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; one of before goes on. [default: runs/<time>]"),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME.option=value; may be repeated.")
    ] = None,
    weights_file: WeightsFiles = None,
    lpips_weights: LPIPSWeights = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds after which a model counts as hanging. "
            "[default: one and a half budgets and half an hour; a day where the budget is no time]"
        ),
    ] = None,
    throughput: Annotated[
        bool, typer.Option("--throughput/--no-throughput", help="Time prediction, too.")
    ] = True,
    jobs: Annotated[int, typer.Option(help="Models trained side by side.")] = 1,
    executor: Annotated[
        str, typer.Option(help="local, or ray[=ADDRESS]: a cluster (extra: ray).")
    ] = "local",
    force: Annotated[
        list[str] | None,
        typer.Option(help="A model to train again although it is finished; may be repeated."),
    ] = None,
    collect_only: Annotated[
        bool, typer.Option("--collect-only", help="Train nothing: the table of what is finished.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train colorizers under equal budgets and compare them."""
    from zoo.cli.bench import bench_command
    from zoo_benchmark.settings import BenchSettings

    code = bench_command(
        BenchSettings(
            models=models,
            protocol=protocol,
            dataset=dataset,
            budget=budget,
            size=size,
            preset=preset,
            seeds=seeds,
            seed=seed,
            learning_rate=learning_rate,
            references=references,
            device=device,
            precision=precision,
            out=out,
            settings=settings or (),
            metrics=metrics,
            weights_files=named_files(weights_file, lpips_weights),
            timeout=timeout,
            throughput=throughput,
            jobs=jobs,
            executor=executor,
            force=force or (),
            collect_only=collect_only,
            command=("zoo", *sys.argv[1:]),
        ),
        as_json=as_json,
    )
    if code:
        raise typer.Exit(code)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run of zoo bench.")],
    at: Annotated[
        str | None,
        typer.Option(help="The table as it stood earlier: 10s, 100steps, 5kimages, 1TFLOP."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Draw the tables, pictures and report.html of a run anew."""
    from zoo.cli.bench import report_command

    report_command(run, at, as_json=as_json)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="The folder of a run of zoo bench.")],
    run_b: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: JsonFlag = False,
) -> None:
    """Show what changed between two runs: scores, speed and environment."""
    from zoo.cli.compare import compare_command

    if code := compare_command(run_a, run_b, as_json=as_json):
        raise typer.Exit(code)


@app.command()
def score(
    pred: Annotated[Path, typer.Option(help="A folder of pictures that any program coloured.")],
    truth: Annotated[
        Path | None, typer.Option(help="The folder of the originals, of the same names.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call them. [default: the folder's name]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for scores.csv.")] = None,
    add_to: Annotated[
        Path | None,
        typer.Option(help="A run of zoo bench, whose test images they are: adds a row to it."),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="NAME[,NAME…]. [default: all usual ones]")
    ] = None,
    weights_file: WeightsFiles = None,
    lpips_weights: LPIPSWeights = None,
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there under that name.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Score pictures of any program with the metrics of the bench."""
    from zoo.cli.score import Request, score_command

    score_command(
        Request(
            pred=pred,
            truth=truth,
            name=name,
            out=out,
            add_to=add_to,
            metrics=metrics,
            weights_files=named_files(weights_file, lpips_weights),
            device=device,
            overwrite=overwrite,
            as_json=as_json,
        )
    )


@app.command("export-test")
def export_test(
    run: Annotated[Path, typer.Argument(help="The folder of a run of zoo bench.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A new folder.")],
) -> None:
    """Write a run's test images, grey and true, for other programs to colour."""
    from zoo.cli.score import export_command

    export_command(run, out)


add_training_commands(app)
app.add_typer(weights.app, name="weights")


@app.command()
def colorize(
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders (with all below), patterns in quotes.")
    ],
    out: Annotated[
        str, typer.Option("-o", "--out", help="A folder; or a file, for one input file.")
    ],
    model: Annotated[str, typer.Option(help="A colorizer, as zoo list names it.")],
    weights: Annotated[
        str | None,
        typer.Option(help="Its weights: a file of zoo fit or zoo bench, or a published name."),
    ] = None,
    working_size: Annotated[
        int | None,
        typer.Option(
            help="Short side in pixels of what the network sees. "
            "[default: as the weights were trained, else 256]"
        ),
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option("--format", help="png, jpg, tif, webp, bmp, … [default: each file's own]"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Write grey and colour side by side.")
    ] = False,
    temperature: Annotated[
        float | None,
        typer.Option(help="Of decoders that have one: 0 is daring, 1 timid. [default: as trained]"),
    ] = None,
    saturation: Annotated[
        float, typer.Option(help="What the predicted chroma is multiplied by, up to 3.")
    ] = 1.0,
    batch_size: Annotated[
        str, typer.Option(help="Photographs per pass of the network; auto: as many as are fastest.")
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(help="Threads that read, and as many that write. [default: up to 4]"),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Colour photographs: the original size, their own lightness untouched."""
    from zoo.cli.colorize import Request, colorize_command, parse_batch_size
    from zoo.pipeline.plan import Settings

    code = colorize_command(
        Request(
            inputs=inputs,
            out=out,
            model=model,
            weights=weights,
            suffix=suffix,
            temperature=temperature,
            device=device,
            precision=precision,
            settings=Settings(
                working_size=working_size,
                saturation=saturation,
                compare=compare,
                overwrite=overwrite,
                batch_size=parse_batch_size(batch_size),
                workers=workers,
            ),
            as_json=as_json,
        )
    )
    if code:
        raise typer.Exit(code)


def main() -> int:
    """Runs the command line; every expected error is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or file in an older encoding shows "?" for what it cannot, and goes on.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        # Outside of standalone mode an Exit is returned, not raised.
        return int(app(prog_name="zoo", standalone_mode=False) or 0)
    except ZooError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except Exception as error:
        # Click's usage errors know how to show themselves.
        if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
            raise
        message = error.format_message()
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(f"{message}\n")
            return int(error.exit_code)
        return _fail(f"{message.rstrip('.')}; see {_help_of(error)}", int(error.exit_code))


def _help_of(error: Exception) -> str:
    path = getattr(getattr(error, "ctx", None), "command_path", "") or "zoo"
    return f"{path} --help"


def _fail(message: str, code: int = 2) -> int:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return code
