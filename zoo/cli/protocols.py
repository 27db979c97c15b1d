"""`zoo protocols`: the named rules of comparison."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zoo.cli.console import make_console, make_table, print_json, say
from zoo.cli.parameters import JsonFlag


def protocols(
    name: Annotated[
        str | None,
        typer.Argument(help="A protocol's name, or a TOML file: shows every rule that it fixes."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the named rules of comparison for zoo bench.

    A protocol fixes the images, their size, the budget and the metrics, so that results of
    different people can be compared; zoo bench --protocol takes its name.

    Example: zoo protocols quick@1
    """
    from zoo_benchmark.protocol import find_protocol, names

    if name is not None:
        chosen = find_protocol(name)
        if as_json:
            print_json({"id": chosen.id, **chosen.to_dict()})
            return
        for key, value in chosen.to_dict().items():
            say(f"{key} = {_plain(value)}")
        say(f"sha256 = {chosen.digest()}")
        return
    known = [find_protocol(each) for each in names()]
    if as_json:
        rows = [{"id": each.id, **each.to_dict()} for each in known]
        print_json(rows)
        return
    table = make_table("protocol", "data", "size", "preset", "budget", "seeds", "title")
    for each in known:
        facts = (each.dataset, f"{each.size}²", each.preset, each.budget, str(each.seeds))
        table.add_row(each.id, *facts, each.title)
    make_console().print(table)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items()) or "(none)"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    return str(value) if value != "" else "(none)"
