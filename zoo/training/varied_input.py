"""What networks see in training: lightness as other cameras, scanners and years would leave it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from zoo.data import degradation
from zoo.device import upload
from zoo.training.variety import COLUMNS, UniformStream, draw_changes

# The side of the plane of noise that every image has a window of: it repeats beyond.
_NOISE_SIDE = 512
_PURPOSE = 1


class VariedInput:
    """Changes of the lightness at random: resampled, blurred, faded, noisy, specked, compressed.

    What befalls an image depends on the seed and its place in the stream alone, not on its
    batch. The host draws all of it: nothing waits for a GPU.
    """

    def __init__(self, size: int, device: torch.device, seed: int) -> None:
        self._numbers = UniformStream(COLUMNS, seed, _PURPOSE)
        side = max(_NOISE_SIDE, 2 * size)
        generator = torch.Generator("cpu").manual_seed(seed % 2**63)
        self._noise = torch.randn(side, side, device="cpu", generator=generator).to(device)
        self._side = torch.arange(size, device=device)
        self._apply: dict[str, Callable[..., Tensor]] = {
            "resample": degradation.resample,
            "blur": degradation.blur,
            "fade": lambda L, contrast, tone: degradation.fade(L, contrast, tone * (1 - contrast)),
            "noise": lambda L, sigma, y, x: L + _each(sigma) * self._window(y, x),
            "grain": lambda L, sigma, size, y, x: (
                L + _each(sigma) * degradation.clustered(self._window(y, x), size)
            ),
            "specks": lambda L, share, tone, y, x: degradation.specks(
                L, self._window(y, x), share, tone
            ),
            "jpeg": lambda L, quality, grid: degradation.jpeg(
                L, quality, torch.stack((grid // 8, grid % 8), dim=1).long()
            ),
        }

    def __call__(self, L: Tensor, place: int) -> Tensor:
        """The N×1×S×S lightness of the images from `place` on in the stream, changed; a copy."""
        changes = draw_changes(self._numbers.take(place, len(L)))
        # One copy to the device for all.
        images = upload(np.concatenate([c.images for c in changes.values()]), L.device)
        drawn = np.concatenate([c.strengths.ravel() for c in changes.values()])
        strengths = upload(drawn.astype(np.float32), L.device)
        seen, first_image, first_strength = L.clone(), 0, 0
        for name, change in changes.items():
            if not len(change.images):
                continue
            some = images[first_image : first_image + len(change.images)]
            part = strengths[first_strength : first_strength + change.strengths.size]
            columns = part.view(change.strengths.shape).unbind(1)
            seen.index_copy_(0, some, self._apply[name](seen.index_select(0, some), *columns))
            first_image += len(change.images)
            first_strength += change.strengths.size
        return seen.clamp_(0, 100)

    def _window(self, y: Tensor, x: Tensor) -> Tensor:
        side = len(self._noise)
        rows, columns = (((share * side).long()[:, None] + self._side) % side for share in (y, x))
        return self._noise[rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def _each(strengths: Tensor) -> Tensor:
    return strengths[:, None, None, None]
