"""The datasets that torchvision knows how to download, check and read.

torchvision itself is imported by `open` only: listing the datasets imports none of it.
"""

from __future__ import annotations

import hashlib
import urllib.error
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from zoo.arrays import UInt8Array
from zoo.data.dataset import Dataset, DatasetInfo, ImageSet, Progress, Split
from zoo.data.tiles import cached_tiles
from zoo.errors import DataError
from zoo.files import NO_WRITING, cache_advice, cache_folder
from zoo.images.open import RESIZE_KERNEL, SQUARE_CROP, square_tile
from zoo.text import first_line
from zoo_datasets.downloading import FAILURES, downloading
from zoo_datasets.folder import is_test, tiles_of_files

# What is true of most of them.
_info = partial(
    DatasetInfo,
    license="non-commercial research; the images belong to their authors",
    crop=SQUARE_CROP,
    resize=RESIZE_KERNEL,
)


class TorchvisionSet(Dataset):
    """A dataset of torchvision: downloaded once, under a lock, then used without a network.

    Subclasses say how torchvision is asked for a split, and where it gets the archive.
    """

    _class: ClassVar[str]
    """The name of torchvision's class."""

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self.root = cache_folder() / "datasets" / self.info.name

    @property
    def _loader(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, self._class)

    @abstractmethod
    def _open(self, split: Split, *, download: bool) -> Any:
        """The dataset object of torchvision."""

    @abstractmethod
    def _archives(self, split: Split) -> list[str]:
        """The addresses that torchvision downloads for this split."""

    def _get(self, split: Split, progress: Progress | None) -> Any:
        """The dataset object of torchvision, downloaded if it is not there yet.

        Raises:
            DataError: how to put the archive there by hand, where it cannot be downloaded.
        """
        if progress:
            progress(f"opening {self.info.name}", 0, 0)
        try:
            with downloading(self.root):
                return self._open(split, download=True)
        except FAILURES as error:
            reason = first_line(error)
            if isinstance(error, OSError) and error.errno in NO_WRITING:
                # This machine's doing, not a server's.
                raise DataError(
                    f"dataset {self.info.name!r} cannot be kept in "
                    f"{error.filename or self.root}: {error.strerror or reason}; {cache_advice()}"
                ) from error
            archive = self.root / Path(self._archives(split)[-1]).name
            if isinstance(error, urllib.error.URLError) and archive.exists():
                reason += f" ({archive.name} is there, but incomplete or not the original)"
            raise DataError(
                f"dataset {self.info.name!r} could not be downloaded: {reason}; "
                f"put {' and '.join(self._archives(split))} into {self.root} by hand, "
                "or type --dataset photos, which needs no network"
            ) from error


class _ArraySet(TorchvisionSet):
    """Datasets that torchvision holds in memory as one array."""

    def _load(self, split: Split, size: int, progress: Progress | None) -> ImageSet:
        """The official split at exactly `size`, resized where that is not the native size."""

        def tiles() -> Iterator[UInt8Array]:
            for image in self._pixels(self._get(split, progress)):
                yield square_tile(np.ascontiguousarray(image), size)

        # The archive's checksum is verified whenever it is opened; with the tiles cached under
        # the addresses it need not be opened again.
        checksums = [self._loader.train_list, self._loader.test_list]
        key = ["torchvision", self.info.name, split, self._archives(split), checksums]
        found = cached_tiles(key, size, tiles, 0, progress)
        return ImageSet(
            found.images,
            [f"{split}/{position:05d}" for position in found.kept],
            grey=[f"{split}/{position:05d}" for position in found.grey],
            grey_left_out=True,
        )

    def _archives(self, split: Split) -> list[str]:
        return [self._loader.url]

    def _pixels(self, opened: Any) -> UInt8Array:
        """The pixels of an opened dataset, N×H×W×3 uint8."""
        data: UInt8Array = opened.data
        return data


class CIFAR10(_ArraySet):
    """60,000 small photographs in ten classes."""

    info = _info(
        name="cifar10",
        title="CIFAR-10: 50,000 + 10,000 photographs of 32 px",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        native_size=32,
        download="170 MB",
    )
    _class = "CIFAR10"

    def _open(self, split: Split, *, download: bool) -> Any:
        return self._loader(self.root, train=split == "train", download=download)


