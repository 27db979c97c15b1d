"""The cost of a training, in each of the four units that a budget can be given in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["seconds", "steps", "images", "flops"]


@dataclass(frozen=True)
class Cost:
    """The cost of a training so far, in all four units.

    `flops` is the count of one eager step by `zoo.training.flops` (forward and backward; a
    multiply and an add are two) times the number of steps.
    """

    seconds: float = 0.0
    steps: int = 0
    images: int = 0
    flops: float = 0.0
