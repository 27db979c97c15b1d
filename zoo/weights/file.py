"""Weights on disk: safetensors, with all that is needed to rebuild and to trust the model.

One file format. Its metadata names model, options, the units of input and output, how it was
trained and on which images, license, source, and the zoo's version; reading checks all of it.
Files of other programs are read where the plugin knows their format
(`Colorizer.convert_state_dict`).
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from zoo._version import __version__
from zoo.color.lab import PLANES
from zoo.errors import OutputError, WeightsError
from zoo.files import atomic_path, free_bytes, megabytes, name_text
from zoo.text import first_line, parse_json
from zoo.weights.download import download_bar, file_sha256
from zoo.weights.hub import CHECKPOINT_SUFFIXES, is_hub
from zoo.weights.published import (
    UNKNOWN_LICENSE,
    check_fetched,
    fetch,
    find_published,
    from_hub,
    published,
)
from zoo.weights.record import TrainingRecord, read_record

if TYPE_CHECKING:
    from zoo.colorizer import Colorizer, Info
    from zoo.weights.manifest import PublishedWeights

FORMAT = 2
_KEY = "colorizer-zoo"
_LARGEST_HALF = torch.finfo(torch.float16).max
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Origin:
    """The origin of weights: whose they are, and under which terms.

    Attributes:
        license: the weights' license as an SPDX identifier, or `unknown`.
        source: where they were published; empty for weights of one's own, fine-tuned ones too.
        trained_on: the images, in words; empty where a record tells of all of them.
    """

    license: str
    source: str = ""
    trained_on: str = ""


@dataclass(frozen=True)
class StoredWeights:
    """A file of weights whose metadata have been checked; `tensors` reads the rest.

    Attributes:
        path: the file.
        options: the colorizer's, as JSON has them.
        record: how it was trained; None where that is not known.
        origin: whose weights they are.
        zoo_version: the version that wrote the file; empty for a file of another program.
    """

    path: Path
    options: dict[str, Any]
    record: TrainingRecord | None
    origin: Origin
    zoo_version: str = ""
    _read: Mapping[str, Tensor] | None = field(default=None, repr=False)

    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors by name, on the CPU.

        Raises:
            WeightsError: the file is not readable any more.
        """
        return self._read if self._read is not None else _read_safetensors(self.path)

    @property
    def label(self) -> str:
        """The file's name and SHA-256: what a record of fine-tuning names."""
        return f"{self.path.name} (SHA-256 {file_sha256(self.path)})"

    @property
    def taught(self) -> str:
        """The images and the budget that they learnt from, in words; as far as they say so.

        Of fine-tuned weights that is all that the initial ones were taught, then their own.
        """
        record, words = self.record, self.origin.trained_on
        if record is not None:
            words = f"{words or record.images}; budget {record.budget}"
        return words or "not stated"

    def differing(self, options: Mapping[str, object]) -> str:
        """The stored values that differ from `options`, as a clause; empty where none does."""
        trained = ", ".join(
            f"{name}={self.options[name]!r}"
            for name, value in options.items()
            if name in self.options and self.options[name] != value
        )
        return f"; the weights were trained with {trained}" if trained else ""

    def load_into(self, net: nn.Module, options: Any) -> None:
        """Copies the tensors into a network that was built from `options`.

        Raises:
            WeightsError: they do not fit; options that differ are named.
        """
        try:
            load_state(net, self.tensors(), self.path)
        except WeightsError as error:
            told = self.differing(dataclasses.asdict(options))
            raise WeightsError(f"{error}{told}") from error


