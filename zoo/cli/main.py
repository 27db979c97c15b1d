"""The command `zoo`: its commands, each in a file of its own, and how an error becomes one line."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from typing import Annotated, TextIO

import typer

from zoo._version import __version__
from zoo.cli import (
    bench,
    check,
    colorize,
    compare,
    conditions,
    export,
    export_test,
    fit,
    info,
    listing,
    lr_find,
    new,
    overfit,
    page,
    prior,
    protocols,
    published,
    report,
    score,
    weights,
)
from zoo.cli.console import say
from zoo.cli.signals import handled
from zoo.errors import ZooError
from zoo.files import way_out
from zoo.text import docstring, one_line, visible

_INTERRUPTED = 130

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
app.command()(published.published)
app.command()(bench.bench)
app.command()(report.report)
app.command()(compare.compare)
app.command()(score.score)
app.command()(conditions.conditions)
app.command()(export_test.export_test)
app.command()(fit.fit)
app.command()(lr_find.lr_find)
app.command()(prior.prior)
app.command()(overfit.overfit)
app.add_typer(weights.app, name="weights")
app.command()(colorize.colorize)
app.command()(export.export)
app.command()(page.page)


def main() -> int:
    """Runs the command line; every expected error is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or file in an older encoding shows "?" for what it cannot, and goes on.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    _read_as_they_are()
    if sys.flags.optimize > 1:
        _add_help(app)
    ended_by: list[int] = []

    def end(number: int) -> None:
        # As Ctrl-C does: what is being written is finished or taken away again.
        ended_by.append(number)
        raise KeyboardInterrupt

    with handled(end):
        code = _run()
    return 128 + ended_by[0] if ended_by and code == _INTERRUPTED else code


def _run() -> int:
    try:
        # Outside of standalone mode an Exit is returned, not raised.
        return int(app(prog_name="zoo", standalone_mode=False) or 0)
    except ZooError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return _INTERRUPTED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        advice = way_out(error)
        return _fail(f"{where}{error.strerror or error}{f'; {advice}' if advice else ''}")
    except Exception as error:
        # Click's usage errors know how to show themselves.
        if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
            raise
        message = error.format_message()
        if type(error).__name__ == "NoArgsIsHelpError":
            say(message, err=True)
            return int(error.exit_code)
        command = getattr(getattr(error, "ctx", None), "command_path", "") or "zoo"
        return _fail(f"{message.rstrip('.')}; see {command} --help", int(error.exit_code))


def _read_as_they_are() -> None:
    """Lets warnings and the logs of libraries, too, give the terminal no orders."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        (file or sys.stderr).write(visible(text))

    class Lines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return visible(super().format(record))

    warnings.showwarning = show
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Lines())


def _add_help(group: typer.Typer) -> None:
    """The help of every command out of its source, where `python -OO` has no docstrings."""
    for command in group.registered_commands:
        if command.callback is not None:
            command.help = docstring(command.callback)
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _add_help(inner.typer_instance)


def _fail(message: str, code: int = 2) -> int:
    sys.stderr.write(f"error: {one_line(message)}\n")
    return code
