"""The embedded dataset: seven photographs that scikit-image and scikit-learn ship.

`photos.json` pins the files, the split and the credits. Each photograph has one training and
one test rectangle on a grid of 64 px, a column of the grid apart: 274 training tiles, 86 test
tiles and a margin of 43 that belongs to neither.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from zoo.arrays import UInt8Array
from zoo.data.dataset import Dataset, DatasetInfo, ImageSet, Progress, Split
from zoo.errors import DataError, InputError
from zoo.images.open import read_image

_DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


@dataclass(frozen=True)
class Photo:
    """A photograph of the manifest; rectangles are (x, y, width, height) in pixels."""

    name: str
    package: str
    file: str
    sha256_file: str
    sha256_pixels: str
    width: int
    height: int
    grid: tuple[int, int]
    train: tuple[int, int, int, int]
    test: tuple[int, int, int, int]
    train_tiles: int
    test_tiles: int
    margin_tiles: int
    showcase: tuple[int, int]
    license: str
    credit: str
    source: str

    @property
    def path(self) -> Path:
        """The file in the installed package, which is not imported."""
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise DataError(
                f"photo {self.name!r} comes with {_DISTRIBUTIONS[self.package]}, which is not "
                f"installed; type pip install {_DISTRIBUTIONS[self.package]}"
            )
        return Path(spec.submodule_search_locations[0]) / self.file

    def pixels(self) -> UInt8Array:
        """H×W×3 uint8 as stored, no colour profile applied: what `skimage.data` returns.

        The checksum verified is that of the decoded pixels. The scores depend on nothing
        else, and a release may compress the same picture anew.

        Raises:
            DataError: the file is missing, unreadable or another picture.
        """
        path, again = self.path, f"pip install --force-reinstall {_DISTRIBUTIONS[self.package]}"
        try:
            rgb = np.array(read_image(path).convert("RGB"))
        except InputError as error:
            raise DataError(f"{error}; type {again}") from error
        found = hashlib.sha256(rgb.tobytes()).hexdigest()
        if found != self.sha256_pixels:
            same_file = hashlib.sha256(path.read_bytes()).hexdigest() == self.sha256_file
            advice = (
                "the file is right but decodes otherwise here; "
                "type pip install --force-reinstall --only-binary :all: pillow"
                if same_file
                else f"type {again}"
            )
            raise DataError(
                f"{path}: not the pixels of photo {self.name!r}: "
                f"SHA-256 {found}, expected {self.sha256_pixels}; {advice}"
            )
        return rgb


class Photos(Dataset):
    """Tiles of the seven photographs; nothing is downloaded."""

    info = DatasetInfo(
        name="photos",
        title="Seven photographs from scikit-image and scikit-learn (a smoke test, no ranking)",
        license="public domain, CC0 and CC BY 2.0; one without (see zoo_datasets/photos.json)",
        source="scikit-image and scikit-learn, as installed",
        native_size=64,
        crop="tiles",
        resize="none",
    )
    showcase_side = 128

    @cached_property
    def manifest(self) -> tuple[Photo, ...]:
        """The photographs, in the order of `photos.json`."""
        entries = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
        return tuple(Photo(**{k: _frozen(v) for k, v in e.items()}) for e in entries["photos"])

    def _load(self, split: Split, size: int, progress: Progress | None) -> ImageSet:
        """The rectangles of one split cut into `size`×`size` tiles, without overlap.

        Ids are `NAME/rROWcCOLUMN`, counted in tiles of `size` over the whole photograph.
        """
        rectangles = [photo.train if split == "train" else photo.test for photo in self.manifest]
        largest = min(min(width, height) for _, _, width, height in rectangles)
        if not 1 <= size <= largest:
            raise DataError(
                f"dataset 'photos' has no {split} tiles of {size} px: its largest possible size is "
                f"{largest} px; type --size {largest} or use --dataset folder:PATH"
            )
        tiles, ids = [], []
        for done, (photo, rectangle) in enumerate(zip(self.manifest, rectangles, strict=True)):
            if progress:
                progress("reading photos", done, len(rectangles))
            x0, y0, width, height = rectangle
            rgb = photo.pixels()
            for y in range(y0, y0 + height - size + 1, size):
                for x in range(x0, x0 + width - size + 1, size):
                    tiles.append(rgb[y : y + size, x : x + size])
                    ids.append(f"{photo.name}/r{y // size}c{x // size}")
        return ImageSet(np.stack(tiles), ids)

    def showcase(self, count: int, size: int) -> ImageSet:
        """A square of 128 px from each photograph's test rectangle, whatever `size`.

        A picture of a few tiles shows objects, where one tile of 64 px shows a texture.
        """
        side, chosen = self.showcase_side, self.manifest[: max(0, count)]
        squares = np.empty((len(chosen), side, side, 3), dtype=np.uint8)
        for square, photo in zip(squares, chosen, strict=True):
            x, y = photo.showcase
            square[:] = photo.pixels()[y : y + side, x : x + side]
        return ImageSet(squares, [photo.name for photo in chosen])


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
