"""Many photographs through one colorizer: reading, network and writing at the same time.

Threads read, the calling thread runs the network on batches of equal shape, and threads merge
and write. A gate bounds how many photographs, and how many pixels of them, are in memory at
once. The network never waits for a batch to fill: it takes what is there.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zoo.colorizer import Colorizer
from zoo.device import (
    casting_once,
    is_out_of_memory,
    refused_threads_told,
    single_threaded_pool,
)
from zoo.errors import InputError, NotFittedError, OutputError, ZooError
from zoo.files import NO_ROOM, atomic_path, check_writable
from zoo.images.metadata import fit_metadata
from zoo.images.open import read_size
from zoo.images.photograph import Photograph, read_photograph
from zoo.images.write import FORMATS, Format, Layout, find_format, write_picture
from zoo.pipeline.plan import Job, Settings, check_inputs_are_safe
from zoo.prediction.batch_size import Batches
from zoo.prediction.engine import as_seen, pixels_of_short_side, predict_chroma
from zoo.prediction.merge import coloured_strips
from zoo.prediction.working_size import SMALLEST_WORKING_SIZE

PIXELS_AT_ONCE = 64_000_000
"""Pixels of photographs in memory at the same time; one larger photograph is taken alone."""

_LARGEST_BATCH = 64
_DISK_TROUBLE = (*NO_ROOM, errno.EROFS)


@dataclass(frozen=True)
class Event:
    """Something that happened: a file is `done` or `failed`, or there is a `note` about it.

    Attributes:
        kind: what happened: `done`, `failed` or `note`.
        job: the file it is about; None where it is about all of them.
        message: the reason or the note, one line.
        had_colour: of what is done: whether the photograph was in colour or tinted before.
    """

    kind: Literal["done", "failed", "note"]
    job: Job | None
    message: str = ""
    had_colour: bool = False


@dataclass(frozen=True)
class Report:
    """The report of a run: what became of every file, in the order they were finished.

    Attributes:
        outcomes: one event per file, `done` or `failed`.
        seconds: how long it took, from start to end.
    """

    outcomes: list[Event]
    seconds: float

    @property
    def failures(self) -> list[Event]:
        """The files that failed."""
        return [event for event in self.outcomes if event.kind == "failed"]


def colorize_files(
    colorizer: Colorizer,
    jobs: Sequence[Job],
    settings: Settings | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Report:
    """Colours the files; one that cannot be is reported, and the rest go on.

    Args:
        colorizer: fitted. The chroma of one that paints RGB is taken, not its lightness.
        jobs: as `zoo.pipeline.plan.plan` makes them.
        settings: the defaults where None.
        on_event: called in this thread for every event as it happens.

    Raises:
        NotFittedError: the colorizer has no weights.
        InputError: before any work: an output is an input.
        OutputError: before any work: an output's folder cannot be written to; or later, when
            the disk is full. What was finished is whole.
        ZooError: the system gives too few threads.
        KeyboardInterrupt: after the files that were being written are whole.
    """
    if not colorizer.is_fitted:
        raise NotFittedError(colorizer.info.name)
    check_inputs_are_safe(jobs)
    check_writable(job.target for job in jobs)
    return _Pipeline(colorizer, jobs, settings or Settings(), on_event or (lambda _: None)).run()


class _Pipeline:
    def __init__(
        self,
        colorizer: Colorizer,
        jobs: Sequence[Job],
        settings: Settings,
        on_event: Callable[[Event], None],
    ) -> None:
        self.colorizer, self.settings, self.on_event = colorizer, settings, on_event
        self.jobs, self.next_job, self.job_lock = jobs, iter(jobs), threading.Lock()
        self.workers = settings.workers or min(4, os.cpu_count() or 1)
        self.working_size = pixels_of_short_side(colorizer, settings.working_size)
        largest = _LARGEST_BATCH if settings.batch_size == "auto" else settings.batch_size
        self.batches: Batches[Item, list[Tensor | Exception]] = Batches(
            settings.batch_size,
            colorizer.batch_pixels,
            colorizer.fastest_batch,
            self._predict,
            self._halved,
            most=largest,
        )
        # Enough for a batch in the network, one that fills, and what is read and written.
        self.gate = Gate(2 * largest + 2 * self.workers, PIXELS_AT_ONCE)
        self.inbox: queue.SimpleQueue[Event | Item | OutputError] = queue.SimpleQueue()
        self.finished: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self.stopping = threading.Event()
        self.pool = single_threaded_pool(torch.get_num_threads())
        self.outcomes: list[Event] = []

    def run(self) -> Report:
        start = time.perf_counter()
        with self.pool, self._threads(), casting_once(self.colorizer.device):
            while len(self.outcomes) < len(self.jobs):
                try:
                    message = self.inbox.get(block=not self.batches.waiting)
                except queue.Empty:
                    self._predict_next()
                    continue
                if isinstance(message, OutputError):
                    raise message
                if isinstance(message, Event):
                    self._tell(message)
                    continue
                if self.batches.add(message, message.seen.shape):
                    self._predict_next()
        return Report(self.outcomes, time.perf_counter() - start)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        # Not daemons: a thread that writes must come to its end, even after a second Ctrl-C.
        threads = [
            threading.Thread(target=target, name=f"zoo-{name}-{i}")
            for name, target in (("read", self._read_all), ("write", self._write_all))
            for i in range(min(self.workers, len(self.jobs)))
        ]
        started: list[threading.Thread] = []
        try:
            for thread in threads:
                with refused_threads_told("type --workers 1"):
                    thread.start()
                started.append(thread)
            yield
        finally:
            self.stopping.set()
            self.gate.close()
            for _ in started:
                self.finished.put(None)
            for thread in started:
                thread.join()
            # What was finished while stopping is told, too.
            while not self.inbox.empty():
                message = self.inbox.get()
                if isinstance(message, Event):
                    self._tell(message)

    def _tell(self, event: Event) -> None:
        if event.kind != "note":
            self.outcomes.append(event)
        self.on_event(event)

    # ---- reading -----------------------------------------------------------------------

    def _read_all(self) -> None:
        while not self.stopping.is_set():
            with self.job_lock:
                job = next(self.next_job, None)
            if job is None:
                return
            try:
                height, width = read_size(job.source)
                pixels = height * width
                if not self.gate.enter(pixels):
                    return
                try:
                    self.inbox.put(self._read(job, pixels))
                except BaseException:
                    self.gate.leave(pixels)
                    raise
            except Exception as error:
                self.inbox.put(Event("failed", job, reason_of(error, job)))

    def _read(self, job: Job, pixels: int) -> Item:
        photograph = read_photograph(job.source)
        # A name without a suffix, or with one of a user's own, keeps the format of the content.
        form = find_format(job.target.suffix) if job.target.suffix else None
        form = form or FORMATS.get(photograph.format)
        if form is None:
            raise InputError(f"{job.target.name}: this format is not written; type --format png")
        alpha = photograph.alpha
        if alpha is not None and not form.alpha and alpha.min() < np.iinfo(alpha.dtype).max:
            raise InputError(
                f"{form.name} cannot hold its transparency; choose another with --format png"
            )
        item = Item(job, photograph, form, pixels)
        item.show(self.working_size, self.colorizer)
        return item

    # ---- the network -------------------------------------------------------------------

    def _predict_next(self) -> None:
        """Runs one batch of the shape that most photographs wait in."""
        batch, outcomes = self.batches.run_next(self.batches.fullest())
        for item, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Tensor):
                item.ab = outcome
                self.finished.put(item)
            elif is_out_of_memory(outcome):
                self._make_smaller(item)
            else:
                self._give_up(item, reason_of(outcome, item.job))

    def _predict(self, batch: Sequence[Item]) -> list[Tensor | Exception]:
        """The chroma of each photograph, or what went wrong with it."""
        try:
            ab = predict_chroma(self.colorizer, [item.seen for item in batch]).cpu()
            return [
                # A copy, so that no photograph keeps the chroma of the others.
                chroma[:, : item.seen_size[0], : item.seen_size[1]].clone()
                for item, chroma in zip(batch, ab, strict=True)
            ]
        except Exception as error:
            if len(batch) == 1:
                # Without its traceback, which keeps the tensors of the failed pass alive.
                return [error.with_traceback(None)]
            if is_out_of_memory(error):
                raise
        return [self._predict([item])[0] for item in batch]  # one of them may be to blame

    def _halved(self, count: int, half: int) -> None:
        text = f"out of memory with {count} photographs at once; going on with {half}"
        self._tell(Event("note", None, text))

    def _make_smaller(self, item: Item) -> None:
        size = min(item.seen_size)
        if size <= SMALLEST_WORKING_SIZE:
            self._give_up(item, f"out of memory, even at a working size of {size}")
            return
        smaller = max(SMALLEST_WORKING_SIZE, size // 2)
        text = f"out of memory at a working size of {size}; trying again at {smaller}"
        self._tell(Event("note", item.job, text))
        try:
            item.show(smaller, self.colorizer)
        except MemoryError as error:
            self._give_up(item, reason_of(error, item.job))
            return
        self.batches.add(item, item.seen.shape)

    def _give_up(self, item: Item, reason: str) -> None:
        item.drop()
        self.gate.leave(item.pixels)
        self._tell(Event("failed", item.job, reason))

    # ---- writing -----------------------------------------------------------------------

    def _write_all(self) -> None:
        while (item := self.finished.get()) is not None:
            if not self.stopping.is_set():
                try:
                    self._write(item)
                    for note in item.notes:
                        self.inbox.put(Event("note", item.job, note))
                    assert item.photograph is not None
                    had_colour = item.photograph.has_colour
                    self.inbox.put(Event("done", item.job, had_colour=had_colour))
                except Exception as error:
                    self._fail(item.job, error)
            item.drop()
            self.gate.leave(item.pixels)

    def _fail(self, job: Job, error: Exception) -> None:
        trouble = is_disk_trouble(error)
        with self.job_lock:
            if trouble and self.stopping.is_set():
                return  # another thread has told of it
            if trouble:
                self.stopping.set()
        self.inbox.put(Event("failed", job, reason_of(error, job)))
        if trouble:
            folder = job.target.parent
            self.inbox.put(OutputError(f"nothing more can be written to {folder}; stopped"))

    def _write(self, item: Item) -> None:
        photograph, target = item.photograph, item.job.target
        assert photograph is not None
        assert item.ab is not None
        if target.exists() and not self.settings.overwrite:
            raise InputError(f"{target} exists already; type --overwrite, or another -o")
        alpha = photograph.alpha is not None and item.form.alpha
        bits = 16 if photograph.bits == 16 and item.form.deep else 8
        height, width = photograph.size
        layout = Layout(
            height=height,
            width=2 * width if self.settings.compare else width,
            channels=4 if alpha else 3,
            bits=bits,
            metadata=item.metadata,
            profile=photograph.has_profile,
        )
        strips = coloured_strips(
            photograph,
            item.ab,
            bits=bits,
            alpha=alpha,
            saturation=self.settings.saturation,
            compare=self.settings.compare,
            pool=self.pool,
        )
        with atomic_path(target) as partial:
            write_picture(partial, item.form, layout, strips)


class Item:
    """A photograph on its way through the pipeline, with the lightness that the network sees."""

    def __init__(self, job: Job, photograph: Photograph, form: Format, pixels: int) -> None:
        self.job, self.form, self.pixels = job, form, pixels
        self.photograph: Photograph | None = photograph
        self.metadata, left_out = fit_metadata(
            photograph.metadata, form.name, form.holds, form.block
        )
        self.notes = (*photograph.notes, *left_out)
        self.seen = torch.empty(0, 0)
        self.seen_size = (0, 0)  # height and width without the padding
        self.ab: Tensor | None = None

    def show(self, working_size: int | None, colorizer: Colorizer) -> None:
        """Makes the plane that the network sees, at the working size and padded."""
        assert self.photograph is not None
        self.seen, self.seen_size = as_seen(colorizer, self.photograph.grey, working_size)

    def drop(self) -> None:
        """Lets go of all pixels."""
        self.photograph, self.ab, self.seen = None, None, torch.empty(0, 0)


class Gate:
    """Lets photographs in while there is room for them; one that is too large, alone."""

    def __init__(self, images: int, pixels: int) -> None:
        self._most = (images, pixels)
        self._images = self._pixels = 0
        self._changed = threading.Condition()
        self._closed = False

    def enter(self, pixels: int) -> bool:
        """Waits for room; False where the gate was closed meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(pixels))
            if self._closed:
                return False
            self._images += 1
            self._pixels += pixels
            return True

    def leave(self, pixels: int) -> None:
        """Makes room again."""
        with self._changed:
            self._images -= 1
            self._pixels -= pixels
            self._changed.notify_all()

    def close(self) -> None:
        """Lets nobody in any more, those who wait included."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self, pixels: int) -> bool:
        return self._images == 0 or (
            self._images < self._most[0] and self._pixels + pixels <= self._most[1]
        )


def is_disk_trouble(error: Exception) -> bool:
    """Whether no other file could be written either: the disk is full, or read-only."""
    return isinstance(error, OSError) and error.errno in _DISK_TROUBLE


def reason_of(error: Exception, job: Job) -> str:
    """The error in one line, without the path that the event names anyway."""
    if is_out_of_memory(error):
        return "there is not enough memory for it"
    if isinstance(error, ZooError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split()).removeprefix(f"{job.source}: ")
