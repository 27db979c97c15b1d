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

from zoo.data.dataset import Split
from zoo.errors import InputError, UnknownNameError, ZooError
from zoo.files import cache_errors, cache_folder, write_text
from zoo.text import parse_toml, read_text
from zoo.training.budget import Budget
from zoo.training.variety import WHOLE, Variety

FOLDER = Path(__file__).parent / "protocols"
DEFAULT = "quick@1"
DIGESTS = FOLDER / "digests.json"
"""SHA-256 of the content of every protocol of the package, by `NAME@VERSION`."""

NO_BUDGET = "none"
"""The budget of a comparison in which nothing is trained: weights are scored as they are."""

SMALLEST_SIZE = 32
"""The smallest side in pixels of a protocol: the metrics of the package's need 31."""


# Fields that protocols did not have at first: a file that leaves them out has its old digest.
_LATER = ("input_variety", "crop_scale", "stored_size")


class ProtocolError(ZooError, ValueError):
    """A protocol that cannot be read, or is not what its name stands for."""


@dataclass(frozen=True)
class Protocol:
    """The rules of one comparison.

    Attributes:
        name: without its version.
        version: raised whenever anything below changes.
        title: the name for people.
        dataset: as `--dataset` takes it; a name alone where any argument will do (`folder`), with
            the options that it must have behind a comma (`imagenet_val,split=val5k`).
        size: side of training crops and test images in pixels.
        crop: how a photograph becomes a square, as `DatasetInfo.crop` says it.
        resize: the kernel that reduces it.
        grey_chroma: test images whose |a| and |b| nowhere exceed this are left out.
        manifests: SHA-256 of `ImageSet.manifest_hash` by split; absent where it is not pinned.
        preset: which options models start from.
        budget: what each model may spend on training; `none` where nothing is trained: all come
            with weights, which are scored as they are.
        seed: the base of all seeds.
        seeds: repetitions, each with its own data order and weights.
        metrics: names of the metrics and their versions.
        floors: reference rows that are trained like models.
        ceilings: reference rows computed from the truth.
        expected: what the pipeline must measure on the test truth before anything is trained.
        learning_rate: `options`, or `find` where each model searches its own first.
        input_variety: whether the lightness that networks see in training is changed at random.
        crop_scale: the smallest and the largest share of the stored side that a crop covers.
        stored_size: side that training images are stored at; None for that of the crops.
        conditions: names and versions of what is done to the input, as `zoo conditions` lists
            them; none where models are scored on clean photographs alone.
        note: what a reader of its tables must know.
        files: which files the test images are, in words, where the dataset checks their names.
        count: how many test images there must be; 0 where that is open.
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
    input_variety: bool = False
    crop_scale: tuple[float, ...] = WHOLE
    stored_size: int | None = None
    conditions: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    files: str = ""
    count: int = 0

    def __post_init__(self) -> None:
        if self.trains:
            Budget.parse(self.budget)
        elif self.learning_rate != "options":
            raise InputError(
                f"--lr {self.learning_rate} is of a training, and --budget {NO_BUDGET} has none; "
                "leave one of them out"
            )
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
        self.variety.stored(self.size)

    @property
    def variety(self) -> Variety:
        """How the training images are varied."""
        return Variety(self.input_variety, self.crop_scale, self.stored_size)

    def side(self, split: Split) -> int:
        """The side in pixels at which the images of a split are opened."""
        return self.variety.stored(self.size) if split == "train" else self.size

    @property
    def id(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.name}@{self.version}"

    @property
    def trains(self) -> bool:
        """Whether models are trained; else all come with weights, or learn nothing."""
        return self.budget != NO_BUDGET

    @property
    def limit(self) -> Budget | None:
        """The budget, read; None where nothing is trained."""
        return Budget.parse(self.budget) if self.trains else None

    @property
    def timed(self) -> bool:
        """Whether the budget is a time, which is worth more on faster hardware."""
        return self.limit is not None and self.limit.unit == "seconds"

    def departures(self, other: Protocol) -> list[str]:
        """The fields in which `other` departs from this protocol, as `field=value`."""
        asked = ("dataset", "size", "preset", "budget", "seed", "seeds", "learning_rate", *_LATER)
        found = [
            f"{name}={getattr(other, name)}"
            for name in asked
            if getattr(self, name) != getattr(other, name)
            and not (name == "dataset" and self.leaves_open(other.dataset))
        ]
        for ours, theirs in (
            (self.metrics, other.metrics),
            (self.conditions, other.conditions),
        ):
            if missing := [name for name in ours if name not in theirs]:
                found.append(f"without {', '.join(missing)}")
        if (self.floors, self.ceilings) != (other.floors, other.ceilings):
            found.append("without all its reference rows")
        return found

    def leaves_open(self, dataset: str) -> bool:
        """Whether the protocol names `dataset` without its argument, such as `folder`."""
        name, _, options = self.dataset.partition(",")
        given, _, argument = dataset.partition(":")
        fixed = options.split(",") if options else []
        return ":" not in name and given == name and set(fixed) <= set(argument.split(","))

    def complete(self, dataset: str) -> str:
        """A dataset as it was asked for, with the options that the protocol fixes.

        Raises:
            InputError: it was asked for with others.
        """
        name, _, options = self.dataset.partition(",")
        if not options or dataset.partition(":")[0] != name:
            return dataset
        given = dataset.split(",")[1:]
        for option in options.split(","):
            key = option.partition("=")[0]
            others = [each for each in given if each.startswith(f"{key}=") and each != option]
            if others:
                raise InputError(
                    f"the protocol {self.id} wants {option} of {name}, --dataset says {others[0]}; "
                    "leave it out, or name another --protocol"
                )
            if option not in given:
                dataset += f",{option}"
        return dataset

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON can hold them; `files`, `count` and `conditions` where it has them."""
        fields = dict(json.loads(json.dumps(dataclasses.asdict(self))))
        return {k: v for k, v in fields.items() if v or k not in ("files", "count", "conditions")}

    def content(self) -> dict[str, Any]:
        """The same, less what no protocol could say once and this one does not."""
        usual = [name for name in _LATER if getattr(self, name) == getattr(Protocol, name)]
        return {name: value for name, value in self.to_dict().items() if name not in usual}

    def digest(self) -> str:
        """SHA-256 of the content; comments and layout of the file do not count."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()


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
        annotation = str(fields[name].type)
        _check_kind(file, name, value, annotation)
        if isinstance(value, dict):
            of_values = annotation.removeprefix("Mapping[str, ").removesuffix("]")
            for key, item in value.items():
                _check_kind(file, f"{name}.{key}", item, of_values)
        if name == "crop_scale":
            content[name] = _shares(value, file)
        elif isinstance(value, list):
            content[name] = tuple(str(item) for item in value)
    try:
        return Protocol(**content)
    except ZooError as error:
        raise ProtocolError(f"{file}: {error}") from error


_WORDS: dict[Any, str] = {
    str: "text in quotes",
    int: "a whole number",
    (int, float): "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def _check_kind(file: Path, name: str, value: object, annotation: str) -> None:
    """Refuses a value that is not what the annotation of its field says."""
    kinds: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "int | None": int}
    kinds |= {"tuple": list, "Mapping": dict}
    wanted = kinds.get(annotation.partition("[")[0], str)
    if not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool):
        raise ProtocolError(f"{file}: {name} = {value!r} is not {_WORDS[wanted]}")


def _shares(value: list[Any], file: Path) -> tuple[float, ...]:
    if any(isinstance(share, bool) or not isinstance(share, int | float) for share in value):
        raise ProtocolError(f"{file}: crop_scale = {value!r} is not a list of numbers")
    return tuple(float(share) for share in value)


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
        known = read_protocol(FOLDER / f"{protocol.id}.toml").content()
    elif seen.is_file():
        known = json.loads(seen.read_text(encoding="utf-8"))
    if known is None:
        with cache_errors("what protocols say"):
            write_text(seen, json.dumps(protocol.content(), indent=1))
    elif changed := _differences(known, protocol.content()):
        raise ProtocolError(
            f"{file} calls itself {protocol.id} but differs from the {protocol.id} known here "
            f"in {', '.join(changed)}; write version = {protocol.version + 1}"
        )
    return protocol


def _differences(known: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names_of_both = dict.fromkeys([*now, *known])
    return [name for name in names_of_both if known.get(name) != now.get(name)]


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
