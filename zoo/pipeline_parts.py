"""Parts of `zoo.pipeline`: a photograph on its way, the gate it comes in by, and reasons."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from zoo.batch_size import is_out_of_memory
from zoo.colorize import Job
from zoo.errors import ZooError
from zoo.image_files import Photograph
from zoo.image_writers import Format
from zoo.metadata import fit_metadata
from zoo.photos import RESIZE_KERNEL

_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


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
