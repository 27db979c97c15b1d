"""Discovery of plugins through entry points: colorizers, datasets and metrics.

Names are read with `importlib.metadata`, without importing any plugin (or torch). Loading
goes through stevedore, one manager per name, so that a plugin that raises, asserts or calls
`sys.exit` on import is one broken name and stops no other.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import util as importlib_util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from zoo.errors import PluginError, UnknownNameError
from zoo.files import cache_folder, locked, write_text
from zoo.info import INTERFACE
from zoo.text import kind_and_line, parse_json

COLORIZERS, DATASETS, METRICS = "zoo.colorizers", "zoo.datasets", "zoo.metrics"
FILES = "zoo.file_colorizers"
"""Colorizers that are nothing without a file, `NAME@FILE`: not trained, no part of `all`."""
KINDS = {COLORIZERS: "colorizer", FILES: "colorizer", DATASETS: "dataset", METRICS: "metric"}
NOT_CHECKED = "not checked"
OK = "ok"

_T = TypeVar("_T")


@dataclass(frozen=True)
class Plugin:
    """An installed entry point, and what is known of it.

    Attributes:
        name: the entry point's name.
        group: the entry point's group.
        target: `module:attribute`.
        distribution: the distribution that brings it.
        version: the distribution's version.
        status: `ok`, `not checked`, or the reason why it cannot be used.
        title: the title in its info; empty while not checked.
        warnings: what its import did that no import should; found by `zoo list --verbose` alone.
    """

    name: str
    group: str
    target: str
    distribution: str
    version: str
    status: str = NOT_CHECKED
    title: str = ""
    warnings: tuple[str, ...] = ()


def installed(group: str) -> list[Plugin]:
    """Every plugin of a group with its last known status, sorted by name; imports none."""
    known = _read_statuses()
    plugins = []
    found = find(group)
    for plugin in found:
        namesakes = [other for other in found if other.name == plugin.name]
        if len(namesakes) > 1:
            status, title = _duplicate_message(namesakes), ""
        else:
            status, title = known.get(_status_key(plugin), (NOT_CHECKED, ""))
        plugins.append(replace(plugin, status=status, title=title))
    return sorted(plugins, key=lambda p: (p.name, p.distribution))


def names(group: str) -> list[str]:
    """The names of a group, sorted, each once."""
    return sorted({plugin.name for plugin in find(group)})


@cache
def load_class(group: str, name: str, base: type[_T]) -> type[_T]:
    """The class behind a name, checked against what plugins of its group derive from.

    Raises:
        UnknownNameError: nothing of that name is installed.
        PluginError: it cannot be imported or does not keep the interface.
    """
    found = find(group, name)
    if not found:
        raise UnknownNameError(KINDS[group], name, names(group))
    if len(found) > 1:
        raise PluginError(_duplicate_message(found))
    plugin = found[0]
    try:
        loaded = _import(group, name)
        _check_interface(loaded, plugin, base)
    except PluginError as error:
        _write_status(plugin, str(error), "")
        raise PluginError(
            f"{KINDS[group]} {name!r} of {plugin.distribution} {plugin.version} is broken: {error}"
        ) from error
    _write_status(plugin, OK, loaded.info.title)
    return loaded  # type: ignore[no-any-return]


def _import(group: str, name: str) -> Any:
    from stevedore.named import NamedExtensionManager

    # stevedore logs the traceback of a failing import; the reason is reported by the caller.
    logging.getLogger("stevedore").setLevel(logging.CRITICAL)
    failures: list[BaseException] = []
    try:
        manager: Any = NamedExtensionManager(
            group,
            names=[name],
            on_load_failure_callback=lambda _manager, _entry, error: failures.append(error),
            on_missing_entrypoints_callback=lambda _missing: None,
        )
        if not failures:
            return manager[name].plugin
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # AssertionError and SystemExit get past stevedore
        failures.append(error)
    raise PluginError(f"importing it raised {kind_and_line(failures[0])}") from failures[0]


def _check_interface(loaded: Any, plugin: Plugin, base: type) -> None:
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise PluginError(f"{plugin.target} is not a subclass of {base.__module__}.{base.__name__}")
    info: Any = getattr(loaded, "info", None)
    if not hasattr(info, "name") or not hasattr(info, "title"):
        raise PluginError(f"{plugin.target} has no class attribute info with a name and a title")
    if info.name != plugin.name:
        raise PluginError(
            f"its entry point is named {plugin.name!r} but its info says {info.name!r}; "
            "make them the same"
        )
    # First: of another version, hooks have other names, and any other complaint would mislead.
    if plugin.group in (COLORIZERS, FILES):
        _check_version(getattr(info, "interface", None), plugin.distribution)
    abstract = sorted(getattr(loaded, "__abstractmethods__", ()))
    if abstract:
        raise PluginError(f"{plugin.target} does not implement {', '.join(abstract)}")


def _check_version(interface: object, distribution: str) -> None:
    """Refuses a plugin that pins another version of the interface; none pinned is any."""
    if interface is None or interface == INTERFACE:
        return
    if not isinstance(interface, int):
        advice = f"write interface={INTERFACE} in its info, or leave it out"
    elif interface > INTERFACE:
        advice = "type pip install --upgrade colorizer-zoo"
    else:
        advice = (
            f"type pip install --upgrade {distribution}, or have it changed as the zoo's "
            "CHANGELOG says"
        )
    raise PluginError(
        f"it was written for interface {interface}, this zoo has {INTERFACE}; {advice}"
    )


def find(group: str, name: str | None = None) -> list[Plugin]:
    """The entry points of a group, or those of a name in it, as they come; imports none."""
    # Every call looks through all that is installed.
    found = entry_points(group=group) if name is None else entry_points(group=group, name=name)
    plugins = map(_describe, found)
    # An editable install can show the same distribution twice along sys.path.
    return list({(p.name, p.target, p.distribution): p for p in plugins}.values())


def _describe(entry: EntryPoint) -> Plugin:
    # Read once: it is a file, and parsed at every access.
    about = entry.dist.metadata if entry.dist else {"Name": "unknown", "Version": "?"}
    return Plugin(entry.name, entry.group, entry.value, about["Name"], about["Version"])


def _duplicate_message(namesakes: Sequence[Plugin]) -> str:
    owners = " and ".join(sorted(plugin.distribution for plugin in namesakes))
    return f"the name {namesakes[0].name!r} is taken by {owners}; uninstall all but one"


# ---- what is remembered between runs ----------------------------------------------------


def _status_file() -> Path:
    return cache_folder() / "plugin-status.json"


def _read_statuses() -> dict[str, tuple[str, str]]:
    try:
        stored = parse_json(_status_file().read_text(encoding="utf-8"))
        return {str(key): (str(status), str(title)) for key, (status, title) in stored.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # nothing known yet, or a damaged cache: everything is "not checked"


def _write_status(plugin: Plugin, status: str, title: str) -> None:
    key = _status_key(plugin)
    if _read_statuses().get(key) == (status, title):
        return
    # A read-only or full cache folder, or a lock that another process holds, must not stop
    # anyone from using a plugin: filelock's Timeout is an OSError, too.
    with contextlib.suppress(OSError), locked(_status_file().with_suffix(".lock"), timeout=5):
        statuses: Mapping[str, tuple[str, str]] = _read_statuses()
        # Older versions of the same plugin are forgotten.
        kept = {k: v for k, v in statuses.items() if not k.startswith(_status_prefix(plugin))}
        write_text(_status_file(), json.dumps({**kept, key: (status, title)}, indent=1))


def _status_prefix(plugin: Plugin) -> str:
    return f"{plugin.group}|{plugin.name}|{plugin.distribution}|{plugin.target}|"


def _status_key(plugin: Plugin) -> str:
    package = plugin.target.partition(":")[0].partition(".")[0]
    return f"{_status_prefix(plugin)}{plugin.version}|{INTERFACE}|{_newest_source(package)}"


@cache
def _newest_source(package: str) -> int:
    """When a package was last changed (ns), without importing it."""
    try:
        spec = importlib_util.find_spec(package)
    except (ImportError, ValueError):
        return 0
    if spec is None:
        return 0
    if spec.submodule_search_locations:
        folders = map(Path, spec.submodule_search_locations)
        files = [file for folder in folders for file in folder.rglob("*.py")]
    else:
        files = [Path(spec.origin)] if spec.origin else []
    return max((f.stat().st_mtime_ns for f in files), default=0)
