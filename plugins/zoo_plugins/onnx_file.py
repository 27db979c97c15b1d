"""Exported files as colorizers: what `zoo export` wrote, run by ONNX Runtime.

A file takes a whole photograph in 8 bits and gives it in colour, and shrinks it to its own working
size by itself. Its pictures are scored as they are. `predict` and `zoo colorize` take their chroma
and merge it with the lightness of the input: the colours that 8 bits cannot hold were cut off
before, so that some levels lie between its pictures and theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from zoo.color.lab import L_to_grey
from zoo.colorizer import Colorizer, Info
from zoo.errors import ExportError, InputError, WeightsError
from zoo.export.file import metadata_of, open_session, run
from zoo.weights.file import Origin, StoredWeights


class ExportedFile(nn.Module):
    """The network and all around it, in a file; it has no parameters that PyTorch knows of."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        # Its bytes: a file of others could name more files, which are not to be read.
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"there is no file {path}; check the path") from error
        try:
            self.session = open_session(content)
            self.metadata = metadata_of(self.session)
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from error

    def forward(self, L: Tensor) -> Tensor:
        """N×1×H×W L, rounded to 8 bits of grey, to N×3×H×W RGB in [0, 1]."""
        grey = (L_to_grey(L.float()).clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        rgb = np.stack([run(self.session, self._picture(plane)) for plane in grey[:, 0]])
        return torch.from_numpy(rgb).permute(0, 3, 1, 2).to(L.device).float() / 255

    def _picture(self, plane: Tensor) -> Any:
        size = self.metadata["size"]
        if size is not None and tuple(size) != tuple(plane.shape):
            raise InputError(
                f"the file takes pictures of {size[1]}×{size[0]} px alone, got "
                f"{plane.shape[1]}×{plane.shape[0]}; export it without --size"
            )
        return np.repeat(plane.numpy()[:, :, None], 3, axis=2)


class OnnxFile(Colorizer):
    """A file that `zoo export` wrote: `onnx@FILE`."""

    info = Info(
        name="onnx",
        title="A file of zoo export, run by ONNX Runtime",
        paper="none",
        license="Apache-2.0",
        output="rgb",
    )
    net: ExportedFile

    @classmethod
    def open_file(cls, path: Path) -> StoredWeights:
        """What the file says of itself.

        Raises:
            WeightsError: `zoo export` did not write it.
        """
        told = ExportedFile(path).metadata
        origin = Origin(told["license"], told["source"], told["trained_on"])
        return StoredWeights(path, {}, None, origin, told["zoo_version"])

    def restore(self, stored: StoredWeights) -> Self:
        """Opens the file; returns self."""
        self.net = ExportedFile(stored.path)
        self.origin, self._fitted = stored.origin, True
        return self

    @property
    def working_size(self) -> None:
        """Any: the file makes the copy that its network sees itself."""

    @property
    def parameter_count(self) -> int:
        """How many parameters the exported network had."""
        return int(self.net.metadata["parameters"])

    def build(self) -> nn.Module:
        """Refuses: there is nothing to train."""
        raise ExportError("an exported file is not trained; type onnx@FILE")

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Refuses: the file is there already."""
        raise ExportError(f"an exported file has no weights to write to {path}; copy the file")

    def forward(self, L: Tensor) -> Tensor:
        """The colours that the file gives."""
        output: Tensor = self.net(L)
        return output
