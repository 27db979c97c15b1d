"""Sources of images: a plugin writes `Dataset._load`, and everyone else calls `Dataset.open`.

A dataset is an entry point in the group `zoo.datasets`. Its name may carry an argument
after a colon (`folder:PATH`); the part behind the colon is handed to the constructor.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from typing import ClassVar, Literal

import numpy as np

from zoo.arrays import UInt8Array
from zoo.errors import DataError
from zoo.files import name_text, name_texts
from zoo.images.open import GREY_CHROMA, is_grey

Split = Literal["train", "test"]

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`; total is 0 where it is not known."""


@dataclass(frozen=True)
class DatasetInfo:
    """The facts that a dataset declares about itself; `zoo datasets` shows them."""

    name: str
    title: str
    license: str
    source: str
    native_size: int = 64
    """The side in pixels used where the user gives no `--size`."""
    download: str = ""
    """How much is downloaded at first use, for a person to read; empty for nothing."""
    argument: str = ""
    """What goes behind the colon of the name, such as `PATH`; empty for nothing."""
    crop: str = ""
    """How a photograph becomes a square, such as `centre square`; protocols fix it."""
    resize: str = ""
    """The kernel that resizes it, or `none`; protocols fix it."""
    grey_chroma: float = GREY_CHROMA
    """Images whose |a| and |b| nowhere exceed this are left out; -1 where none is."""


@dataclass(frozen=True)
class ImageSet:
    """Square colour images of one size, in memory or memory-mapped.

    Attributes:
        images: N×S×S×3 uint8, sRGB.
        ids: N names, unique within the set and stable between runs and machines.
        skipped: (name, reason) of every file that could not be read.
        grey: ids of images left out because their truth is already grey.
        grey_left_out: whether grey images have been looked for, as the cache of tiles does.
        passed_over: what else the source has and is no image of it, a line for people; or empty.
        source: the dataset's name; empty for images that were given as such.
        license: the dataset's license; empty where it is not known.
    """

    images: UInt8Array
    ids: Sequence[str]
    skipped: Sequence[tuple[str, str]] = field(default=())
    grey: Sequence[str] = field(default=())
    grey_left_out: bool = False
    passed_over: str = ""
    source: str = ""
    license: str = ""

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[3] != 3 or self.images.dtype != np.uint8:
            raise DataError(
                f"an image set holds N×S×S×3 uint8, not {self.images.shape} {self.images.dtype}"
            )
        if len(self.ids) != len(self.images):
            raise DataError(f"{len(self.images)} images but {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """The side of the images in pixels."""
        return int(self.images.shape[1])

    def spread(self, count: int) -> ImageSet:
        """Up to `count` images spread evenly over the set: the same ones whoever asks."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int))
        return ImageSet(np.asarray(self.images[chosen]), [self.ids[i] for i in chosen])

    def without_grey(self) -> ImageSet:
        """The set without the images that are grey already, which are named in `grey`."""
        if self.grey_left_out:
            return self
        flags = is_grey(self.images)
        return replace(
            self,
            images=self.images[~flags] if flags.any() else self.images,
            ids=list(compress(self.ids, ~flags)),
            grey=[*self.grey, *compress(self.ids, flags)],
            grey_left_out=True,
        )

    def left_out(self) -> list[str]:
        """What the source has and the set leaves out, a line each, for people to read."""
        notes = [f"{self.passed_over}."] if self.passed_over else []
        if self.skipped:
            name, reason = self.skipped[0]
            notes.append(
                f"{len(self.skipped)} unreadable files were skipped, such as {name} ({reason})."
            )
        if self.grey:
            notes.append(f"{len(self.grey)} already grey images were left out.")
        return notes

    def manifest_hash(self) -> str:
        """SHA-256 over ids and pixels: equal hashes mean the same images in the same order."""
        return self._manifest

    @cached_property
    def _manifest(self) -> str:
        digest = hashlib.sha256(repr((self.images.shape, list(self.ids))).encode())
        for start in range(0, len(self.images), 1024):
            digest.update(np.ascontiguousarray(self.images[start : start + 1024]).data)
        return digest.hexdigest()


class Dataset(ABC):
    """A source of colour images with a fixed train/test split.

    Subclasses set `info` and implement `_load`. Anything that can be wrong (a missing
    folder, a failed checksum, no network) raises `zoo.errors.DataError` from there.
    """

    info: ClassVar[DatasetInfo]

    def __init__(self, argument: str = "") -> None:
        if argument and not self.info.argument:
            raise DataError(
                f"dataset {self.info.name!r} takes no argument, got {argument!r}; "
                f"type --dataset {self.info.name}"
            )
        if self.info.argument and not argument:
            raise DataError(
                f"dataset {self.info.name!r} needs an argument; "
                f"type --dataset {self.info.name}:{self.info.argument}"
            )
        self.argument = argument

    @property
    def facts(self) -> DatasetInfo:
        """What `info` says, as far as the argument does not change it."""
        return self.info

    @abstractmethod
    def _load(self, split: Split, size: int, progress: Progress | None) -> ImageSet:
        """The tiles of one split, always the same in the same order: what a plugin writes.

        Training tiles may be up to an eighth larger than `size`, to leave room for random
        crops; test tiles are exactly `size`. What is grey already need not be left out, and
        source and license need not be filled in. Where it takes long, `progress` is told.
        """

    def open(self, split: Split, size: int, progress: Progress | None = None) -> ImageSet:
        """The images of one split as tiles of `size`×`size`, less those that are grey already.

        Sets that papers score in full keep the grey ones (`DatasetInfo.grey_chroma`).

        Raises:
            DataError: the data is missing, empty or corrupt.
        """
        if size < 1:
            raise DataError(
                f"dataset {self.info.name!r} has no tiles of {size} px; "
                f"type --size {self.info.native_size}"
            )
        images = self._load(split, size, progress)
        if self.facts.grey_chroma >= 0:
            images = images.without_grey()
        return replace(
            images,
            # From here on names are text, whatever bytes they are on the disk.
            ids=name_texts(images.ids),
            skipped=[(name_text(name), name_text(reason)) for name, reason in images.skipped],
            grey=[name_text(name) for name in images.grey],
            passed_over=name_text(images.passed_over),
            source=self.info.name,
            license=self.info.license,
        )

    def showcase(self, count: int, size: int) -> ImageSet:
        """Test images for the picture grid; by default spread evenly over the test split."""
        return self.open("test", size).spread(count)
