"""The colorizer under test: small, with tiny batches, trained once for most checks."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.arrays import UInt8Array
from zoo.color.lab import rgb_to_lab
from zoo.colorizer import Colorizer, TrainingOptions
from zoo.testing import images

_SIDE = 32
_BATCH_SIZE = 4


class Subject:
    """A colorizer's class, and instances of it as the checks need them.

    Nothing is built before a check asks for it, so that each can be run alone.

    Args:
        cls: the class under test.
        device: where its networks run.
        check_ids: the ids of all checks there are.
    """

    def __init__(
        self, cls: type[Colorizer], device: torch.device, check_ids: frozenset[str]
    ) -> None:
        self.cls, self.device, self.check_ids = cls, device, check_ids

    @property
    def name(self) -> str:
        """The name in its info; the class' own where there is none."""
        return str(getattr(getattr(self.cls, "info", None), "name", self.cls.__name__))

    @property
    def known_failures(self) -> Mapping[str, str]:
        """The failures that it declares; nothing where that is no mapping, which `info` reports."""
        declared = getattr(getattr(self.cls, "info", None), "known_failures", {})
        return declared if isinstance(declared, Mapping) else {}

    @cached_property
    def source(self) -> Path | None:
        """The file of its class, where it has one."""
        try:
            return Path(inspect.getfile(self.cls))
        except (OSError, TypeError):
            return None

    @cached_property
    def options(self) -> Any:
        """Its small preset, with batches of four where the options allow."""
        options = self.cls.preset("small")
        if isinstance(options, TrainingOptions):
            try:
                return dataclasses.replace(options, batch_size=_BATCH_SIZE)
            except ValueError:  # a plugin may insist on larger ones
                return options
        return options

    def new(self, device: str | None = None) -> Colorizer:
        """An untrained one, in float32."""
        return self.cls(self.options, device=device or self.device, precision="fp32")

    @cached_property
    def side(self) -> int:
        """The side of the training crops: 32 px, or what the network takes next."""
        return self.new().padded_side(_SIDE)

    @property
    def photographs(self) -> UInt8Array:
        """Crops of photographs with room for training crops, N×S×S×3; a copy."""
        return images.photographs(self.side + self.side // 2)

    @property
    def greys(self) -> UInt8Array:
        """Grey crops of the training size, N×S×S; a copy."""
        return images.photographs(self.side)[::2, ..., 1].copy()

    @property
    def lightness(self) -> Tensor:
        """L of two photographs, 2×1×S×S."""
        return self.lab(images.photographs(self.side)[[0, 6]])[0]

    def lab(self, rgb: UInt8Array) -> tuple[Tensor, Tensor]:
        """N×H×W×3 uint8 to L and ab on the CPU."""
        L, ab = rgb_to_lab(torch.from_numpy(rgb).permute(0, 3, 1, 2))
        return L.clamp(0, 100), ab

    def fit(self, data: Any = None, *, budget: str = "2steps", **how: Any) -> Colorizer:
        """A newly trained one; on the photographs unless told otherwise."""
        data = self.photographs if data is None else data
        return self.new().fit(data, budget=budget, size=self.side, **how)

    @cached_property
    def fitted(self) -> Colorizer:
        """Trained for two steps, shared: checks must not change it."""
        return self.fit()

    @property
    def takes_steps(self) -> bool:
        """Whether it trains in steps at all; floors, for example, need none."""
        record = self.fitted.record
        return record is not None and record.cost.steps > 0

    @property
    def tolerance(self) -> float:
        """How far two orders of the same sums may lie apart, in units of ab."""
        # A GPU multiplies with ten bits of mantissa, by other algorithms for other batches.
        return 0.05 if self.device.type == "cpu" else 1.0

    @property
    def other_device(self) -> str | None:
        """A device to compare with: the CPU for a GPU, and a GPU for the CPU if there is one."""
        if self.device.type != "cpu":
            return "cpu"
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else None
