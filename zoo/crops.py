"""The training images, and the endless shuffled stream of crops out of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zoo.dataset import UInt8Array

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


class ImageStore:
    """uint8 images, resident on the device where they fit, else gathered from the host."""

    def __init__(self, images: UInt8Array, device: torch.device) -> None:
        self.side = int(images.shape[1])
        self._host, self._device = images, device
        self._resident: Tensor | None = None
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if images.nbytes < _RESIDENT_SHARE * free:
                self._resident = torch.from_numpy(np.array(images)).to(device)

    def __len__(self) -> int:
        return len(self._host)

    def crop(self, rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]], size: int) -> Tensor:
        """The crops of rows (image, y, x, flip): N×3×size×size RGB in [0, 1] on the device."""
        span = np.arange(size)
        image = rows[:, 0, None, None]
        y = (rows[:, 1, None] + span)[:, :, None]
        x = rows[:, 2, None] + np.where(rows[:, 3, None] == 1, span[::-1], span)
        x = x[:, None, :]
        if self._resident is not None:
            index = tuple(torch.from_numpy(i).to(self._device) for i in (image, y, x))
            crops = self._resident[index]
        else:
            crops = torch.from_numpy(np.asarray(self._host[image, y, x]))
            if self._device.type == "cuda":
                crops = crops.pin_memory().to(self._device, non_blocking=True)
            else:
                crops = crops.to(self._device)
        return crops.permute(0, 3, 1, 2).float().div_(255)
