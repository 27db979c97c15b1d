"""Published weights: which there are, how to get them, and whether a file is still the one.

Some come along in the distribution that publishes them. All others are kept in
`weights/MODEL/NAME/` of the zoo's cache folder, with a record beside them of
the whole SHA-256, of where they came from, and of what the last reading of the file found. Later
uses compare size and time with it, and read a file again that was touched since. Those on the
Hugging Face hub are kept in the hub's own cache, and their records in `weights/hf/`.
Importing this module does not import torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from zoo.errors import DownloadError, UnknownNameError, WeightsError
from zoo.files import cache_folder, write_text
from zoo.text import parse_json
from zoo.weights import hub
from zoo.weights.download import (
    OFFLINE_VARIABLE,
    bytes_kept,
    copy_verified,
    download,
    file_sha256,
    is_offline,
    wrong_hash,
)
from zoo.weights.manifest import BrokenEntry, PublishedWeights, read_manifests

if TYPE_CHECKING:
    from zoo.data.dataset import Progress

UNKNOWN_LICENSE = "unknown"

DEFAULT = "unet_timm@release"
"""The colorizer and the weights that are used where nobody names any."""

MIRROR_VARIABLE = "ZOO_WEIGHTS_MIRROR"
"""The environment variable that names a mirror, as `--mirror` does."""

FETCHED = "fetched"
PREFIX_PINNED = "fetched, prefix-pinned"
NOT_PINNED = "fetched, not pinned"
NOT_FETCHED = "not fetched"
DAMAGED = "damaged"
BUNDLED = "bundled"
MISSING = "missing"

_HINT = "Type zoo weights list."


@dataclass(frozen=True)
class _Record:
    """The record of a file in the cache.

    Attributes:
        sha256: the hash of the whole file.
        pinned: `sha256`, `prefix` or `none`: what the file was compared with when it came.
        url: where it came from.
        size: in bytes, when it was last read whole.
        mtime_ns: its time of modification then.
        fetched: when it came, in UTC.
        damaged: whether it was another file when it was last read.
        path: the file in the hub's cache; empty where it lies beside the record.
        revision: the commit of the hub's repository; empty for others.
        license: what the hub's repository says of it; empty for others.
    """

    sha256: str
    pinned: str
    url: str
    size: int
    mtime_ns: int
    fetched: str
    damaged: bool = False
    path: str = ""
    revision: str = ""
    license: str = ""


def published(model: str | None = None) -> list[PublishedWeights]:
    """All published weights, or those of a model, by model and name; imports no plugin."""
    return [weights for weights in read_manifests()[0] if model in (None, weights.model)]


def bundled(model: str | None = None) -> list[PublishedWeights]:
    """The published weights that come along, or those of a model."""
    return [weights for weights in published(model) if weights.file is not None]


def broken() -> list[BrokenEntry]:
    """The published entries that cannot be used, with the reasons."""
    return read_manifests()[1]


def find_published(model: str | None, name: str) -> PublishedWeights:
    """The weights of that name for a model; None for the one model that has them.

    Raises:
        UnknownNameError: there are none; near names are offered.
        WeightsError: several models have weights of that name, or their entry is broken.
    """
    found, faulty = read_manifests()
    known = [weights for weights in found if model in (None, weights.model)]
    matching = [weights for weights in known if weights.name == name]
    if len(matching) > 1:
        choices = " or ".join(weights.label for weights in matching)
        raise WeightsError(f"several models have weights called {name!r}: type {choices}")
    if matching:
        return matching[0]
    for entry in faulty:
        if entry.name == name and model in (None, entry.model):
            label = name if model is None else f"{model}@{name}"
            raise WeightsError(f"the weights {label} are broken: {entry.reason}")
    kind = "published weights" if model is None else f"published weights of {model}"
    raise UnknownNameError(kind, name, {weights.name for weights in known}, _HINT)


def weights_for(model: str) -> str:
    """The name of the weights to take for a model that is named alone: those that came along.

    Raises:
        WeightsError: none came along, or several; says what to type.
    """
    came_along = bundled(model)
    if len(came_along) == 1:
        return came_along[0].name
    known = came_along or published(model)
    example = f", as {known[0].label}" if known else ""
    raise WeightsError(
        f"{model} needs weights: type --model {model}@FILE.safetensors, as zoo fit and zoo "
        f"bench write them (runs/<time>/weights), or a name of zoo weights list{example}"
    )


def find_by_label(text: str) -> PublishedWeights:
    """The weights of a `NAME`, if one model has them, of `MODEL@NAME`, or on the hub.

    Raises:
        UnknownNameError: there are none; near names are offered.
        WeightsError: as `find_published`, or `hf:…` has another form.
    """
    if hub.is_hub(text):
        return from_hub(text)
    model, name = split_weights(text)
    if name is None:
        return find_published(None, model)
    return from_hub(name) if hub.is_hub(name) else find_published(model, name)


def split_weights(text: str) -> tuple[str, str | None]:
    """A colorizer's name and its weights, out of `NAME@WEIGHTS`; None where it is a name alone.

    Raises:
        WeightsError: there is nothing before the `@`, or nothing behind it.
    """
    name, at, weights = (part.strip() for part in text.partition("@"))
    if at and not (name and weights):
        known = published(name) or published()
        example = f", or a published name, as {known[0].label}" if known else ""
        raise WeightsError(
            f"{text!r} names no {'weights' if name else 'colorizer'}; "
            f"type {name or 'NAME'}@FILE{example}"
        )
    return name, weights if at else None


def short_names(weights: Iterable[str]) -> dict[str, str]:
    """What weights are called beside each other: of a path the last part.

    Of two paths that end alike the whole is kept, as of a name on the hub.
    """
    short = {each: each if hub.is_hub(each) else PurePath(each).name for each in weights}
    shared = {last for last in short.values() if list(short.values()).count(last) > 1}
    return {each: each if last in shared else last for each, last in short.items()}


def check_fetched(weights: PublishedWeights) -> None:
    """Checks that a file that has to be downloaded has been; nothing is downloaded.

    Raises:
        WeightsError: it is not fetched, or damaged; says what to type.
    """
    if weights.file is None and cached_file(weights) is None:
        raise WeightsError(
            f"{weights.label} is {status(weights)}; type zoo weights fetch {weights.label}"
        )


def from_hub(text: str) -> PublishedWeights:
    """The weights `hf:owner/repository[/file]`; their license is known once they are fetched.

    Raises:
        WeightsError: the text has another form.
    """
    known = [weights for weights in published() if weights.url == text]
    if known:
        return known[0]
    weights = PublishedWeights(
        name=text,
        model="",
        url=text,
        license=UNKNOWN_LICENSE,
        source=hub.page(text),
        trained_on="not stated",
    )
    record = _read_record(weights)
    return replace(weights, license=record.license) if record and record.license else weights


def fetched_from_hub() -> list[PublishedWeights]:
    """The weights on the hub that were fetched by their URL, and that nothing here publishes."""
    folder = weights_folder() / "hf"
    found = []
    for path in sorted(folder.rglob("*.json")):
        with contextlib.suppress(WeightsError):
            place = path.relative_to(folder).with_suffix("").as_posix()
            found.append(from_hub(hub.PREFIX + place))
    return [weights for weights in found if not weights.model]


def weights_folder() -> Path:
    """The folder that keeps fetched weights."""
    return cache_folder() / "weights"


def cached_file(weights: PublishedWeights) -> Path | None:
    """The file that came along or was fetched; None where it is not there or damaged."""
    here = status(weights) in (BUNDLED, FETCHED, PREFIX_PINNED, NOT_PINNED)
    return _path(weights) if here else None


def status(weights: PublishedWeights) -> str:
    """The status of the file here, one of the words of this module.

    A fetched file of the recorded size and time is not read; any other is, once. Of one that
    came along the size is compared; `fetch` compares the hash.
    """
    if weights.file is not None:
        if not weights.file.is_file():
            return MISSING
        return BUNDLED if weights.file.stat().st_size == weights.size else DAMAGED
    path, record = _path(weights), _read_record(weights)
    if not path.is_file():
        return NOT_FETCHED
    if record is not None and not record.sha256.startswith(weights.pin):
        return NOT_FETCHED  # what is there was published under this name before
    if record is not None and _size_and_time(path) == (record.size, record.mtime_ns):
        right = not record.damaged
    else:
        try:
            right = _read_whole(weights)[1]
        except OSError:
            right = False
    if not right:
        return DAMAGED
    if not weights.pin:
        return NOT_PINNED
    return FETCHED if weights.sha256 else PREFIX_PINNED


def fetch(
    weights: PublishedWeights,
    *,
    offline: bool | None = None,
    mirror: str | None = None,
    source: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """The file that came along, or the one in the cache, downloaded if it is not there or damaged.

    A file that was pinned by a prefix is compared with the whole hash that was recorded when
    it first came.

    Args:
        weights: as `published` gives them.
        offline: whether to download nothing; None asks `ZOO_OFFLINE`.
        mirror: a base URL, to which the file's name is appended, tried before the published
            ones; None asks `ZOO_WEIGHTS_MIRROR`.
        source: a file on disk to take instead.
        progress: told of the download.

    Raises:
        WeightsError: it could not be had, or is not the published one; says what to do.
    """
    if weights.file is not None:
        return _bundled(weights, weights.file)
    if weights.on_hub and (source is not None or mirror is not None):
        raise WeightsError(
            f"{weights.label} is on the hub: HF_ENDPOINT names a mirror of it, and a file on disk "
            "is used by its path"
        )
    path = _path(weights)
    expected = _expected_hash(weights)
    if source is not None:
        source = Path(source).expanduser()
        obtained = copy_verified(source, path, sha256=expected)
        _write_record(weights, obtained.sha256, str(source.resolve()))
        return path
    if cached_file(weights) is not None:
        return path
    if is_offline() if offline is None else offline:
        raise WeightsError(
            f"{weights.label} is not fetched, and --offline or {OFFLINE_VARIABLE} forbids to "
            f"download it; {_elsewhere(weights)}"
        )
    if weights.on_hub:
        return _fetch_from_hub(weights)
    try:
        obtained = download(
            _urls(weights, mirror),
            path,
            sha256=expected,
            size=weights.size,
            what=weights.label,
            progress=progress,
        )
    except DownloadError as error:
        kept = bytes_kept(path)
        again = f"{kept:,} bytes are kept, the same command goes on from there; " if kept else ""
        raise WeightsError(f"{error}: {again}{_elsewhere(weights)}") from error
    _write_record(weights, obtained.sha256, obtained.url or weights.url)
    return path


def _fetch_from_hub(weights: PublishedWeights) -> Path:
    """Downloads from the hub, of the revision that came first, and compares with its hash."""
    record = _read_record(weights)
    got = hub.download(weights.url, record.revision if record is not None else "")
    digest, expected = file_sha256(got.path), _expected_hash(weights)
    if not digest.startswith(expected):
        raise DownloadError(
            f"{weights.label}: {wrong_hash(got.path, digest, expected)}; "
            f"{_elsewhere(weights) if weights.sha256 else _forget(weights)}"
        )
    _write_record(weights, digest, weights.url, got)
    return got.path


def verify(weights: PublishedWeights) -> Path:
    """The file here, all of it read and compared with its hash.

    Raises:
        WeightsError: it is not here, or damaged, which is remembered; says what to do.
    """
    if weights.file is not None:
        return _bundled(weights, weights.file)
    path = _path(weights)
    if not path.is_file():
        raise WeightsError(
            f"{weights.label} is not fetched; type zoo weights fetch {weights.label}"
        )
    digest, right = _read_whole(weights)
    if right:
        return path
    raise WeightsError(
        f"{weights.label} is damaged: {wrong_hash(path, digest, _expected_hash(weights))}; "
        f"type zoo weights fetch {weights.label}"
    )


def _bundled(weights: PublishedWeights, path: Path) -> Path:
    again = f"install {weights.distribution} again, or git restore the file in a checkout"
    if not path.is_file():
        raise WeightsError(f"{weights.label} should have come along as {path}; {again}")
    digest = file_sha256(path)
    if digest != weights.sha256:
        raise WeightsError(
            f"{weights.label} is damaged: {wrong_hash(path, digest, weights.sha256)}; {again}"
        )
    return path


def _urls(weights: PublishedWeights, mirror: str | None) -> list[str]:
    base = mirror or os.environ.get(MIRROR_VARIABLE)
    if not base:
        return [weights.url, *weights.mirrors]
    if not base.startswith(("http://", "https://")):
        raise WeightsError(
            f"a mirror is a base URL such as https://example.org/weights, not {base!r}; "
            "for a file on disk type --from FILE"
        )
    name = PurePosixPath(urlsplit(weights.url).path).name
    return [f"{base.rstrip('/')}/{name}", weights.url, *weights.mirrors]


def _elsewhere(weights: PublishedWeights) -> str:
    record = _read_record(weights)
    known = _expected_hash(weights)
    if weights.on_hub:
        return (
            f"type zoo weights fetch {weights.label} with a network, or get it from "
            f"{hub.page(weights.url)} elsewhere and use the file by its path"
        )
    digits = f"SHA-256 {known}" if len(known) == 64 else f"SHA-256 {known}…"
    advice = (
        f"get {weights.url} ({digits}) elsewhere and type "
        f"zoo weights fetch {weights.label} --from FILE"
    )
    if weights.sha256_prefix and record is not None and known == record.sha256:
        advice += (
            f"; the hash was recorded on {record.fetched[:10]}: "
            f"to take another file of prefix {weights.pin}, delete {_path(weights).parent}"
        )
    return advice


def _forget(weights: PublishedWeights) -> str:
    return f"to take another file, delete {_record_path(weights)}"


def _path(weights: PublishedWeights) -> Path:
    if weights.on_hub:
        record = _read_record(weights)
        return Path(record.path) if record is not None else _record_path(weights).with_suffix("")
    return weights.file or weights_folder() / weights.model / weights.name / weights.file_name


def _expected_hash(weights: PublishedWeights) -> str:
    """The whole hash where one is known or recorded, else the prefix."""
    record = _read_record(weights)
    recorded = record is not None and record.sha256.startswith(weights.pin)
    return record.sha256 if record is not None and recorded else weights.pin


def _record_path(weights: PublishedWeights) -> Path:
    if weights.on_hub:
        return weights_folder() / "hf" / f"{weights.url.removeprefix(hub.PREFIX)}.json"
    return _path(weights).with_name(f"{weights.file_name}.json")


def _read_record(weights: PublishedWeights) -> _Record | None:
    try:
        record = _Record(**parse_json(_record_path(weights).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # not there or damaged: the file counts as not verified yet
    return record if re.fullmatch(r"[0-9a-f]{64}", str(record.sha256)) else None


def _read_whole(weights: PublishedWeights) -> tuple[str, bool]:
    """The file's SHA-256, and whether it is the right one, which its record tells from now on."""
    digest, record = file_sha256(_path(weights)), _read_record(weights)
    right = digest.startswith(_expected_hash(weights))
    with contextlib.suppress(OSError):  # in a cache of others it is read at each use
        if record is None or not record.sha256.startswith(weights.pin):
            if right:
                _write_record(weights, digest, weights.url)
        else:
            size, mtime_ns = _size_and_time(_path(weights))
            found = replace(record, size=size, mtime_ns=mtime_ns, damaged=not right)
            if found != record:
                _save(weights, found)
    return digest, right


def _write_record(
    weights: PublishedWeights, digest: str, url: str, got: hub.HubFile | None = None
) -> None:
    size, mtime_ns = _size_and_time(got.path if got is not None else _path(weights))
    record = _Record(
        sha256=digest,
        pinned="sha256" if weights.sha256 else "prefix" if weights.pin else "none",
        url=url,
        size=size,
        mtime_ns=mtime_ns,
        fetched=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if got is not None:
        record = replace(record, path=str(got.path), revision=got.revision, license=got.license)
    _save(weights, record)


def _size_and_time(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _save(weights: PublishedWeights, record: _Record) -> None:
    write_text(_record_path(weights), json.dumps(asdict(record), indent=1))
