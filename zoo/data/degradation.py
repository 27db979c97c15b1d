"""Changes of a lightness that cameras, films, scanners and codecs make: of the input alone.

Everything takes and gives N×1×H×W lightness L in [0, 100], on any device, with strengths per
image (tensors of N) and random numbers out of a given generator. The training feed draws the
strengths at random (`zoo.training.variety`), the benchmark fixes them (its conditions).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from zoo.color.lab import L_to_grey, grey_to_L
from zoo.device import upload

# JPEG's quantisation of luminance at quality 50 (ITU-T T.81, table K.1), in rows of 8.
_QUANTISATION = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)

# Marks on a square of a worn print.
_SPECKS, _SCRATCHES = 10, 2


def resampling_weights(start: Tensor, length: Tensor, side: int, out: int) -> Tensor:
    """The N×out×side weights that resample [start, start + length) bilinearly, with antialiasing.

    Args:
        start: where each of N intervals begins, in pixels of a line of `side`.
        length: how long each is.
        side: pixels of the line.
        out: pixels of the result.
    """
    steps, places = (torch.arange(n, device=start.device) + 0.5 for n in (out, side))
    scale = (length / out)[:, None, None]
    centres = start[:, None, None] + steps[None, :, None] * scale
    weights = (1 - (places - centres).abs() / scale.clamp(min=1)).clamp(min=0)
    end = (start + length)[:, None, None]
    weights = weights * ((places >= start[:, None, None]) & (places <= end))
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)


def gaussian_weights(sigma: Tensor, side: int) -> Tensor:
    """The N×side×side weights of a Gaussian blur of N standard deviations in pixels."""
    places = torch.arange(side, device=sigma.device)
    distance = (places[:, None] - places[None, :]).square()[None]
    weights = torch.exp(-distance / (2 * sigma[:, None, None].square()))
    return weights / weights.sum(-1, keepdim=True)


def separable(rows: Tensor, columns: Tensor, planes: Tensor) -> Tensor:
    """The N×C×H×W planes with N×H'×H weights applied to rows and N×W'×W to columns."""
    return rows[:, None] @ planes @ columns[:, None].mT


def resample(L: Tensor, share: float | Tensor) -> Tensor:
    """L made smaller with antialiasing, by a share in (0, 1] or N of them, and enlarged again."""
    if not isinstance(share, Tensor):
        share = torch.full((1,), float(share), device=L.device)
    there_and_back = []
    for side in L.shape[2:]:
        small = (side * share).round().clamp(min=1)
        start = torch.zeros_like(small)
        # Each has its own number of pixels: lines as long as the whole, of which some are used.
        down = resampling_weights(start, side * side / small, side, side)
        up = resampling_weights(start, small, side, side)
        there_and_back.append(up @ down)
    return separable(there_and_back[0], there_and_back[1], L)


def blur(L: Tensor, sigma: Tensor) -> Tensor:
    """L blurred by a Gaussian of N standard deviations in pixels."""
    height, width = L.shape[2:]
    return separable(gaussian_weights(sigma, height), gaussian_weights(sigma, width), L)


def fade(L: Tensor, contrast: Tensor, black: Tensor) -> Tensor:
    """L with the contrast of a faded print, and its black raised: black + contrast · L.

    Args:
        L: the lightness.
        contrast: N factors in (0, 1].
        black: the N lightnesses that black becomes, at most 100 · (1 − contrast).
    """
    return black[:, None, None, None] + contrast[:, None, None, None] * L


def specks(L: Tensor, noise: Tensor, share: Tensor, tone: Tensor) -> Tensor:
    """L with specks of 2×2 pixels, as dust leaves them.

    Args:
        L: the lightness.
        noise: white, of its shape and standard deviation 1: the specks lie where it is highest.
        share: the N shares of the pixels at which a speck begins, in (0, 1).
        tone: the N lightnesses of the specks.
    """
    begins = noise > -torch.special.ndtri(share)[:, None, None, None]
    covered = F.max_pool2d(F.pad(begins.float(), (1, 0, 1, 0)), 2, 1) > 0
    return torch.where(covered, tone[:, None, None, None], L)


def grain(shape: torch.Size, size: Tensor, generator: Generator) -> Tensor:
    """Noise of standard deviation 1 that is correlated as a film's grain is.

    Args:
        shape: N×1×H×W.
        size: the N standard deviations of the grains in pixels.
        generator: where the random numbers come from, on the device of `size`.
    """
    return clustered(torch.randn(shape, device=size.device, generator=generator), size)


def clustered(noise: Tensor, size: Tensor) -> Tensor:
    """White noise N×1×H×W as grains of N standard deviations in pixels; its own is 1 again."""
    noise = blur(noise, size)
    return noise / noise.std((1, 2, 3), keepdim=True)


@lru_cache(maxsize=8)
def _jpeg_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """The 8×8 matrix of the discrete cosine transform, and the quantisation at quality 50."""
    k = np.arange(8)
    dct = np.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) / 2
    dct[0] /= math.sqrt(2)
    table = np.reshape(_QUANTISATION, (8, 8))
    return upload(dct.astype(np.float32), device), upload(table.astype(np.float32), device)


def jpeg(L: Tensor, quality: Tensor, offset: Tensor | None = None) -> Tensor:
    """L after the loss of a grey JPEG of N qualities in [1, 100], as libjpeg counts them.

    Args:
        L: the lightness.
        quality: N qualities.
        offset: N×2 whole numbers from 0 to 7, y and x, by which the grid of 8×8 blocks is moved.
    """
    grey = (L_to_grey(L) * 255).round()
    if offset is None:
        offset = torch.zeros(1, 2, dtype=torch.int64, device=L.device)
        room = 0
    else:
        room = 7
    # The edges go on up to whole blocks, as they do in an encoder.
    whole, back = [], []
    for axis, side in enumerate(grey.shape[2:]):
        moved = offset[:, axis, None]
        places = torch.arange(-(-(side + room) // 8) * 8, device=L.device)
        whole.append((places - moved).clamp(0, side - 1))
        back.append(torch.arange(side, device=L.device) + moved)
    padded = _take(grey, whole) - 128
    tall, wide = (side // 8 for side in padded.shape[2:])
    strips = padded.view(-1, tall, 8, 8 * wide)
    dct, table = _jpeg_tables(L.device)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    # For N×rows of blocks×8×columns of blocks×8.
    table = ((table * scale + 50) / 100).floor().clamp(1, 255)[:, None, :, None]
    blocks = (dct @ strips).view(-1, tall, 8, wide, 8) @ dct.T
    coarse = (blocks / table).round() * table
    decoded = (dct.T @ (coarse @ dct).flatten(3)).view(padded.shape) + 128
    return grey_to_L(_take(decoded, back).round().clamp(0, 255).to(torch.uint8))


def _take(planes: Tensor, places: list[Tensor]) -> Tensor:
    """The pixels at N×H' rows and N×W' columns (or 1×…, the same for all) of N×1×H×W planes."""
    rows, columns = places
    image = torch.arange(len(planes), device=planes.device)[:, None, None]
    return planes[:, 0][image, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def dust(L: Tensor, generator: Generator) -> Tensor:
    """L with the specks and scratches of a worn print, white or black.

    Their sizes are shares of the short side: a larger scan of one print has larger ones.

    Args:
        L: the lightness.
        generator: where the random numbers come from, on the device of `L`.
    """
    count, height, width = len(L), *L.shape[2:]
    unit = min(height, width) / 64
    marks = _SPECKS + _SCRATCHES
    y, x = (torch.arange(side, device=L.device) + 0.5 for side in (height, width))
    # Nearly upright, as film is scratched along its way; a speck is a stroke of no length.
    places, slopes, lengths, radii, opacities, whites = (
        torch.rand(size, device=L.device, generator=generator)
        for size in ((2, marks, count, 1, 1), *[(marks, count, 1, 1)] * 5)
    )
    result = L[:, 0]
    for mark in range(marks):
        scratch = mark < _SCRATCHES
        top, left = places[0, mark] * height, places[1, mark] * width
        length = unit * (16 + 40 * lengths[mark]) if scratch else torch.zeros_like(top)
        radius = unit * (0.15 + 0.35 * radii[mark] if scratch else 0.5 + 1.1 * radii[mark])
        down = torch.minimum((y[:, None] - top).clamp(min=0), length)
        across = left + 0.2 * (slopes[mark] - 0.5) * down
        distance = torch.hypot(y[:, None] - top - down, x - across)
        cover = (radius + 0.5 - distance).clamp(0, 1) * (0.6 + 0.4 * opacities[mark])
        tone = torch.where(whites[mark] < 0.7, 95.0, 8.0)
        result = result + cover * (tone - result)
    return result[:, None]
