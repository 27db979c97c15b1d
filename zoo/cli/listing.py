"""`zoo list`, `zoo datasets` and `zoo info`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from zoo import plugins, registry
from zoo.cli.console import make_console
from zoo.cli.probe import MARK
from zoo.plugins import Plugin

# A plugin that takes longer than this to import is reported as such.
_CHECK_SECONDS = 120


def list_plugins(group: str, *, verbose: bool, as_json: bool) -> None:
    """Prints the plugins of a group; with `verbose` each is checked in its own process first.

    Datasets that nothing is known of are always checked: they import nothing heavy, and a
    name alone says little.
    """
    listed = plugins.installed(group)
    unknown = {p.name for p in listed if verbose or p.status == plugins.NOT_CHECKED}
    if verbose or group == plugins.DATASETS:
        listed = _check(listed, sorted(unknown))
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(p) for p in listed], indent=1))
        return
    console = make_console()
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("name", no_wrap=True, overflow="ignore")
    table.add_column("distribution", no_wrap=True, overflow="ignore")
    table.add_column("status", overflow="fold")
    table.add_column("title", overflow="fold")
    for plugin in listed:
        ok = plugin.status in (plugins.OK, plugins.NOT_CHECKED)
        status = "; ".join([plugin.status, *plugin.warnings])
        table.add_row(
            plugin.name,
            f"{plugin.distribution} {plugin.version}",
            escape(status if ok else f"broken: {status}"),
            escape(plugin.title),
            style="red" if not ok else "yellow" if plugin.warnings else "",
        )
    console.print(table)
    if not verbose and any(p.status == plugins.NOT_CHECKED for p in listed):
        console.print("see which of them work: --verbose", style="dim", highlight=False)


def show_info(name: str, *, as_json: bool) -> None:
    """Prints what a colorizer says of itself, and its options in both presets."""
    from zoo.options import describe_options

    # What a plugin prints when it is imported is no part of this command's output.
    with contextlib.redirect_stdout(sys.stderr):
        cls = registry.colorizer_class(name)
    options = describe_options(cls.Options)
    small = cls.preset("small")
    colorizer = cls(device="cpu")  # sides may depend on options; no network is built
    sides = {name: getattr(colorizer, name) for name in ("minimum_size", "multiple")}
    if as_json:
        described = []
        for option in options:
            fields = option._asdict()
            fields |= {"paper": fields.pop("default"), "small": getattr(small, option.name)}
            described.append(fields)
        info = {**dataclasses.asdict(cls.info), **sides, "options": described}
        typer.echo(json.dumps(info, indent=1))
        return
    console = make_console()
    console.print(f"[bold]{escape(cls.info.name)}[/bold]  {escape(cls.info.title)}")
    rows = [
        ("paper", cls.info.paper),
        ("license", cls.info.license),
        ("output", "paints RGB" if cls.info.output == "rgb" else "predicts ab"),
        ("sides", f"at least {sides['minimum_size']} px, padded to {sides['multiple']}s"),
        *[("differs" if i == 0 else "", text) for i, text in enumerate(cls.info.differs)],
        *[("fails", f"{check}: {why}") for check, why in cls.info.known_failures.items()],
    ]
    for label, text in rows:
        console.print(f"  {label:<8} {text}", markup=False, highlight=False)
    if options:
        table = Table(show_edge=False, pad_edge=False)
        for heading in ("option", "type", "range", "paper", "small", "meaning"):
            table.add_column(heading, overflow="fold")
        for name, kind, default, values, meaning in options:
            texts = (kind, values, str(default), str(getattr(small, name)), meaning)
            table.add_row(name, *map(escape, texts))
        console.print(table)


def _check(listed: list[Plugin], names: list[str]) -> list[Plugin]:
    """The plugins with what a check of those in `names`, in processes of their own, gave."""
    if not names:
        return listed
    group = listed[0].group
    console = make_console(stderr=True)
    with console.status("checking …"), ThreadPoolExecutor(2) as pool:
        found = dict(zip(names, pool.map(lambda name: _check_one(group, name), names), strict=True))
    return [
        dataclasses.replace(plugin, **found[plugin.name]) if plugin.name in found else plugin
        for plugin in listed
    ]


def _check_one(group: str, name: str) -> dict[str, Any]:
    """Status of one name, and title and warnings where they are known."""
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", "zoo.cli.probe", group, name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"status": f"importing it takes longer than {_CHECK_SECONDS} s"}
    # A plugin may print, before it is checked and after.
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(MARK):
            found = json.loads(line.removeprefix(MARK))
            return {
                "status": found["status"],
                "title": found["title"],
                "warnings": tuple(found["warnings"]),
            }
    return {"status": f"importing it ended the process with code {done.returncode}"}
