"""`zoo export-test`: a run's test images, for other programs to colour."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.console import say
from zoo.cli.parameters import Run


def export_test(
    run: Run,
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="A new folder; gets grey/ (to be coloured) and truth/ (originals)."
        ),
    ],
) -> None:
    """Write a run's test images for other programs to colour.

    zoo score --add-to then scores what they made of them.

    Example: zoo export-test runs/first -o to_colour
    """
    from zoo_benchmark.results import external
    from zoo_benchmark.results.run_folder import open_run

    count = external.export_test(open_run(run), out)
    say(f"{count} pictures to colour in {out / 'grey'}, their truth in {out / 'truth'}")
    say(f"then: zoo score --pred COLOURED --add-to {run} --name NAME")
