"""The files of weights that metrics need: found, checked, or downloaded, in one way for all.

A file is looked for where an option of the command says, where an environment variable says,
in a cache, and at last on a server. Importing this module does not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import plugins, registry
from zoo.errors import InputError, PluginError, UnknownNameError, WeightsError
from zoo.files import cache_folder, write_text
from zoo.weights import download as downloads

if TYPE_CHECKING:
    from zoo.data.dataset import Progress
    from zoo.metric import Metric, WeightsFile


@dataclass(frozen=True)
class FoundFile:
    """The result of the search for one file.

    Attributes:
        path: a checked file, or None where there is none.
        status: one line for people: where the file is from, or why there is none and what to do.
    """

    path: Path | None
    status: str


@dataclass(frozen=True)
class MetricFiles:
    """The result of the search for the files of several metrics.

    Attributes:
        paths: the paths by name, for each metric that has all of its files.
        missing: the reason, for each metric that lacks one.
        statuses: where the files are from, a line each.
    """

    paths: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    statuses: Sequence[str] = ()


def read_named_files(texts: Sequence[str]) -> dict[str, Path]:
    """The files of `--weights-file METRIC=FILE`, by metric.

    Raises:
        InputError: a text of another form, or a metric that needs no such file.
        UnknownNameError: a metric that is not installed.
    """
    named = {}
    for text in texts:
        key, equals, file = text.partition("=")
        if not (key and equals and file):
            raise InputError(f"--weights-file {text!r} names no file; type METRIC=FILE")
        _check_key(key)
        named[key] = Path(file)
    return named


def _check_key(key: str) -> None:
    known = plugins.names(plugins.METRICS)
    metric = key if key in known else key.rpartition(".")[0]
    if metric not in known:
        raise UnknownNameError("metric in --weights-file", key, known)
    info = registry.metric_class(metric).info
    keys = [info.weights_key(wanted) for wanted in info.weights]
    if key not in keys:
        needs = f"type {' or '.join(f'{each}=FILE' for each in keys)}" if keys else "leave it out"
        raise InputError(f"the metric {metric!r} needs no file {key!r} (--weights-file); {needs}")


def find_metric_files(
    metrics: Sequence[str],
    named: Mapping[str, Path],
    *,
    download: bool = True,
    progress: Progress | None = None,
) -> MetricFiles:
    """Looks for every file that the metrics need.

    Args:
        metrics: names; those that need none, or are broken, are passed over.
        named: files by their key, as `read_named_files` gives them.
        download: whether what is not here may be downloaded to a cache.
        progress: told of downloads.

    Raises:
        WeightsError: a file named by the command line or by a variable is missing or wrong.
    """
    paths: dict[str, dict[str, Path]] = {}
    missing: dict[str, str] = {}
    statuses = []
    for name in metrics:
        try:
            metric = registry.metric_class(name)
        except PluginError:
            continue  # whoever opens it says why
        for wanted in metric.info.weights:
            given = named.get(metric.info.weights_key(wanted))
            found = find_file(metric, wanted, given, download=download, progress=progress)
            if found.path is None:
                missing[name] = found.status
                break
            paths.setdefault(name, {})[wanted.name] = found.path
            statuses.append(found.status)
    whole = {name: files for name, files in paths.items() if name not in missing}
    return MetricFiles(whole, missing, statuses)


def find_file(
    metric: type[Metric],
    wanted: WeightsFile,
    named: str | Path | None = None,
    *,
    download: bool,
    progress: Progress | None = None,
    timeout: float = 5.0,
) -> FoundFile:
    """Looks for a file where the command line says, the variable says, in a cache, on a server.

    Args:
        metric: what needs the file, and checks it.
        wanted: one of its `info.weights`.
        named: the file given on the command line, if any.
        download: whether it may be downloaded to the cache.
        progress: told of the download.
        timeout: seconds to wait for a connection, and then for each answer of the server.

    Raises:
        WeightsError: a file named by the command line or by the variable is missing or wrong.
    """
    variable, how = metric.info.weights_variable(wanted), metric.info.how_to_get(wanted)
    option = wanted.option or "--weights-file"
    for given, by in ((named, option), (os.environ.get(variable), variable)):
        if given:
            path = Path(given).expanduser()
            where = f"{path} (from {by})"
            if not path.is_file():
                advice = f"; give {wanted.urls[0]}, downloaded" if wanted.urls else ""
                raise WeightsError(f"{where} is no file{advice}")
            metric.check_file(wanted, path, where)
            return FoundFile(path, where)

    cached, cache = _cached_file(metric, wanted)
    spoilt = ""
    if cached.is_file():
        where = f"{cached} (from {cache})"
        try:
            metric.check_file(wanted, cached, where)
            how_sure = _check_recorded(metric, wanted, cached, where)
            return FoundFile(cached, f"{cached}{how_sure} (from {cache})")
        except WeightsError as error:
            spoilt = f"{error}; "
    absent = f"{spoilt}{wanted.title} are not here"
    if not (download and wanted.urls):
        return FoundFile(None, f"{absent}: {how}")
    if downloads.is_offline():
        return FoundFile(None, f"{absent}, and {downloads.OFFLINE_VARIABLE} is set: {how}")
    try:
        obtained = downloads.download(
            wanted.urls,
            cached,
            sha256=wanted.sha256,
            size=wanted.size,
            what=f"{wanted.title} for {metric.info.title}",
            progress=progress,
            timeout=timeout,
        )
        metric.check_file(wanted, cached, f"{cached} (from the download)")
    except WeightsError as error:
        return FoundFile(None, f"{error}: {how}")
    how_sure = ""
    if len(wanted.sha256) < downloads.SHA256_DIGITS:
        write_text(_record(metric, wanted), obtained.sha256)
        how_sure = f"; prefix-pinned, SHA-256 {obtained.sha256}"
    return FoundFile(cached, f"{cached} (downloaded from {obtained.url}{how_sure})")


def _record(metric: type[Metric], wanted: WeightsFile) -> Path:
    """Where the whole hash of a file is kept of which only the first digits are known before."""
    folder = cache_folder() / "weights" / "metrics" / metric.info.name
    return folder / f"{wanted.file_name}.sha256"


def _check_recorded(metric: type[Metric], wanted: WeightsFile, cached: Path, where: str) -> str:
    """How sure a cached file is, which must be the one that was downloaded at first.

    Raises:
        WeightsError: it is another one of the same first digits.
    """
    record = _record(metric, wanted)
    if not record.is_file():
        return ""
    found, first = downloads.file_sha256(cached), record.read_text(encoding="utf-8").strip()
    if found != first:
        raise WeightsError(
            f"{downloads.wrong_hash(where, found, first)}: it is not the file that came at first"
        )
    return f", prefix-pinned, SHA-256 {found}"


def _cached_file(metric: type[Metric], wanted: WeightsFile) -> tuple[Path, str]:
    """The path of a downloaded file, and what its folder is called in messages."""
    if wanted.in_torch_hub:
        from torch import hub

        return Path(hub.get_dir()) / "checkpoints" / wanted.file_name, "torchvision's cache"
    folder = cache_folder() / "weights" / "metrics" / metric.info.name
    return folder / wanted.file_name, "the zoo's cache"
