"""Manifests of published weights: the `weights.toml` of each entry point in `zoo.weights`.

The entry point names a package, and the file lies beside its modules. It is found and read
without running any code of the package.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import util as importlib_util
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from zoo import plugins
from zoo.errors import WeightsError
from zoo.text import parse_toml, read_text
from zoo.weights import hub
from zoo.weights.download import SHA256_DIGITS, is_secure

GROUP = "zoo.weights"
MANIFEST = "weights.toml"
_SHORTEST_PREFIX = 8


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """Weights that somebody published, and how to know that a file is the one.

    Attributes:
        name: the name of the weights, one per model; the URL where they were named by that.
        model: the colorizer they are for; empty where they were named by their URL.
        url: where they are published: https, or `hf:owner/repository[/file]`. Empty where they
            come along.
        license: their terms; SPDX where there is an identifier.
        source: the page that publishes them.
        trained_on: the images that they learnt from.
        sha256: the hash of the file, 64 hexadecimal digits; empty where only a prefix is known, or
            nothing of a file on the hub.
        sha256_prefix: the digits of the hash that are part of the file's name, at least eight.
        mirrors: other URLs of the same file.
        size: in bytes, or None where it is not known.
        paper: what to cite.
        distribution: the installed distribution that publishes them.
        file: the file that comes along in that distribution, beside the manifest; None where
            they are downloaded.

    Raises:
        WeightsError: a value that is not of this kind.
    """

    name: str
    model: str
    license: str
    source: str
    trained_on: str
    url: str = ""
    sha256: str = ""
    sha256_prefix: str = ""
    mirrors: tuple[str, ...] = ()
    size: int | None = None
    paper: str = ""
    distribution: str = ""
    file: Path | None = None

    def __post_init__(self) -> None:
        for what in () if self.name == self.url else ("name", "model"):
            _check(what, getattr(self, what), r"[A-Za-z0-9][\w.-]{0,99}", "letters, digits, _ . -")
        for what in ("license", "source", "trained_on"):
            _check(what, getattr(self, what), r".*\S.*", "some words")
        if bool(self.url) == bool(self.file):
            raise WeightsError("one of url and file must be given")
        if self.on_hub:
            hub.split(self.url)
        for url in (*([self.url] if self.url and not self.on_hub else []), *self.mirrors):
            if not is_secure(url):
                raise WeightsError(f"{url!r} is no https URL")
        if self.file is not None and (self.mirrors or not self.sha256 or self.size is None):
            raise WeightsError("a file that comes along needs sha256 and size, and no mirrors")
        if self.on_hub and (self.mirrors or self.sha256_prefix):
            raise WeightsError("a file on the hub has no mirrors, and sha256 or no hash")
        if bool(self.sha256) == bool(self.sha256_prefix) and not self.on_hub:
            raise WeightsError("one of sha256 and sha256_prefix must be given")
        if self.sha256:
            _check("sha256", self.sha256, r"[0-9a-f]{64}", "64 hexadecimal digits, lower case")
        elif self.sha256_prefix:
            digits = rf"[0-9a-f]{{{_SHORTEST_PREFIX},{SHA256_DIGITS - 1}}}"
            _check("sha256_prefix", self.sha256_prefix, digits, "8 to 63 digits, lower case")
            if self.sha256_prefix not in self.file_name:
                raise WeightsError(
                    f"sha256_prefix {self.sha256_prefix!r} is not part of the file's name "
                    f"{self.file_name!r}; give sha256"
                )
        if self.size is not None and self.size <= 0:
            raise WeightsError(f"size must be a number of bytes, got {self.size}")

    @property
    def on_hub(self) -> bool:
        """Whether they are published on the hub."""
        return hub.is_hub(self.url)

    @property
    def label(self) -> str:
        """`MODEL@NAME`, which is unique; the URL where they were named by that."""
        return self.url if self.name == self.url else f"{self.model}@{self.name}"

    @property
    def pin(self) -> str:
        """The known SHA-256 of the file: all of it, a prefix, or nothing."""
        return self.sha256 or self.sha256_prefix

    @property
    def file_name(self) -> str:
        """The last part of the URL's path, with nothing in it that could lead elsewhere."""
        if self.file is not None:
            return self.file.name
        raw = PurePosixPath(urlsplit(self.url).path).name
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", raw).lstrip(".")
        return safe[-100:].lstrip(".") or "weights"


