"""`zoo info`: what a colorizer says of itself."""

from __future__ import annotations

import contextlib
import dataclasses
import sys

from zoo.cli.console import make_console, make_table, print_json
from zoo.cli.parameters import JsonFlag, Model


def info(name: Model, as_json: JsonFlag = False) -> None:
    """Show a colorizer's paper, license, options and presets.

    Also what it does otherwise than its paper, and what each option means.

    Example: zoo info zhang_rebalanced
    """
    from zoo import registry
    from zoo.options import describe_options

    # What a plugin prints when it is imported is no part of this command's output.
    with contextlib.redirect_stdout(sys.stderr):
        cls = registry.colorizer_class(name)
    options = describe_options(cls.Options)
    small = cls.preset("small")
    colorizer = cls(device="cpu")  # sides may depend on options; no network is built
    sides = {side: getattr(colorizer, side) for side in ("minimum_size", "multiple")}
    if as_json:
        described = []
        for option in options:
            fields = option._asdict()
            fields |= {"paper": fields.pop("default"), "small": getattr(small, option.name)}
            described.append(fields)
        facts = {**dataclasses.asdict(cls.info), **sides, "options": described}
        print_json(facts)
        return
    console = make_console()
    console.print(cls.info.name, style="bold", highlight=False, end="")
    console.print(f"  {cls.info.title}")
    failures = ", ".join(f"{check} ({why})" for check, why in cls.info.known_failures.items())
    rows = [
        ("paper", cls.info.paper),
        ("license", cls.info.license),
        ("output", "paints RGB" if cls.info.output == "rgb" else "predicts ab"),
        *([("sides", text)] if (text := _sides(**sides)) else []),
        *[("differs" if i == 0 else "", text) for i, text in enumerate(cls.info.differs)],
        *([("checks", f"known to fail in zoo check: {failures}")] if failures else []),
    ]
    for label, text in rows:
        console.print(f"  {label:<8} {text}", highlight=False)
    if options:
        table = make_table("option", "type", "range", "paper", "small", "meaning")
        for name, kind, default, values, meaning in options:
            texts = (kind, values, str(default), str(getattr(small, name)), meaning)
            table.add_row(name, *texts)
        console.print(table)


def _sides(minimum_size: int, multiple: int) -> str:
    """Which sides the network takes, in words; empty where it takes any."""
    least = -(-minimum_size // multiple) * multiple
    if least == 1:
        return ""
    if multiple == 1:
        return f"at least {least} px, to which the zoo pads"
    beyond = f" from {least} on" if least > multiple else ""
    return f"multiples of {multiple} px{beyond}, for which the zoo pads"
