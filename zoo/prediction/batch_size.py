"""Batch sizes of predictions: the fastest by measurement, smaller ones where memory ends."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from math import prod
from typing import Generic, Literal, TypeVar

import torch

from zoo.device import is_out_of_memory
from zoo.errors import InputError
from zoo.text import first_line

BatchSize = int | Literal["auto"] | None
"""Images per pass of the network: a number, by measurement, or what suits the device."""

BATCH_PIXELS = {"cpu": 1 << 16, "cuda": 1 << 22, "mps": 1 << 20}
"""Pixels that suit one pass, by device: on a CPU, what its caches hold."""

SEARCHED = 8
"""How many times `BATCH_PIXELS` the search for the fastest batch goes up to."""

Shape = tuple[int, ...]
Item = TypeVar("Item")
Result = TypeVar("Result")

_UNBOUNDED = 1 << 62

# A doubled batch must save this share of the time per image; two that do not end the search.
_GAIN = 0.05
_PATIENCE = 2


class FastestBatch:
    """Finds the fastest batch size while the work is done: 1, 2, 4, … as long as it pays.

    The first batch of a size warms up and is not counted.

    Attributes:
        size: how many to take next, where there is no limit; see `within`.
        settled: whether the search is over, and `size` is its result.
    """

    def __init__(self) -> None:
        self.size, self.settled = 1, False
        self._warm = False
        self._best = 1
        self._best_time = float("inf")
        self._vain = 0

    def took(self, count: int, seconds: float) -> None:
        """Takes note of a batch; one that is not of `size` tells nothing."""
        if self.settled or count != self.size:
            return
        if not self._warm:
            self._warm = True
            return
        each = seconds / count
        pays = each <= (1 - _GAIN) * self._best_time
        self._vain = 0 if pays else self._vain + 1
        if each < self._best_time:
            self._best, self._best_time = count, each
        self.settled = self._vain == _PATIENCE
        self.size = self._best if self.settled else 2 * count
        self._warm = False

    def within(self, limit: int) -> int:
        """How many to take next where there may be at most `limit`; the search may go on later."""
        return self.size if self.size <= limit else min(self._best, limit)


def _warn(count: int, half: int) -> None:
    warnings.warn(f"out of memory with {count} images at once; going on with {half}", stacklevel=2)


class Batches(Generic[Item, Result]):
    """Items that wait in groups of one shape, and go through `run` batch by batch.

    Where memory ends, a batch is halved, and no later one has more pixels.

    Args:
        batch_size: how many at once, at most.
        pixels: those of one batch at most by default; `auto` takes up to `SEARCHED` times as many.
        fastest: the search among images of a shape, asked where `batch_size` is `auto`.
        run: runs a batch, and returns when it is done.
        halved: told where memory ended with so many, and how many are tried now; by default, warns.
        most: the largest batch that a search tries.

    Raises:
        InputError: no such batch size.
    """

    def __init__(
        self,
        batch_size: BatchSize,
        pixels: int,
        fastest: Callable[[Shape], FastestBatch],
        run: Callable[[Sequence[Item]], Result],
        halved: Callable[[int, int], None] = _warn,
        most: int = _UNBOUNDED,
    ) -> None:
        if batch_size not in (None, "auto") and not (
            isinstance(batch_size, int) and batch_size > 0
        ):
            raise InputError(f"batch_size must be at least 1, or 'auto', got {batch_size!r}")
        self.waiting: dict[Shape, list[Item]] = {}
        self._run, self._halved, self._fastest = run, halved, fastest
        self._search = batch_size == "auto"
        self._most = batch_size if isinstance(batch_size, int) else most
        self._pixels = SEARCHED * pixels if self._search else pixels
        if isinstance(batch_size, int):
            self._pixels = _UNBOUNDED

    def add(self, item: Item, shape: Shape) -> bool:
        """Takes an item in; True where a whole batch of its shape waits now."""
        group = self.waiting.setdefault(shape, [])
        group.append(item)
        return len(group) >= self._size(shape)

    def fullest(self) -> Shape:
        """The shape that most items wait in."""
        return max(self.waiting, key=lambda shape: len(self.waiting[shape]))

    def run_next(self, shape: Shape) -> tuple[list[Item], Result]:
        """Runs the next batch of a shape, and gives it back with its result.

        Raises:
            InputError: too little memory for one image.
        """
        while True:
            group = self.waiting[shape]
            batch = group[: self._size(shape)]
            began = time.perf_counter()
            try:
                result = self._run(batch)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = first_line(error)
            else:
                if self._search:
                    self._fastest(shape).took(len(batch), time.perf_counter() - began)
                del group[: len(batch)]
                if not group:
                    del self.waiting[shape]
                return batch, result
            # Out here the error is gone, and with it the tensors of the pass that failed.
            torch.cuda.empty_cache()
            if len(batch) == 1:
                raise InputError(f"out of memory with one image ({reason}); give a smaller one")
            half = len(batch) // 2
            self._pixels = half * prod(shape)
            self._halved(len(batch), half)

    def _size(self, shape: Shape) -> int:
        limit = max(1, min(self._most, self._pixels // prod(shape)))
        if not self._search:
            return limit
        return self._fastest(shape).within(limit)