def save_weights(
    path: Path,
    net: nn.Module,
    *,
    info: Info,
    options: object,
    record: TrainingRecord | None,
    origin: Origin,
    half: bool = False,
) -> None:
    """Writes the state of `net` and what belongs to it to a safetensors file, atomically.

    Args:
        path: the file.
        net: the network.
        info: the info of its colorizer.
        options: what it was built from.
        record: how it was trained, where that is known.
        origin: terms and source.
        half: store matrices and kernels in half precision, for half the size. Vectors and buffers
            stay as they are: a running variance may be too large for it.

    Raises:
        OutputError: there is no room, or it cannot be written for another reason.
        WeightsError: the name does not end in `.safetensors`.
    """
    if path.suffix != ".safetensors":
        raise WeightsError(f"weights are written as safetensors; type {path.name}.safetensors")
    tensors = state_of(net, half=half)
    training = dataclasses.asdict(record) if record else None
    if training is not None:
        training.pop("curve")
    metadata = {
        "format": FORMAT,
        "model": info.name,
        "options": dataclasses.asdict(options),  # type: ignore[call-overload]
        "preprocessing": _preprocessing(info),
        "training": training,
        **dataclasses.asdict(origin),
        "zoo_version": __version__,
    }
    try:
        with atomic_path(path, durable=True) as partial:
            safetensors.torch.save_file(tensors, partial, metadata={_KEY: json.dumps(metadata)})
    except (OSError, safetensors.SafetensorError) as error:
        free = free_bytes(path)
        room = "" if free is None else f", {path.absolute().parent} has {megabytes(free)} free"
        needed = megabytes(stored_bytes(tensors.values()))
        raise OutputError(
            f"{path} could not be written: {_reason(error)} (it needs {needed}{room})"
        ) from error


def state_of(net: nn.Module, *, half: bool = False) -> dict[str, Tensor]:
    """The state of `net` on the CPU; with `half` as `save_weights` stores it."""
    # Copies, since safetensors refuses tensors that share memory, as tied weights do.
    tensors = {
        name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, t in net.state_dict().items()
    }
    if half:
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1 and parameter.abs().max() < _LARGEST_HALF:
                tensors[name] = tensors[name].half()
    return tensors


def stored_bytes(tensors: Iterable[Tensor]) -> int:
    """The bytes that tensors take in a file."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _reason(error: Exception) -> str:
    """What the system said; safetensors hides it in words of its own."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    code = re.search(r"(?:\bcode:|os error) (\d+)", str(error))
    return os.strerror(int(code[1])) if code else str(error)


def open_weights(path: Path, cls: type[Colorizer], origin: Origin | None = None) -> StoredWeights:
    """Opens a file for a colorizer and checks what it says of itself.

    A file of another program whose SHA-256 is that of published weights gets their license and
    source.

    Args:
        path: safetensors written by `Colorizer.save`, or a file of another program in a format
            that `cls.convert_state_dict` knows: safetensors, or a PyTorch checkpoint of tensors
            alone.
        cls: the colorizer.
        origin: that of a file of another program, where it is known.

    Raises:
        WeightsError: no such file, unreadable, damaged, or for something else; the message
            says what was expected.
    """
    if (opened := cls.open_file(path)) is not None:
        return opened
    if path.suffix == ".onnx":
        raise WeightsError(f"{path} holds no weights; it may be a model of its own: onnx@{path}")
    if path.suffix in CHECKPOINT_SUFFIXES:
        return _converted(path, cls, _read_checkpoint(path), origin)
    metadata = _read_metadata(path)
    if metadata is None:
        return _converted(path, cls, _read_safetensors(path), origin)
    return _checked(path, cls, metadata)


def model_of(path: Path) -> str:
    """The name of the colorizer that a file of the zoo's is for.

    Raises:
        WeightsError: no such file, unreadable, or not written by the zoo.
    """
    metadata = None if path.suffix in CHECKPOINT_SUFFIXES else _read_metadata(path)
    if metadata is None:
        raise WeightsError(
            f"{path} was not written by the zoo; type zoo weights convert {path} --model NAME "
            "-o FILE.safetensors first"
        )
    return str(metadata.get("model"))


