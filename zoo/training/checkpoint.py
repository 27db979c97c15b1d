"""A training under way, kept in a file that `Colorizer.fit` can go on from after a kill.

All that the rest depends on is kept: weights, the states of the optimizers, the random state,
the place in the stream of images and what has been spent. A training that is resumed on the
same machine under a budget in steps ends with the same weights, bit by bit, as one that was
never stopped.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo._version import __version__
from zoo.device import random_state
from zoo.errors import TrainingError, WeightsError
from zoo.files import atomic_path, check_room, free_bytes, megabytes
from zoo.text import first_line
from zoo.training.feed import Feed
from zoo.weights.file import read_torch, stored_bytes

FORMAT = 1
EVERY = 60.0
"""Seconds between two checkpoints, where nothing else is said."""

# Writing may take this share of the time: large networks are written less often.
_WRITING_SHARE = 0.05
# Less free space than this is worth naming where writing failed.
_LITTLE = 100_000_000
# What a file of weights holds beside them, in bytes.
_METADATA = 16_000
# A checkpoint's size in sizes of the weights: Adam keeps two numbers beside each of them.
_STATES = 3


class Checkpoint:
    """A file that a training is written to now and then, and goes on from if it is there.

    It is written between two steps, with the budget's clock standing still, and once more after
    the last one; it appears whole or not at all. Where it cannot be written, training goes on.

    Args:
        path: the file.
        every: seconds between two of them, at least.
        on_problem: told where it cannot be written, and why.
        on_resume: told when a training is resumed, before its first step; `notes` and
            `resumed_steps` are those of the file. What it raises ends the training.

    Attributes:
        path: the file.
        notes: what the caller wants kept with it: numbers, text and tensors in lists and
            dictionaries. Filled with what was kept when a training is resumed.
        resumed_steps: how many steps had been made in the training that was resumed; 0 in a
            fresh one.
        kept_in: where a training that was stopped is instead, if there was no room at `path`.
    """

    def __init__(
        self,
        path: str | Path,
        every: float = EVERY,
        on_problem: Callable[[str], None] = warnings.warn,
        on_resume: Callable[[Checkpoint], None] | None = None,
    ) -> None:
        if not every > 0:
            raise TrainingError(f"seconds between checkpoints must be positive, got {every:g}")
        self.path = Path(path)
        self.notes: dict[str, Any] = {}
        self.resumed_steps = 0
        self._every, self._on_problem, self._on_resume = every, on_problem, on_resume
        self._stopping = False
        self.kept_in: Path | None = None
        self._pause = every
        self._last = time.perf_counter()

    def stop(self) -> None:
        """Ends training after the step under way, by `KeyboardInterrupt`, once it is kept.

        May be called from a signal handler.
        """
        self._stopping = True

    def read(self, identity: Mapping[str, object]) -> dict[str, Any] | None:
        """What was written for the training of this identity; None where there is no file.

        Raises:
            WeightsError: the file is damaged, or of another training: the first difference is
                named. Only what is in `identity` is compared.
        """
        if not self.path.exists():
            return None
        try:
            # Tensors and plain values alone: pickled code is never run.
            state = read_torch(self.path)
            found, written_format = state["identity"], state["format"]
        except Exception as error:
            reason = first_line(error)
            raise WeightsError(
                f"{self.path} is no readable checkpoint ({reason[:120]}); "
                "delete it to start from the beginning"
            ) from error
        if written_format != FORMAT:
            raise WeightsError(
                f"{self.path} has checkpoint format {written_format}, this zoo reads {FORMAT}: it "
                f"was written by colorizer-zoo {state.get('zoo_version', '?')}; finish it with that"
            )
        for name, value in identity.items():
            if found.get(name) != value:
                raise WeightsError(
                    f"{self.path} is of another training: {name} was "
                    f"{_short(found.get(name))}, now it is {_short(value)}; put that right, or "
                    "delete the file to start from the beginning"
                )
        return dict(state)

    def resume(self, identity: Mapping[str, object]) -> dict[str, Any] | None:
        """Reads the file for a training that goes on from it: `notes` are filled.

        Raises:
            WeightsError: as `read`.
        """
        state = self.read(identity)
        if state is not None:
            self.notes = dict(state["notes"])
            self.resumed_steps = int(state["feed"]["steps"])
            if self._on_resume is not None:
                self._on_resume(self)
        return state

    def step(
        self, identity: Mapping[str, object], net: nn.Module, feed: Feed, search_steps: int
    ) -> None:
        """Writes the file where it is time to; to be called after every step.

        Raises:
            KeyboardInterrupt: `stop` was called.
        """
        due = self._stopping or time.perf_counter() - self._last >= self._pause
        if due and feed.can_be_kept:
            with feed.paused():
                self.write(identity, net, feed, search_steps)
        if self._stopping:
            raise KeyboardInterrupt

    def write(
        self, identity: Mapping[str, object], net: nn.Module, feed: Feed, search_steps: int
    ) -> None:
        """Writes the file; the budget's clock must stand still."""
        start = time.perf_counter()
        state = {
            "format": FORMAT,
            "zoo_version": __version__,
            "identity": dict(identity),
            "net": net.state_dict(),
            "feed": feed.state(),
            "random": random_state(feed.device),
            "search_steps": search_steps,
            "notes": self.notes,
        }
        try:
            _save(state, self.path)
        # torch's zip writer may report a full disk as a RuntimeError of its own.
        except (OSError, RuntimeError) as error:
            problem = (
                f"the checkpoint {self.path} could not be written: {_reason(error, self.path)}"
            )
            if not self._stopping:
                self._on_problem(f"{problem}; training goes on")
            else:
                self._on_problem(f"{problem}{self._save_elsewhere(state)}")
        self._last = time.perf_counter()
        self._pause = max(self._every, (self._last - start) / _WRITING_SHARE)

    def check_room(self, net: nn.Module) -> None:
        """Looks for room for the weights, and for this file beside them, before training begins.

        Raises:
            OutputError: there is none for the weights.
        """
        weights = stored_bytes(net.state_dict().values()) + _METADATA
        check_room(self.path, weights, "what is trained")
        # The old one stays until the new one is whole.
        both, free = weights + 2 * _STATES * weights, free_bytes(self.path)
        if free is not None and free < both:
            self._on_problem(
                f"there is room for the weights, but maybe none for the checkpoint {self.path}, "
                f"which may need {megabytes(both)} ({megabytes(free)} are free there); training "
                "goes on, and may be lost if it is stopped"
            )

    def _save_elsewhere(self, state: Mapping[str, Any]) -> str:
        """Keeps a training that stops where there is room for it; gives the words that say so."""
        try:
            self.kept_in = Path(tempfile.mkdtemp(prefix="zoo-")) / self.path.name
            _save(state, self.kept_in)
        except (OSError, RuntimeError) as error:
            self.kept_in = None
            return f", nor in a folder for temporary files: {error}"
        return f"; it is {self.kept_in} instead"

    def remove(self) -> None:
        """Deletes the file, where there is one."""
        self.path.unlink(missing_ok=True)


def _save(state: Mapping[str, Any], path: Path) -> None:
    with atomic_path(path, durable=True) as partial, partial.open("wb") as file:
        torch.save(state, file)


def _reason(error: Exception, path: Path) -> str:
    told = getattr(error, "strerror", None) or first_line(error)
    free = free_bytes(path)
    if free is not None and free < _LITTLE:
        return f"{told} ({megabytes(free)} are free there)"
    return str(told)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
