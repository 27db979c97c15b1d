"""`zoo list` and `zoo datasets`: the installed plugins of a kind."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from zoo.cli.console import make_console, make_table, print_json
from zoo.cli.parameters import JsonFlag, Verbose

if TYPE_CHECKING:
    from zoo.plugins import Plugin

# A plugin that takes longer than this to import is reported as such.
_CHECK_SECONDS = 120


def list_colorizers(verbose: Verbose = False, as_json: JsonFlag = False) -> None:
    """Show the installed colorizers, broken ones included.

    Example: zoo list --verbose
    """
    _list("zoo.colorizers", "zoo.file_colorizers", verbose=verbose, as_json=as_json)


def datasets(verbose: Verbose = False, as_json: JsonFlag = False) -> None:
    """Show the installed datasets, which --dataset takes.

    Example: zoo datasets --verbose
    """
    _list("zoo.datasets", verbose=verbose, as_json=as_json)


def _list(*groups: str, verbose: bool, as_json: bool) -> None:
    """Prints the plugins of groups; with `verbose` each is checked in its own process first.

    Datasets that nothing is known of are always checked: they import nothing heavy, and a
    name alone says little.
    """
    from zoo import plugins

    listed = [plugin for group in groups for plugin in plugins.installed(group)]
    unknown = {p.name for p in listed if verbose or p.status == plugins.NOT_CHECKED}
    if verbose or plugins.DATASETS in groups:
        listed = _check(listed, sorted(unknown))
    if as_json:
        print_json([dataclasses.asdict(p) for p in listed])
        return
    console = make_console()
    headings = ["name", "distribution", "status"]
    # A title is known once a plugin has been imported.
    if any(plugin.title for plugin in listed):
        headings.append("title")
    table = make_table(*headings, whole=2)
    for plugin in listed:
        ok = plugin.status in (plugins.OK, plugins.NOT_CHECKED)
        status = "; ".join([plugin.status, *plugin.warnings])
        cells = (
            f"{plugin.name}@FILE" if plugin.group == plugins.FILES else plugin.name,
            f"{plugin.distribution} {plugin.version}",
            status if ok else f"broken: {status}",
            plugin.title,
        )
        table.add_row(
            *cells[: len(headings)],
            style="red" if not ok else "yellow" if plugin.warnings else "",
        )
    console.print(table)
    if not verbose and any(p.status == plugins.NOT_CHECKED for p in listed):
        console.print("see which of them work: --verbose", style="dim", highlight=False)


def _check(listed: list[Plugin], names: list[str]) -> list[Plugin]:
    """The plugins, those in `names` with what a check in a process of its own gave."""
    from concurrent.futures import ThreadPoolExecutor

    if not names:
        return listed
    group_of = {plugin.name: plugin.group for plugin in listed}
    console = make_console(stderr=True)
    with console.status("checking …"), ThreadPoolExecutor(2) as pool:
        checked = pool.map(lambda name: _check_one(group_of[name], name), names)
        found = dict(zip(names, checked, strict=True))
    return [
        dataclasses.replace(plugin, **found[plugin.name]) if plugin.name in found else plugin
        for plugin in listed
    ]


def _check_one(group: str, name: str) -> dict[str, Any]:
    """The status of one plugin, with its title and warnings where they are known."""
    import subprocess
    import sys

    from zoo.cli.probe import MARK

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
