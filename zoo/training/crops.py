"""The training images, and the endless shuffled stream of crops out of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.arrays import UInt8Array

# A resident image set may take this share of the free device memory.
_RESIDENT_SHARE = 0.4


class CropStream:
    """Which image, crop and flip stand at each position of an endless, shuffled stream."""

    def __init__(self, count: int, slack: int, seed: int) -> None:
        self._count, self._slack, self._seed = count, slack, seed
        self._epoch = -1
        self._plan: UInt8Array | np.ndarray[tuple[int, ...], np.dtype[np.int64]]

    def take(self, start: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """Rows (image, y, x, flip) of the positions `start` … `start + count`: count×4."""
        rows = []
        while count:
            epoch, within = divmod(start, self._count)
            if epoch != self._epoch:
                generator = np.random.default_rng([self._seed % 2**63, epoch])
                self._plan = np.stack(
                    [
                        generator.permutation(self._count),
                        generator.integers(0, self._slack + 1, self._count),
                        generator.integers(0, self._slack + 1, self._count),
                        generator.integers(0, 2, self._count),
                    ],
                    axis=1,
                )
                self._epoch = epoch
            rows.append(self._plan[within : within + count])
            start, count = start + len(rows[-1]), count - len(rows[-1])
        return np.concatenate(rows).astype(np.int64)


def pixel_index(rows: Any, span: Any) -> tuple[Any, Any, Any]:
    """The index that picks the crops of rows (image, y, x, flip) out of N×H×W×3.

    Args:
        rows: N×4 integers, in numpy or in torch.
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

    def crop(self, rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]], size: int) -> Tensor:
        """The crops of rows (image, y, x, flip): N×3×size×size uint8 RGB on the device.

        It does not wait for what the GPU has yet to do.
        """
        if self._resident is not None:
            span = torch.arange(size, device=self._device)
            crops = self._resident[pixel_index(self._upload(rows), span)]
        else:
            crops = self._upload(np.asarray(self._host[pixel_index(rows, np.arange(size))]))
        return crops.permute(0, 3, 1, 2)

    def _upload(self, array: np.ndarray[Any, Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        # From memory that is not pinned, a copy ends the queue: the GPU would run dry.
        pinned = self._device.type == "cuda"
        tensor = tensor.pin_memory() if pinned else tensor
        return tensor.to(self._device, non_blocking=pinned)


def _stay_on(device: torch.device, size: int) -> bool:
    """Whether images of so many bytes are kept on the device."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return size < _RESIDENT_SHARE * free