def find_weights(
    weights: str | Path, cls: type[Colorizer], *, download: bool = True
) -> StoredWeights:
    """Weights by the path of their file, by the name that they were published under, or on the hub.

    Args:
        weights: the path or name, or `hf:owner/repository[/file]`.
        cls: the colorizer that they are for.
        download: whether those that are not here are fetched at first use.

    Raises:
        UnknownNameError: neither a file nor a published name.
        WeightsError: as `open_weights`, or the file could not be fetched, or must not be.
    """
    path, name = Path(weights).expanduser(), str(weights)
    # As `zoo weights` shows it, too.
    name = name.removeprefix(f"{cls.info.name}@")
    if is_hub(name):
        if not download:
            check_fetched(from_hub(name))
        fetched = fetch(from_hub(name))
        return open_weights(fetched, cls, _origin(from_hub(name)))  # its license is known by now
    known = {each.name for each in published(cls.info.name)}
    if path.is_file() or (name not in known and (path.suffix or len(path.parts) > 1)):
        return open_weights(path, cls)
    chosen = find_published(cls.info.name, name)
    if not download:
        check_fetched(chosen)
    with download_bar() as progress:
        fetched = fetch(chosen, progress=progress)
    return open_weights(fetched, cls, _origin(chosen))


def load_state(net: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copies `tensors` into `net`.

    Raises:
        WeightsError: names, shapes or types differ, or there is NaN or infinity among them; the
            first differences are named.
    """
    expected = net.state_dict()
    pairs = [(name, tensors[name], own) for name, own in expected.items() if name in tensors]
    problems = [f"{n} is missing" for n in sorted(expected.keys() - tensors.keys())]
    problems += [f"{n} is not of this model" for n in sorted(tensors.keys() - expected.keys())]
    problems += [
        f"{n} is {tuple(t.shape)}, not {tuple(own.shape)}"
        for n, t, own in pairs
        if t.shape != own.shape
    ]
    for name, tensor, own in pairs:
        in_half = (tensor.dtype, own.dtype) == (torch.float16, torch.float32)
        if tensor.dtype != own.dtype and not in_half:
            problems.append(f"{name} is {tensor.dtype}, not {own.dtype}")
        elif tensor.shape == own.shape and not torch.isfinite(tensor).all():
            problems.append(f"{name} holds NaN or infinity")
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise WeightsError(f"{path} does not fit the model: {'; '.join(problems[:3])}{more}")
    net.load_state_dict(dict(tensors))


def _read_metadata(path: Path) -> dict[str, Any] | None:
    """The zoo's metadata in a safetensors file; None where it has none."""
    with _opened(path) as file:
        header = file.metadata() or {}
    if _KEY not in header:
        return None
    try:
        metadata = parse_json(header[_KEY])
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise WeightsError(f"{path} is damaged: its {_KEY!r} metadata is not a JSON object")
    return _respelled(metadata)


def _respelled(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with the keys of today; version 0.1 wrote `licence` for `license`."""
    found = {key.replace("licence", "license"): value for key, value in metadata.items()}
    if isinstance(training := found.get("training"), dict):
        found["training"] = {
            key.replace("licence", "license"): value for key, value in training.items()
        }
    return found


def _preprocessing(info: Info) -> dict[str, str]:
    """The units of what the network takes and gives."""
    return {"input": PLANES["L"], "output": PLANES[info.output]}


def _checked(path: Path, cls: type[Colorizer], metadata: Mapping[str, Any]) -> StoredWeights:
    """The metadata of a file that the zoo wrote, every part of it checked."""
    name, version = cls.info.name, str(metadata.get("zoo_version", "?"))
    by = f"it was written by colorizer-zoo {version}, this is {__version__}"
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} has weights format {metadata.get('format')}, this zoo reads {FORMAT}; {by}"
        )
    model = metadata.get("model")
    if model != name:
        raise WeightsError(
            f"{path} holds weights of {model!r}, not of {name!r}; type {model}@{path}"
        )
    stored = metadata.get("preprocessing")
    for plane, expected in _preprocessing(cls.info).items():
        found = stored.get(plane) if isinstance(stored, dict) else None
        if found != expected:
            raise WeightsError(
                f"{path} was trained with another {plane}: {found!r}, where {name} has "
                f"{expected!r}; its colours would be wrong. {by[0].upper()}{by[1:]}"
            )
    options = metadata.get("options")
    if not isinstance(options, dict):
        raise WeightsError(f"{path} is damaged: its options are {options!r}")
    unknown = sorted(options.keys() - {f.name for f in dataclasses.fields(cls.Options)})
    if unknown:
        raise WeightsError(
            f"{path} was trained with options that {name} does not have: "
            f"{', '.join(f'{o}={options[o]!r}' for o in unknown)}; {by}"
        )
    training = metadata.get("training")
    record = read_record(training)
    if training is not None and record is None:
        raise WeightsError(f"{path}: its training record cannot be read; {by}")
    if record is not None and not _SHA256.fullmatch(record.manifest):
        raise WeightsError(
            f"{path} is damaged: its dataset manifest is {record.manifest!r}, not a SHA-256"
        )
    if not metadata.get("license"):
        raise WeightsError(f"{path} names no license; {by}")
    words = {key: metadata.get(key) for key in ("license", "source", "trained_on", "zoo_version")}
    for key, value in words.items():
        if not isinstance(value, str):
            raise WeightsError(f"{path} is damaged: its {key} is {value!r}, and no text")
    origin = Origin(*(str(words[key]) for key in ("license", "source", "trained_on")))
    return StoredWeights(path, options, record, origin, version)


def _converted(
    path: Path, cls: type[Colorizer], tensors: Mapping[str, Tensor], origin: Origin | None
) -> StoredWeights:
    """A file of another program in the zoo's own terms."""
    try:
        options, adopted = cls.convert_state_dict(tensors)
    except WeightsError as error:
        raise WeightsError(f"{path} was not written by the zoo: {error}") from error
    origin = origin or _published_origin(path, cls)
    return StoredWeights(path, dict(options), None, origin, "", adopted)


def _published_origin(path: Path, cls: type[Colorizer]) -> Origin:
    """The origin of the published weights that a file is a copy of, or an unknown one."""
    known = [weights for weights in published(cls.info.name) if weights.pin]
    digest = file_sha256(path) if known else ""
    for weights in known:
        if digest.startswith(weights.pin):
            return _origin(weights)
    return Origin(UNKNOWN_LICENSE)


def _origin(weights: PublishedWeights) -> Origin:
    return Origin(weights.license, weights.source, weights.trained_on)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}; check the path")
    try:
        with (
            utf8_path(path) as readable,
            safetensors.safe_open(readable, framework="pt") as file,
        ):
            yield file
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error


@contextmanager
def utf8_path(path: Path) -> Iterator[Path]:
    """A path of the same file that safetensors can read: it takes names in UTF-8 alone."""
    absolute = path.absolute()
    if name_text(str(absolute)) == str(absolute):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        link = Path(folder) / "weights.safetensors"
        link.symlink_to(absolute)
        yield link


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def read_torch(path: Path) -> Any:
    """The content of a file of `torch.save`: tensors and plain values; no pickled code is run.

    Raises:
        WeightsError: it declares more bytes than it has, which `torch.save` never does.
        Exception: whatever the many readers behind `torch.load` raise.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            declared = sum(member.file_size for member in archive.infolist())
        if declared > (size := path.stat().st_size):
            raise WeightsError(
                f"its {size:,} bytes unpack to {declared:,}; torch.save does not compress"
            )
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict that `torch.save` wrote; pickled code is never run."""
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}; check the path")
    try:
        state = read_torch(path)
    # Whatever the many readers behind torch.load raise, it means the same to the user.
    except Exception as error:
        reason = first_line(error)
        raise WeightsError(f"{path} cannot be read as weights: {reason[:200]}") from error
    if isinstance(state, dict) and {"identity", "feed", "net"} <= state.keys():
        raise WeightsError(
            f"{path} is an unfinished training, not weights: go on with it by zoo fit … --resume"
        )
    if isinstance(state, dict) and isinstance(state.get("params"), dict):
        state = state["params"]  # as BasicSR's programs store them
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise WeightsError(
            f"{path} holds more than a state dict of tensors, or none; save that alone: "
            "torch.save(net.state_dict(), FILE)"
        )
    for name, tensor in state.items():
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            raise WeightsError(
                f"{path}: {name} stands for more numbers than are stored; "
                "save it as it is: tensor.contiguous()"
            )
    return {str(name): tensor for name, tensor in state.items()}
