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
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from zoo.color.lab import grey_to_L
from zoo.colorizer import Colorizer
from zoo.device import casting_once, is_out_of_memory
from zoo.errors import InputError, NotFittedError, OutputError, ZooError
from zoo.files import atomic_path
from zoo.images.metadata import fit_metadata
from zoo.images.open import RESIZE_KERNEL, read_size
from zoo.images.photograph import Photograph, read_photograph
from zoo.images.write import FORMATS, Format, Layout, find_format, write_picture
from zoo.pipeline.plan import (
    SMALLEST_WORKING_SIZE,
    Job,
    Settings,
    check_folders_are_writable,
    check_inputs_are_safe,
    suited_working_size,
)
from zoo.prediction.batch_size import SEARCHED
from zoo.prediction.merge import coloured_strips

PIXELS_AT_ONCE = 64_000_000
"""Pixels of photographs in memory at the same time; one larger photograph is taken alone."""

_LARGEST_BATCH = 64
_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Event:
    """Something that happened: a file is `done` or `failed`, or there is a `note` about it.

    Attributes:
        kind: of event.
        job: the file it is about; None where it is about all of them.
        message: the reason or the note, one line.
    """

    kind: Literal["done", "failed", "note"]
    job: Job | None
    message: str = ""


@dataclass(frozen=True)
class Report:
    """What became of every file, in the order they were finished.

    Attributes:
        outcomes: one event per file, `done` or `failed`.
        seconds: from start to end.
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
        KeyboardInterrupt: after the files that were being written are whole.
    """
    if not colorizer.is_fitted:
        raise NotFittedError(colorizer.info.name)
    check_inputs_are_safe(jobs)
    check_folders_are_writable(job.target for job in jobs)
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
        self.working_size = settings.working_size or suited_working_size(colorizer.record)
        self.batch_pixels = SEARCHED * colorizer.batch_pixels
        if settings.batch_size:
            self.batch_pixels = 1 << 62
        self.largest_batch = settings.batch_size or _LARGEST_BATCH
        # Enough for a batch in the network, one that fills, and what is read and written.
        self.gate = Gate(2 * self.largest_batch + 2 * self.workers, PIXELS_AT_ONCE)
        self.inbox: queue.SimpleQueue[Event | Item | OutputError] = queue.SimpleQueue()
        self.finished: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self.stopping = threading.Event()
        self.outcomes: list[Event] = []
        self.waiting: dict[tuple[int, ...], list[Item]] = {}

    def run(self) -> Report:
        start = time.perf_counter()
        with self._threads(), casting_once(self.colorizer.device):
            while len(self.outcomes) < len(self.jobs):
                try:
                    message = self.inbox.get(block=not self.waiting)
                except queue.Empty:
                    self._predict_next()
                    continue
                if isinstance(message, OutputError):
                    raise message
                if isinstance(message, Event):
                    self._tell(message)
                    continue
                group = self.waiting.setdefault(message.working.shape, [])
                group.append(message)
                if len(group) >= self._batch_size(message.working.shape):
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
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            self.gate.close()
            for _ in threads:
                self.finished.put(None)
            for thread in threads:
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
        form = (
            find_format(job.target.suffix) if job.target.suffix else FORMATS.get(photograph.format)
        )
        if form is None:
            raise InputError(f"{job.target.name}: this format is not written; type --format png")
        if photograph.alpha is not None and not form.alpha and not _is_opaque(photograph):
            raise InputError(
                f"{form.name} cannot hold its transparency; choose another with --format png"
            )
        item = Item(job, photograph, form, pixels)
        item.shrink(self.working_size, self.colorizer.padded_side)
        return item

    # ---- the network -------------------------------------------------------------------

    def _batch_size(self, shape: tuple[int, ...]) -> int:
        fitting = self.batch_pixels // (shape[0] * shape[1])
        limit = max(1, min(self.largest_batch, fitting))
        if self.settings.batch_size:
            return limit
        fastest = self.colorizer.fastest_batch(shape)
        fastest.stay_within(limit)
        return fastest.size

    def _predict_next(self) -> None:
        """Runs one batch of the shape that most photographs wait in."""
        shape = max(self.waiting, key=lambda key: len(self.waiting[key]))
        group = self.waiting[shape]
        size = self._batch_size(shape)
        batch, rest = group[:size], group[size:]
        if rest:
            self.waiting[shape] = rest
        else:
            del self.waiting[shape]
        self._predict(batch)

    def _predict(self, batch: list[Item]) -> None:
        failure: Exception | None = None
        began = time.perf_counter()
        try:
            grey = torch.from_numpy(np.stack([item.working for item in batch]))
            L = grey_to_L(grey.unsqueeze(1).to(self.colorizer.device))
            ab = self.colorizer.predict_ab(L).cpu()
            seconds = time.perf_counter() - began
            self.colorizer.fastest_batch(batch[0].working.shape).took(len(batch), seconds)
            for item, chroma in zip(batch, ab, strict=True):
                height, width = item.inner
                item.ab = chroma[:, :height, :width].clone()
        except Exception as error:
            # Without its traceback, which keeps the tensors of the failed pass alive.
            failure = error.with_traceback(None)
        if failure is None:
            for item in batch:
                self.finished.put(item)
        elif is_out_of_memory(failure):
            self._make_smaller(batch)
        elif len(batch) > 1:
            for item in batch:  # one of them may be to blame
                self._predict([item])
        else:
            self._give_up(batch[0], reason_of(failure, batch[0].job))

    def _make_smaller(self, batch: list[Item]) -> None:
        if self.colorizer.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch) > 1:
            half = len(batch) // 2
            shape = batch[0].working.shape
            self.batch_pixels = half * shape[0] * shape[1]
            self._tell(
                Event(
                    "note",
                    None,
                    f"out of memory with {len(batch)} photographs at once; going on with {half}",
                )
            )
            self.waiting[shape] = batch + self.waiting.get(shape, [])
            return
        item = batch[0]
        size = min(item.inner)
        if size <= SMALLEST_WORKING_SIZE:
            self._give_up(item, f"out of memory, even at a working size of {size}")
            return
        smaller = max(SMALLEST_WORKING_SIZE, size // 2)
        self._tell(
            Event(
                "note",
                item.job,
                f"out of memory at a working size of {size}; trying again at {smaller}",
            )
        )
        try:
            item.shrink(smaller, self.colorizer.padded_side)
        except MemoryError as error:
            self._give_up(item, reason_of(error, item.job))
            return
        self.waiting.setdefault(item.working.shape, []).append(item)

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
                    self.inbox.put(Event("done", item.job))
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
        )
        with atomic_path(target) as partial:
            write_picture(partial, item.form, layout, strips)