@dataclass(frozen=True)
class BrokenEntry:
    """Something published that cannot be used.

    Attributes:
        model: the colorizer, as far as it is known.
        name: the name of the weights, or of the entry point where the whole file is at fault.
        distribution: the installed distribution that publishes it.
        reason: what is wrong.
    """

    model: str
    name: str
    distribution: str
    reason: str


def read_manifests() -> tuple[list[PublishedWeights], list[BrokenEntry]]:
    """All that installed distributions publish, and the broken entries, by model and name."""
    found: list[PublishedWeights] = []
    broken: list[BrokenEntry] = []
    seen: set[Path] = set()
    for plugin in plugins.installed(GROUP):
        try:
            path = _find(plugin.target)
            tables = [] if path in seen else _read_tables(path)
        except WeightsError as error:
            broken.append(BrokenEntry("", plugin.name, plugin.distribution, str(error)))
            continue
        seen.add(path)
        for number, table in enumerate(tables, 1):
            try:
                found.append(_parse(table, path.parent, plugin.distribution))
            except WeightsError as error:
                model, name = (str(table.get(key) or "") for key in ("model", "name"))
                reason = f"{path}, number {number}: {error}"
                broken.append(BrokenEntry(model, name, plugin.distribution, reason))
    counts = Counter(weights.label for weights in found)
    for weights in (w for w in found if counts[w.label] > 1):
        owners = sorted({w.distribution for w in found if w.label == weights.label})
        reason = f"{counts[weights.label]} are published under this name, by {' and '.join(owners)}"
        broken.append(BrokenEntry(weights.model, weights.name, weights.distribution, reason))
    unique = [weights for weights in found if counts[weights.label] == 1]
    return (
        sorted(unique, key=lambda w: (w.model, w.name)),
        sorted(broken, key=lambda b: (b.model, b.name, b.distribution)),
    )


def _find(target: str) -> Path:
    """The manifest of a package, which is not imported, and neither are those around it."""
    top, *inner = target.split(".")
    if not all(part.isidentifier() for part in (top, *inner)):
        raise WeightsError(f"its entry point must name a package, such as {top}, not {target!r}")
    try:
        spec = importlib_util.find_spec(top)
    except (ImportError, ValueError) as error:
        raise WeightsError(f"there is no package {top}: {error}") from error
    if spec is None:
        raise WeightsError(f"there is no package {top}")
    folders = [Path(folder, *inner) for folder in spec.submodule_search_locations or ()]
    for folder in folders:
        if (folder / MANIFEST).is_file():
            return (folder / MANIFEST).resolve()
    if not folders:
        raise WeightsError(f"{target} is a module; a {MANIFEST} lies in a package")
    raise WeightsError(f"there is no {folders[0] / MANIFEST}")


def _read_tables(path: Path) -> list[Mapping[str, Any]]:
    try:
        content = parse_toml(read_text(path))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    tables = content.pop("weights", None)
    if content or not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        others = f", not {', '.join(content)}" if content else ""
        raise WeightsError(f"{path} must hold tables [[weights]] and nothing else{others}")
    return tables


def _parse(table: Mapping[str, Any], folder: Path, distribution: str) -> PublishedWeights:
    # As version 0.1 spelled it.
    table = {"license" if key == "licence" else key: value for key, value in table.items()}
    known = {field.name: field for field in fields(PublishedWeights)}
    del known["distribution"]
    where = "file" if "file" in table else "url"
    needed = ("name", "model", where, "license", "source", "trained_on")
    if missing := [key for key in needed if key not in table]:
        raise WeightsError(f"it lacks {', '.join(missing)}")
    if unknown := sorted(table.keys() - known.keys()):
        raise WeightsError(f"unknown keys {', '.join(unknown)}; known are {', '.join(known)}")
    for key, value in table.items():
        if key == "size":
            right, wanted = type(value) is int, "a whole number"
        elif key == "mirrors":
            right = isinstance(value, list) and all(isinstance(url, str) for url in value)
            wanted = "a list of URLs"
        else:
            right, wanted = isinstance(value, str), "a string"
        if not right:
            raise WeightsError(f"{key} must be {wanted}, got {value!r}")
    values: dict[str, Any] = {**table, "mirrors": tuple(table.get("mirrors", ()))}
    if "file" in table:
        _check("file", table["file"], r"\w[\w.-]{0,99}", "the name of a file beside the manifest")
        values["file"] = folder / table["file"]
    return PublishedWeights(**values, distribution=distribution)


def _check(what: str, value: str, pattern: str, meaning: str) -> None:
    if re.fullmatch(pattern, value, re.ASCII) is None:
        raise WeightsError(f"{what} must be {meaning}, got {value!r}")
