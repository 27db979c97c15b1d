"""The command `zoo`: its commands, each in a file of its own, and how an error becomes one line."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from zoo._version import __version__
from zoo.cli import (
    bench,
    check,
    colorize,
    compare,
    export,
    export_test,
    fit,
    info,
    listing,
    lr_find,
    new,
    overfit,
    prior,
    protocols,
    report,
    score,
    weights,
)
from zoo.errors import ZooError

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
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Print the version of the zoo and exit.",
        ),
    ] = False,
) -> None:
    """Compare, train and use colorizers of black-and-white photographs."""


app.command("list")(listing.list_colorizers)
app.command()(listing.datasets)
app.command()(info.info)
app.command()(check.check)
app.command()(new.new)
app.command()(protocols.protocols)
app.command()(bench.bench)
app.command()(report.report)
app.command()(compare.compare)
app.command()(score.score)
app.command()(export_test.export_test)
app.command()(fit.fit)
app.command()(lr_find.lr_find)
app.command()(prior.prior)
app.command()(overfit.overfit)
app.add_typer(weights.app, name="weights")
app.command()(colorize.colorize)
app.command()(export.export)


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
        command = getattr(getattr(error, "ctx", None), "command_path", "") or "zoo"
        return _fail(f"{message.rstrip('.')}; see {command} --help", int(error.exit_code))


def _fail(message: str, code: int = 2) -> int:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return code
