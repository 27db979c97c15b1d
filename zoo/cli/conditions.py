"""`zoo conditions`: what is done to photographs before they are coloured, and such photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.console import StageBars, make_console, make_table, print_json, say
from zoo.cli.parameters import JsonFlag
from zoo.errors import InputError


def conditions(
    photos: Annotated[
        Path | None,
        typer.Argument(help="A folder of photographs to write as they are under conditions."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="A new folder; gets a folder for each condition, with grey PNGs to be coloured.",
        ),
    ] = None,
    names: Annotated[
        str,
        typer.Option("--conditions", help="Which conditions: all, or NAME[,NAME…]."),
    ] = "all",
    as_json: JsonFlag = False,
) -> None:
    """Show what bench --conditions does to photographs, or do it.

    Other programs colour what is written; zoo score --conditions then scores what they made.

    Example: zoo conditions photos/ -o to_colour --conditions clean,jpeg75,grain
    """
    from zoo_benchmark.conditions import check_condition, condition_names

    chosen = condition_names(names)
    if photos is None:
        if out is not None:
            raise InputError(f"-o {out} needs photographs; type zoo conditions PHOTOS -o {out}")
        facts = [check_condition(name) for name in chosen]
        if as_json:
            print_json([{"name": c.name, "version": c.version, "title": c.title} for c in facts])
            return
        table = make_table("condition", "version", "what a network sees", right=("version",))
        for each in facts:
            table.add_row(each.name, str(each.version), each.title)
        make_console().print(table)
        return
    if out is None:
        raise InputError(f"give a new folder to write to; type zoo conditions {photos} -o DIR")
    from zoo_benchmark.results.external import write_inputs

    with StageBars(make_console(stderr=True)) as bars:
        count = write_inputs(photos, out, chosen, bars.bar("conditions"))
    if as_json:
        print_json({"out": str(out), "conditions": chosen, "count": count})
        return
    say(f"{count} photographs under {', '.join(chosen)}: {out}")
    say(f"then: zoo score --pred COLOURED --truth {photos} --conditions {','.join(chosen)}")
