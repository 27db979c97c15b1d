"""How many images go through the network at once: by measurement, and fewer where memory ends."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Literal, TypeVar

import torch

from zoo.device import is_out_of_memory
from zoo.errors import InputError

BatchSize = int | Literal["auto"] | None
"""Images per pass of the network: a number, by measurement, or what suits the device."""

BATCH_PIXELS = {"cpu": 1 << 16, "cuda": 1 << 22, "mps": 1 << 20}
"""Pixels that suit one pass, by device: on a CPU, what its caches hold."""

SEARCHED = 8
"""The search for the fastest batch goes up to so many times these."""

Shape = tuple[int, ...]
Result = TypeVar("Result")

# A doubled batch must save this share of the time per image; two that do not end the search.
_GAIN = 0.05
_PATIENCE = 2


class FastestBatch:
    """Finds the fastest batch size while the work is done: 1, 2, 4, … as long as it pays.

    The first batch of a size warms up and is not counted.

    Attributes:
        size: how many to take next.
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

    def stay_within(self, limit: int) -> None:
        """Nothing larger than `limit` is tried any more."""
        if self.size > limit:
            self.size = min(self._best, limit)
            self.settled = True


def in_batches(
    shapes: Sequence[Shape],
    batch_size: BatchSize,
    pixels: int,
    fastest: Callable[[Shape], FastestBatch],
    run: Callable[[Sequence[int]], Result],
) -> Iterator[tuple[Sequence[int], Result]]:
    """Runs images batch by batch, each of one shape, and yields every batch with its result.

    Args:
        shapes: of the images, H×W; a batch is a list of indices of them.
        batch_size: how many at once, at most.
        pixels: of one batch at most by default; `auto` takes up to `SEARCHED` times as many.
        fastest: the search among images of a shape, asked where `batch_size` is `auto`.
        run: runs a batch, and returns when it is done.

    Raises:
        InputError: no such batch size; too little memory for one image.
    """
    if batch_size not in (None, "auto") and not (isinstance(batch_size, int) and batch_size > 0):
        raise InputError(f"batch_size must be at least 1, or 'auto', got {batch_size!r}")
    alike: dict[Shape, list[int]] = {}
    for index, shape in enumerate(shapes):
        alike.setdefault(shape, []).append(index)
    for shape, indices in alike.items():
        search = fastest(shape) if batch_size == "auto" else None
        fitting = max(1, (SEARCHED if search else 1) * pixels // prod(shape))
        limit = batch_size if isinstance(batch_size, int) else fitting
        yield from _of_one_shape(indices, limit, run, search)


def _of_one_shape(
    indices: Sequence[int],
    limit: int,
    run: Callable[[Sequence[int]], Result],
    fastest: FastestBatch | None,
) -> Iterator[tuple[Sequence[int], Result]]:
    start = 0
    while start < len(indices):
        if fastest is not None:
            fastest.stay_within(limit)
        batch = indices[start : start + (fastest.size if fastest else limit)]
        began = time.perf_counter()
        try:
            result = run(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        else:
            if fastest is not None:
                fastest.took(len(batch), time.perf_counter() - began)
            yield batch, result
            start += len(batch)
            continue
        # Out here the error is gone, and with it the tensors of the pass that failed.
        torch.cuda.empty_cache()
        if len(batch) == 1:
            raise InputError(f"out of memory with one image ({reason}); give a smaller one")
        limit = len(batch) // 2
        warnings.warn(
            f"out of memory with {len(batch)} images at once; going on with {limit}", stacklevel=2
        )
