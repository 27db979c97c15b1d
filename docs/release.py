"""Trains the weights that come along, as docs/release.md tells: `unet_timm@release`.

    python docs/release.py THUMBNAILS PHOTOGRAPHS OUT --first 145 --second 55 --device cuda

THUMBNAILS and PHOTOGRAPHS are folders of images, with `train/` and `val/` or undivided. Crops and
variety of the input are this script's own: it puts them in the feed's place.
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Generator, Tensor

import zoo
from zoo import registry
from zoo.color.lab import L_to_grey, grey_to_L, rgb_to_lab
from zoo.training import feed

OPTIONS: Mapping[str, Any] = {
    "backbone": "tf_efficientnet_lite0",
    "enlargement": 2,
    "head_stride": 2,
    "deepest_stride": 32,
    "decoder_width": 32,
    "rebalancing": 0.75,
    "averaging": 0.999,
}
SHARE_OF_SECOND = 0.3
# JPEG's quantisation of luminance at quality 50 (ITU-T T.81, table K.1).
QUANTISATION = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)

# ---- crops ----------------------------------------------------------------------------------


def resampling(start: Tensor, length: Tensor, side: int, out: int) -> Tensor:
    """N×out×side weights that resample [start, start + length) bilinearly, with antialiasing."""
    steps, places = (torch.arange(n, device=start.device) + 0.5 for n in (out, side))
    scale = (length / out)[:, None, None]
    centres = start[:, None, None] + steps[None, :, None] * scale
    weights = (1 - (places - centres).abs() / scale.clamp(min=1)).clamp(min=0)
    end = (start + length)[:, None, None]
    weights = weights * ((places >= start[:, None, None]) & (places <= end))
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)


def scaled_crops(images: Tensor, sides: tuple[float, float], size: int, draw: Generator) -> Tensor:
    """Squares of a side within `sides`, half of them mirrored: N×S×S×3 to N×3×size×size."""
    count, side = images.shape[:2]
    length, y, x, mirrored = torch.rand(4, count, device=images.device, generator=draw)
    length = sides[0] + (sides[1] - sides[0]) * length
    rows = resampling(y * (side - length), length, side, size)
    columns = resampling(x * (side - length), length, side, size)
    columns = torch.where((mirrored < 0.5)[:, None, None], columns.flip(1), columns)
    return rows[:, None] @ images.permute(0, 3, 1, 2).float() @ columns[:, None].mT


# ---- variety of the input -------------------------------------------------------------------


def blurring(sigma: Tensor, side: int) -> Tensor:
    """N×side×side weights of a Gaussian of N standard deviations in pixels."""
    places = torch.arange(side, device=sigma.device)
    distance = (places[:, None] - places[None, :]).square()[None]
    weights = torch.exp(-distance / (2 * sigma[:, None, None].square()))
    return weights / weights.sum(-1, keepdim=True)


def both_ways(weights: Tensor, planes: Tensor) -> Tensor:
    """The planes with the weights applied to their rows and to their columns."""
    return weights[:, None] @ planes @ weights[:, None].mT


def jpeg(grey: Tensor, quality: Tensor, shift: tuple[int, int]) -> Tensor:
    """N×1×H×W grey of 8 bits after JPEG's quantisation, its blocks moved by `shift` pixels."""
    height, width = grey.shape[2:]
    y, x = shift
    around = (x, (-width - x) % 8, y, (-height - y) % 8)
    padded = F.pad(grey, around, mode="replicate") - 128
    tall, wide = (side // 8 for side in padded.shape[2:])
    blocks = padded.view(-1, tall, 8, wide, 8).transpose(2, 3)
    k = torch.arange(8.0, device=grey.device)
    dct = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) / 2
    dct[0] /= math.sqrt(2)
    table = torch.tensor(QUANTISATION, device=grey.device).view(8, 8)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    table = ((table * scale + 50) / 100).floor().clamp(1, 255)[:, None, None]
    coarse = (dct @ blocks @ dct.T / table).round() * table
    whole = (dct.T @ coarse @ dct).transpose(2, 3).reshape(padded.shape) + 128
    return whole[:, :, y : y + height, x : x + width].round().clamp(0, 255)


