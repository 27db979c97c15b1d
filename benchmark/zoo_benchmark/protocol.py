"""What a comparison holds fixed: data, size, budget, preset, seeds, metrics."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Protocol:
    """The rules of one comparison.

    Attributes:
        name: with its version, `quick@1`.
        dataset: as `--dataset` takes it.
        size: side of training crops and test images in pixels.
        preset: which options models start from.
        budget: what each model may spend on training.
        seeds: repetitions, each with its own data order and weights.
        note: what a reader of its tables must know.
    """

    name: str
    dataset: str
    size: int
    preset: Literal["paper", "small"]
    budget: str
    seeds: int
    note: str = ""

    def departures(self, other: Protocol) -> list[str]:
        """How `other` differs from this protocol, as `field=value` (not counting the name)."""
        return [
            f"{field.name}={getattr(other, field.name)}"
            for field in dataclasses.fields(self)
            if field.name not in ("name", "note")
            and getattr(self, field.name) != getattr(other, field.name)
        ]


QUICK = Protocol(
    name="quick@1",
    dataset="photos",
    size=64,
    preset="small",
    budget="20s",
    seeds=1,
    note="tiles of seven scenes: a smoke test, not a ranking",
)


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
