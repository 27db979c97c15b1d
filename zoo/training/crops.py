"""The training images, and the endless shuffled stream of crops out of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.arrays import UInt8Array
from zoo.data.degradation import resampling_weights, separable
from zoo.device import upload
from zoo.training.variety import UNVARIED, WHOLE, UniformStream, Variety

# A resident image set may take this share of the free device memory.
_RESIDENT_SHARE = 0.4
_PURPOSE = 2

Rows = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
"""A crop a row: image, y, x, flip, and the side in pixels that it covers."""


class CropStream:
    """Which image, crop and flip stand at each position of an endless, shuffled stream.

    Args:
        count: how many images there are.
        side: their side in pixels.
        size: the side of the crops.
        seed: decides all of it.
        variety: how much of an image a crop covers.
    """

    def __init__(
        self, count: int, side: int, size: int, seed: int, variety: Variety = UNVARIED
    ) -> None:
        self._count, self._side, self._seed = count, side, seed
        self._stored = variety.stored(size)
        self._scale = variety.crop_scale
        # Of crops of one side, the places are whole numbers as they have always been.
        self._scales = None if self._scale == WHOLE else UniformStream(3, seed, _PURPOSE)
        self._epoch = -1
        self._plan: UInt8Array | Rows

    def take(self, start: int, count: int) -> Rows:
        """Rows (image, y, x, flip, side) of the positions `start` … `start + count`: count×5."""
        rows, first = [], start
        while count:
            epoch, within = divmod(start, self._count)
            if epoch != self._epoch:
                generator = np.random.default_rng([self._seed % 2**63, epoch])
                slack = self._side - self._stored
                self._plan = np.stack(
                    [
                        generator.permutation(self._count),
                        generator.integers(0, slack + 1, self._count),
                        generator.integers(0, slack + 1, self._count),
                        generator.integers(0, 2, self._count),
                        np.full(self._count, self._stored),
                    ],
                    axis=1,
                )
                self._epoch = epoch
            rows.append(self._plan[within : within + count])
            start, count = start + len(rows[-1]), count - len(rows[-1])
        taken = np.concatenate(rows).astype(np.int64)
        if self._scales is not None:
            scale, y, x = self._scales.take(first, len(taken)).T
            low, high = self._scale
            covered = np.maximum(1, np.rint((low + (high - low) * scale) * self._stored))
            for column, place in ((1, y), (2, x)):
                taken[:, column] = place * (self._side - covered + 1)
            taken[:, 4] = covered
        return taken


def pixel_index(rows: Any, span: Any) -> tuple[Any, Any, Any]:
    """The index that picks the crops of rows (image, y, x, flip, …) out of N×H×W×3.

    Args:
        rows: N×4 integers or more, in numpy or in torch.
        span: 0 … size − 1, in the library and on the device of `rows`.

    Returns:
        image, y and x that broadcast to N×size×size.
    """
    image, y, x, flip = (rows[:, i, None, None] for i in range(4))
    return image, y + span[:, None], x + flip * (len(span) - 1) + (1 - 2 * flip) * span


class ImageStore:
    """uint8 images, resident on the device where they fit, else gathered from the host."""

    def __init__(self, images: UInt8Array, device: torch.device) -> None:
        self.side = int(images.shape[1])
        self._host, self._device = images, device
        self._resident: Tensor | None = None
        if _stay_on(device, images.nbytes):
            self._resident = torch.from_numpy(np.array(images)).to(device)

    def __len__(self) -> int:
        return len(self._host)

    def crop(self, rows: Rows, size: int) -> Tensor:
        """The crops of rows, resized where they cover another side: N×3×size×size uint8 RGB.

        They are on the device. It does not wait for what the GPU has yet to do.
        """
        as_they_are = bool((rows[:, 4] == size).all())
        if self._resident is not None:
            placed = upload(rows, self._device)
            if not as_they_are:
                return _resized(self._resident, placed, size)
            span = torch.arange(size, device=self._device)
            crops = self._resident[pixel_index(placed, span)]
        elif as_they_are:
            crops = upload(np.asarray(self._host[pixel_index(rows, np.arange(size))]), self._device)
        else:
            crops = upload(_resized_on_host(self._host, rows, size), self._device)
        return crops.permute(0, 3, 1, 2)


def _resized(images: Tensor, rows: Tensor, size: int) -> Tensor:
    """Crops as N×3×size×size uint8, bilinear with antialiasing, all in two products."""
    image, y, x, flip, covered = rows.unbind(1)
    side = images.shape[1]
    vertical, horizontal = (
        resampling_weights(start.float(), covered.float(), side, size) for start in (y, x)
    )
    horizontal = torch.where(flip[:, None, None] > 0, horizontal.flip(1), horizontal)
    planes = images.index_select(0, image).permute(0, 3, 1, 2).float()
    return separable(vertical, horizontal, planes).round().clamp(0, 255).to(torch.uint8)


def _resized_on_host(images: UInt8Array, rows: Rows, size: int) -> UInt8Array:
    """The same as N×size×size×3, up to a rounding: torch's own way, a tenth of the time there."""
    crops = np.empty((len(rows), size, size, 3), np.uint8)
    for crop, (image, y, x, flip, covered) in zip(crops, rows, strict=True):
        # A copy, as the images may be a file that cannot be written to.
        part = np.array(images[image, y : y + covered, x : x + covered])
        planes = torch.from_numpy(part).permute(2, 0, 1)[None]
        resized = F.interpolate(planes, (size, size), mode="bilinear", antialias=True)[0]
        crop[:] = resized.permute(1, 2, 0).numpy()[:, :: -1 if flip else 1]
    return crops


def _stay_on(device: torch.device, size: int) -> bool:
    """Whether images of so many bytes are kept on the device."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return size < _RESIDENT_SHARE * free