class CIFAR100(CIFAR10):
    """60,000 small photographs in a hundred classes."""

    info = replace(
        CIFAR10.info,
        name="cifar100",
        title="CIFAR-100: 50,000 + 10,000 photographs of 32 px",
        download="169 MB",
    )
    _class = "CIFAR100"


class STL10(_ArraySet):
    """13,000 labelled photographs; the unlabelled ones are left alone."""

    info = _info(
        name="stl10",
        title="STL-10: 5,000 + 8,000 photographs of 96 px",
        source="https://cs.stanford.edu/~acoates/stl10/",
        native_size=64,
        download="2.6 GB",
    )
    _class = "STL10"

    def _open(self, split: Split, *, download: bool) -> Any:
        return self._loader(self.root, split=split, download=download)

    def _pixels(self, opened: Any) -> UInt8Array:
        pixels: UInt8Array = opened.data.transpose(0, 2, 3, 1)
        return pixels


class _FileSet(TorchvisionSet):
    """Datasets that torchvision unpacks into image files."""

    def _load(self, split: Split, size: int, progress: Progress | None) -> ImageSet:
        """Centre squares of the split's files, reduced; ids are paths below the download."""
        opened = self._get(split, progress)
        files = [Path(file) for file in self._files(opened, split)]
        if not files:
            raise DataError(f"{self.root} holds no {split} images; remove it, and it is made anew")
        images = tiles_of_files(self.root, files, split, size, progress)
        if not len(images):
            raise DataError(f"none of {len(files)} {split} images in {self.root} can be used")
        return images

    @abstractmethod
    def _files(self, opened: Any, split: Split) -> list[str]:
        """The image files of one split, in a fixed order."""


class Imagenette(_FileSet):
    """Ten easy classes of ImageNet, in the edition of 320 px on the short side."""

    info = _info(
        name="imagenette",
        title="Imagenette (320 px): 9,469 + 3,925 photographs",
        license="Apache-2.0 for the selection; the images under ImageNet's terms",
        source="https://github.com/fastai/imagenette",
        download="340 MB",
    )
    _class = "Imagenette"

    def _open(self, split: Split, *, download: bool) -> Any:
        return self._loader(
            self.root, split="train" if split == "train" else "val", size="320px", download=download
        )

    def _archives(self, split: Split) -> list[str]:
        return [self._loader._ARCHIVES["320px"][0]]

    def _files(self, opened: Any, split: Split) -> list[str]:
        return [file for file, _ in opened._samples]


class SUN397(_FileSet):
    """108,754 scenes. There is no official split for colour: a tenth by hash is the test set."""

    info = _info(
        name="sun397",
        title="SUN397: 108,754 photographs of scenes",
        source="https://vision.princeton.edu/projects/2010/SUN/",
        download="37 GB",
    )
    _class = "SUN397"

    def _open(self, split: Split, *, download: bool) -> Any:
        return self._loader(self.root, download=download)

    def _archives(self, split: Split) -> list[str]:
        return [self._loader._DATASET_URL]

    def _files(self, opened: Any, split: Split) -> list[str]:
        # By name rather than content: the files never change, and hashing 37 GB takes long.
        names = sorted(file.relative_to(self.root).as_posix() for file in opened._image_files)
        tests = {name for name in names if is_test(hashlib.sha256(name.encode()).hexdigest())}
        return [str(self.root / name) for name in names if (name in tests) == (split == "test")]


class Places365(_FileSet):
    """Scenes: train-standard for training and the validation set for tests, both small."""

    info = _info(
        name="places365",
        title="Places365 (256 px): 1,803,460 + 36,500 photographs of scenes",
        source="http://places2.csail.mit.edu/",
        download="24 GB for training, 0.5 GB for tests; decoded tiles of 64 px take 28 GB more",
    )
    _class = "Places365"

    @staticmethod
    def _official(split: Split) -> str:
        return "train-standard" if split == "train" else "val"

    def _open(self, split: Split, *, download: bool) -> Any:
        return self._loader(self.root, split=self._official(split), small=True, download=download)

    def _archives(self, split: Split) -> list[str]:
        names = [
            self._loader._DEVKIT_META["standard"][0],
            self._loader._IMAGES_META[self._official(split), True][0],
        ]
        return [self._loader._BASE_URL + name for name in names]

    def _files(self, opened: Any, split: Split) -> list[str]:
        return [file for file, _ in opened.imgs]
