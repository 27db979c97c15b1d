"""Protocols: the named, versioned rules that a comparison holds fixed, and its seeds.

A protocol is a TOML file. Those of the package lie in `protocols/`; anyone can write another
and name it with `--protocol FILE`. Its name and version stand for its content: a file that
was changed and kept its version is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from zoo.errors import InputError, UnknownNameError, ZooError
from zoo.files import cache_folder, write_text
from zoo.text import parse_toml, read_text
from zoo.training.budget import Budget

FOLDER = Path(__file__).parent / "protocols"
DEFAULT = "quick@1"
DIGESTS = FOLDER / "digests.json"
"""SHA-256 of the content of every protocol of the package, by `NAME@VERSION`."""

SMALLEST_SIZE = 32
"""The smallest side in pixels of a protocol: the metrics of the package's need 31."""


class ProtocolError(ZooError, ValueError):
    """A protocol that cannot be read, or is not what its name stands for."""


@dataclass(frozen=True)
class Protocol:
    """The rules of one comparison.

    Attributes:
        name: without its version.
        version: raised whenever anything below changes.
        title: the name for people.
        dataset: as `--dataset` takes it; a name alone where any argument will do (`folder`).
        size: side of training crops and test images in pixels.
        crop: how a photograph becomes a square, as `DatasetInfo.crop` says it.
        resize: the kernel that reduces it.
        grey_chroma: test images whose |a| and |b| nowhere exceed this are left out.
        manifests: SHA-256 of `ImageSet.manifest_hash` by split; absent where it is not pinned.
        preset: which options models start from.
        budget: what each model may spend on training.
        seed: the base of all seeds.
        seeds: repetitions, each with its own data order and weights.
        metrics: names of the metrics and their versions.
        floors: reference rows that are trained like models.
        ceilings: reference rows computed from the truth.
        expected: what the pipeline must measure on the test truth before anything is trained.
        learning_rate: `options`, or `find` where each model searches its own first.
        note: what a reader of its tables must know.
    """

    name: str
    version: int
    title: str
    dataset: str
    size: int
    crop: str
    resize: str
    grey_chroma: float
    preset: Literal["paper", "small"]
    budget: str
    seed: int
    seeds: int
    metrics: Mapping[str, int]
    floors: tuple[str, ...] = ()
    ceilings: tuple[str, ...] = ()
    manifests: Mapping[str, str] = field(default_factory=dict)
    expected: Mapping[str, float] = field(default_factory=dict)
    learning_rate: Literal["options", "find"] = "options"
    note: str = ""

    def __post_init__(self) -> None:
        Budget.parse(self.budget)
        if self.size < SMALLEST_SIZE:
            raise InputError(
                f"--size {self.size} is too small: metrics need 31 px; type --size {SMALLEST_SIZE}"
            )
        if self.seeds < 1:
            raise InputError(f"--seeds must be at least 1, got {self.seeds}")
        if self.preset not in ("small", "paper"):
            raise InputError(
                f"unknown preset {self.preset!r}; type --preset small or --preset paper"
            )
        if self.learning_rate not in ("options", "find"):
            raise InputError(
                f"unknown learning rate {self.learning_rate!r}; type --lr options or --lr find"
            )

    @property
    def id(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.name}@{self.version}"

    def departures(self, other: Protocol) -> list[str]:
        """The fields in which `other` departs from this protocol, as `field=value`."""
        asked = ("dataset", "size", "preset", "budget", "seed", "seeds", "learning_rate")
        found = [
            f"{name}={getattr(other, name)}"
            for name in asked
            if getattr(self, name) != getattr(other, name)
            and not (name == "dataset" and self.leaves_open(other.dataset))
        ]
        if missing := [name for name in self.metrics if name not in other.metrics]:
            found.append(f"without {', '.join(missing)}")
        if (self.floors, self.ceilings) != (other.floors, other.ceilings):
            found.append("without all its reference rows")
        return found

    def leaves_open(self, dataset: str) -> bool:
        """Whether the protocol names `dataset` without its argument, such as `folder`."""
        return ":" not in self.dataset and dataset.partition(":")[0] == self.dataset

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON can hold them."""
        return dict(json.loads(json.dumps(dataclasses.asdict(self))))

    def digest(self) -> str:
        """SHA-256 of the content; comments and layout of the file do not count."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def names() -> list[str]:
    """The protocols of the package, as `NAME@VERSION`."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def find_protocol(text: str) -> Protocol:
    """The protocol of a name, or of a file.

    Raises:
        UnknownNameError: no protocol of the package has the name, and no file either.
        ProtocolError: it cannot be read, or its content is not what its name stands for.
    """
    if text in names():
        return _check_packaged(read_protocol(FOLDER / f"{text}.toml"))
    file = Path(text).expanduser()
    if not file.is_file():
        raise UnknownNameError("protocol", text, names(), "See zoo protocols, or name a file.")
    return _check_known(read_protocol(file), file)


def read_protocol(file: Path) -> Protocol:
    """Reads a TOML file.

    Raises:
        ProtocolError: it is not TOML, or a field is missing, unknown or impossible.
    """
    try:
        content = parse_toml(read_text(file))
    except (OSError, ValueError) as error:
        raise ProtocolError(f"cannot read the protocol {file}: {error}") from error
    fields = {f.name: f for f in dataclasses.fields(Protocol)}
    if unknown := sorted(set(content) - set(fields)):
        raise ProtocolError(f"{file}: {UnknownNameError('field', unknown[0], fields)}")
    required = {p.name for p in signature(Protocol).parameters.values() if p.default is p.empty}
    if missing := [name for name in fields if name in required - set(content)]:
        raise ProtocolError(f"{file} lacks {', '.join(missing)}; see zoo protocols {DEFAULT}")
    for name, value in content.items():
        wanted = _kind(fields[name])
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ProtocolError(f"{file}: {name} = {value!r} is not {_WORDS[wanted]}")
        if isinstance(value, list):
            content[name] = tuple(str(item) for item in value)
    try:
        return Protocol(**content)
    except ZooError as error:
        raise ProtocolError(f"{file}: {error}") from error


_WORDS: dict[Any, str] = {
    str: "text in quotes",
    int: "a whole number",
    (int, float): "a number",
    list: "a list",
    dict: "a table",
}


def _kind(described: dataclasses.Field[Any]) -> Any:
    kinds = {"int": int, "float": (int, float), "tuple[str, ...]": list}
    annotation = str(described.type)
    return dict if annotation.startswith("Mapping") else kinds.get(annotation, str)


def _check_packaged(protocol: Protocol) -> Protocol:
    recorded = json.loads(DIGESTS.read_text(encoding="utf-8"))
    if recorded.get(protocol.id) != protocol.digest():
        raise ProtocolError(
            f"the protocol {protocol.id} of this installation was changed and kept its version; "
            "reinstall colorizer-zoo, or raise the version"
        )
    return protocol


def _check_known(protocol: Protocol, file: Path) -> Protocol:
    """Compares with the package's protocol of that name, or with what was seen before."""
    seen = cache_folder() / "protocols" / f"{_safe(protocol.id)}.json"
    known: dict[str, Any] | None = None
    if protocol.id in names():
        known = read_protocol(FOLDER / f"{protocol.id}.toml").to_dict()
    elif seen.is_file():
        known = json.loads(seen.read_text(encoding="utf-8"))
    if known is None:
        write_text(seen, json.dumps(protocol.to_dict(), indent=1))
    elif changed := [k for k, v in protocol.to_dict().items() if known.get(k) != v]:
        raise ProtocolError(
            f"{file} calls itself {protocol.id} but differs from the {protocol.id} known here "
            f"in {', '.join(changed)}; write version = {protocol.version + 1}"
        )
    return protocol


def _safe(text: str) -> str:
    return "".join(c if c.isalnum() or c in "@-_" else "_" for c in text)


def seeds_of(base: int, protocol: str, repetition: int, model: str) -> tuple[int, int]:
    """(data seed, model seed) of a trial.

    The data seed is shared by all models: same images, order and crops. The model seed adds
    the colorizer's name, so that no two methods share their luck; options do not change it,
    nor does what else is compared: variants of one method start alike.
    """
    data = _hash(f"{base}|{protocol}|{repetition}")
    return data, _hash(f"{data}|{model}")


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