def varied(L: Tensor, draw: Generator, host: Generator) -> Tensor:
    """N×1×S×S lightness as other cameras, scanners and years would have left it."""
    count, side, device = len(L), L.shape[-1], L.device

    def random() -> Tensor:
        return torch.rand(count, 1, 1, 1, device=device, generator=draw)

    def flat() -> Tensor:
        return random().flatten()

    small = max(8, int(side * (0.5 + 0.5 * float(torch.rand((), generator=host)))))
    start, whole = (torch.tensor([value], device=device) for value in (0.0, float(side)))
    down = resampling(start, whole, side, small)
    up = resampling(start, whole * small / side, small, side)
    out = torch.where(random() < 0.1, both_ways(up @ down, L), L)
    out = torch.where(random() < 0.15, both_ways(blurring(0.3 + 1.2 * flat(), side), out), out)
    contrast = 0.5 + 0.5 * random()
    faded = random() * 100 * (1 - contrast) + contrast * out
    out = torch.where(random() < 0.2, faded, out)
    white, grain = torch.randn(2, *L.shape, device=device, generator=draw)
    grain = both_ways(blurring(0.5 + 0.8 * flat(), side), grain)
    grain = grain / grain.std((1, 2, 3), keepdim=True)
    noise = torch.where(random() < 0.4, grain, white)
    out = torch.where(random() < 0.3, out + 6 * random().square() * noise, out)
    specks = torch.rand(L.shape, device=device, generator=draw) < 0.003 * random()
    specks = F.max_pool2d(specks.float(), 2, 1, 1)[..., :side, :side] > 0
    tone = torch.where(random() < 0.5, 95.0, 8.0)
    out = torch.where((random() < 0.08) & specks, tone, out).clamp(0, 100)
    moved = bool(torch.rand((), generator=host) < 0.5)
    y, x = (int(n) * moved for n in torch.randint(0, 8, (2,), generator=host))
    coded = jpeg((L_to_grey(out) * 255).round(), 30 + 68 * flat(), (y, x))
    return torch.where(random() < 0.3, grey_to_L(coded / 255), out)


# ---- training -------------------------------------------------------------------------------


class Mixture(feed.ImageStore):
    """Batches of photographs in scaled crops, of thumbnails enlarged, and of thumbnails as such."""

    photographs: Tensor
    batch = size = 0
    shares = (0.0, 0.0)
    draw: Generator

    def crop(self, rows: np.ndarray[Any, Any], size: int) -> Tensor:
        """As the store does where the feed surveys its images; a mixture for a batch."""
        if len(rows) != self.batch:
            return super().crop(rows, size)
        photos, enlarged = (int(len(rows) * share) for share in self.shares)
        some = torch.randint(
            len(self.photographs), (photos,), device=self.photographs.device, generator=self.draw
        )
        whole = super().crop(np.array([[row[0], 0, 0, 0] for row in rows]), self.side)
        whole = whole.permute(0, 2, 3, 1)
        parts = (
            scaled_crops(self.photographs[some], (88, 256), self.size, self.draw),
            scaled_crops(whole[:enlarged], (30, 60), self.size, self.draw),
            scaled_crops(whole[enlarged : len(rows) - photos], (63.9, 64), self.size, self.draw),
        )
        return torch.cat(parts).round().clamp(0, 255).to(torch.uint8)


def main() -> None:
    """Two trainings, and the mean of their weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("thumbnails", "photographs", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--first", type=float, default=145, help="seconds at 64 px")
    parser.add_argument("--second", type=float, default=55, help="seconds at 128 px")
    parser.add_argument("--batch", type=int, default=256, help="images of 64 px per step")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    thumbnails = registry.open_dataset(f"folder:{given.thumbnails}").open("train", 64)
    photographs = registry.open_dataset(f"folder:{given.photographs}").open("train", 256)
    device = zoo.load("grey", device=given.device).device
    Mixture.photographs = torch.from_numpy(np.array(photographs.images)).to(device)
    Mixture.draw, host = Generator(device).manual_seed(1), Generator().manual_seed(0)

    def lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
        L, ab = rgb_to_lab(rgb)
        return (varied(L, Mixture.draw, host) if len(L) == Mixture.batch else L), ab

    feed.ImageStore, feed.rgb_to_lab = Mixture, lab  # type: ignore[misc, assignment]
    given.out.mkdir(parents=True, exist_ok=True)
    files = [given.out / "first.safetensors", given.out / "second.safetensors"]
    stages = (
        (given.first, 64, given.batch, 3e-3, (0.35, 0.35), "imagenet", None),
        (given.second, 128, given.batch // 3, 1e-3, (0.6, 0.2), "none", files[0]),
    )
    for file, stage in zip(files, stages, strict=True):
        seconds, Mixture.size, Mixture.batch, rate, Mixture.shares, trunk, start = stage
        colorizer = zoo.load(
            "unet_timm",
            device=given.device,
            batch_size=Mixture.batch,
            learning_rate=rate,
            backbone_weights=trunk,
            **OPTIONS,
        )
        colorizer.fit(thumbnails, budget=f"{seconds:g}s", size=64, initial=start)
        colorizer.save(file)
        print(file, colorizer.record.cost if colorizer.record else "")  # noqa: T201
    first, second = map(load_file, files)
    colorizer = zoo.load("unet_timm", weights=files[0], device="cpu")
    for name, tensor in colorizer.net.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_((1 - SHARE_OF_SECOND) * first[name] + SHARE_OF_SECOND * second[name])
    colorizer.save(given.out / "unet_timm.safetensors", half=True)


if __name__ == "__main__":
    main()
