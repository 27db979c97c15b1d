"""Weights on disk: safetensors, with what is needed to rebuild the model in the metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from zoo.errors import WeightsError
from zoo.files import atomic_path

FORMAT = 1
_KEY = "colorizer-zoo"


def save_weights(path: Path, net: nn.Module, metadata: Mapping[str, Any]) -> None:
    """Writes the state of `net` and `metadata` (JSON) to a safetensors file, atomically."""
    if path.suffix != ".safetensors":
        raise WeightsError(f"weights are written as safetensors; type {path.name}.safetensors")
    # Copies, since safetensors refuses tensors that share memory, as tied weights do.
    tensors = {
        name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, t in net.state_dict().items()
    }
    header = {_KEY: json.dumps({"format": FORMAT, **metadata})}
    with atomic_path(path) as partial:
        safetensors.torch.save_file(tensors, partial, metadata=header)


def read_weights(path: Path, model: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a file that `save_weights` wrote for `model`.

    Raises:
        WeightsError: no such file, not safetensors, not written by the zoo, or for another
            model.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return tensors, read_metadata(path, model)


def read_metadata(path: Path, model: str) -> dict[str, Any]:
    """The metadata alone, from the file's header; raises like `read_weights`."""
    with _opened(path) as file:
        header = file.metadata() or {}
    if _KEY not in header:
        raise WeightsError(
            f"{path} was not written by the zoo (no {_KEY!r} in its metadata); "
            "use a file written by colorizer.save(…)"
        )
    try:
        metadata = json.loads(header[_KEY])
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise WeightsError(f"{path} is damaged: its {_KEY!r} metadata is not a JSON object")
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} has weights format {metadata.get('format')}, this zoo reads {FORMAT}; "
            f"it was written by colorizer-zoo {metadata.get('zoo_version', '?')}"
        )
    if metadata.get("model") != model:
        raise WeightsError(
            f"{path} holds weights of {metadata.get('model')!r}, not of {model!r}; "
            f"type zoo.load({metadata.get('model')!r}, weights=…)"
        )
    return metadata


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}; check the path")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error


def load_state(net: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copies `tensors` into `net`.

    Raises:
        WeightsError: names or shapes differ; the first differences are named.
    """
    expected = {name: tuple(t.shape) for name, t in net.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in tensors.items()}
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    differing = [
        f"{n} is {found[n]}, not {expected[n]}"
        for n in expected
        if n in found and found[n] != expected[n]
    ]
    problems = (
        [f"{n} is missing" for n in missing] + [f"{n} is not of this model" for n in extra]
    ) + differing
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise WeightsError(f"{path} does not fit the model: {'; '.join(problems[:3])}{more}")
    net.load_state_dict(dict(tensors))