def _is_opaque(photograph: Photograph) -> bool:
    alpha = photograph.alpha
    return alpha is None or int(alpha.min()) == np.iinfo(alpha.dtype).max


class Item:
    """A photograph on its way, with the plane that the network sees."""

    def __init__(self, job: Job, photograph: Photograph, form: Format, pixels: int) -> None:
        self.job, self.form, self.pixels = job, form, pixels
        self.photograph: Photograph | None = photograph
        self.metadata, left_out = fit_metadata(
            photograph.metadata, form.name, form.holds, form.block
        )
        self.notes = (*photograph.notes, *left_out)
        self.working: npt.NDArray[np.uint8] = np.empty((0, 0), np.uint8)
        self.inner = (0, 0)  # height and width without the padding
        self.ab: Tensor | None = None

    def shrink(self, size: int, padded_side: Callable[[int], int]) -> None:
        """Makes the working plane, its short side `size` at most, padded by its edges."""
        assert self.photograph is not None
        grey = self.photograph.grey_8()
        height, width = grey.shape
        scale = min(1.0, size / min(height, width))
        tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
        if scale < 1:
            kernel = Image.Resampling[RESIZE_KERNEL.upper()]
            grey = np.asarray(Image.fromarray(grey).resize((wide, tall), kernel))
        below, right = padded_side(tall) - tall, padded_side(wide) - wide
        self.working = np.pad(grey, ((0, below), (0, right)), mode="edge")
        self.inner = (tall, wide)

    def drop(self) -> None:
        """Lets go of all pixels."""
        self.photograph, self.ab, self.working = None, None, np.empty((0, 0), np.uint8)


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
    """True where no other file could be written either: the disk is full, or read-only."""
    return isinstance(error, OSError) and error.errno in _DISK_TROUBLE


def reason_of(error: Exception, job: Job) -> str:
    """One line, without the path that the event names anyway."""
    if is_out_of_memory(error):
        return "there is not enough memory for it"
    if isinstance(error, ZooError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split()).removeprefix(f"{job.source}: ")
