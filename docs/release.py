"""Trains the weights that come along, as docs/release.md tells: `unet_timm@release`.

    python docs/release.py THUMBNAILS PHOTOGRAPHS OUT --device cuda

A stage with 0 seconds is not trained: what it gave before is taken from OUT.

THUMBNAILS and PHOTOGRAPHS are folders of images, with `train/` and `val/` or undivided. Crops and
variety of the input are the feed's; that it mixes two sets of images is this script's own.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

import zoo
from zoo import registry
from zoo.arrays import UInt8Array
from zoo.color.prior import class_weights, prior_of_ab
from zoo.color.soft_encoding import SoftEncoding
from zoo.colorizer import Colorizer
from zoo.data.dataset import Dataset, ImageSet
from zoo.device import upload
from zoo.metric import Pictures
from zoo.training import crops, feed
from zoo.training.variety import Variety
from zoo_plugins.unet_timm import UNetTimm

OPTIONS: Mapping[str, Any] = {
    "backbone": "tf_efficientnet_lite0",
    "enlargement": 2,
    "head_stride": 2,
    "deepest_stride": 32,
    "decoder_width": 64,
    "rebalancing": 0.75,
    "averaging": 0.999,
}
BOLDNESS = 0.2
"""By how much of the logarithm of its class weight a bin is preferred."""
ENLARGED = (30 / 64, 60 / 64)
"""The share of a thumbnail in a crop of it."""
REDUCED = (88 / 256, 1.0)
"""The share of a photograph that is made smaller."""
PHOTOGRAPH = 256
CYCLE = 20


@dataclass(frozen=True)
class Stage:
    """A training.

    Attributes:
        name: of its file, and of the option that gives its seconds.
        seconds: how long it takes where none are given.
        size: pixels of the square images.
        batch: images per step.
        learning_rate: the highest.
        shares: of photographs and of thumbnails' crops among the images; the rest are whole
            thumbnails.
        weight: of its result in the mean.
        shrunk: the side in pixels that every second batch is shrunk to; 0 for none.
        start: the stage whose result it starts from; none for the trunk's ImageNet weights.
    """

    name: str
    seconds: float
    size: int
    batch: int
    learning_rate: float
    shares: tuple[float, float]
    weight: float
    shrunk: int = 0
    start: str = ""


STAGES = (
    Stage("first", 250, 64, 256, 3e-3, (0.25, 0.35), 0.0),
    Stage("second", 80, 128, 85, 1e-3, (0.5, 0.25), 0.0, start="first"),
    Stage("third", 1800, 64, 64, 7e-4, (0.0, 0.3), 1.0, shrunk=48, start="first"),
)

photographs: UInt8Array
shares = (0.0, 0.0)
"""The shares of photographs and of thumbnails' crops in twenty images of the stream."""


class OnTwoSizes(UNetTimm):
    """The U-Net, taught on batches as they are and on shrunk ones by turns.

    A thumbnail is a JPEG of its own size, soft and with the edges of the blocks. Shrunk it is as
    sharp and clean as a photograph that was made smaller, and there are a hundred times as many.
    """

    def __init__(self, shrunk: int = 0, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._shrunk, self._turn = shrunk, 0

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        """That of the U-Net."""
        self._turn += 1
        if self._shrunk and self._turn % 2:
            side = (self._shrunk, self._shrunk)
            L, ab = (
                F.interpolate(planes, side, mode="bilinear", antialias=True) for planes in (L, ab)
            )
        return super().loss(L, ab)


class MixedStream(crops.CropStream):
    """Photographs, crops of thumbnails and whole thumbnails, by their place in the stream.

    The images of photographs are counted on behind the thumbnails.
    """

    def __init__(self, count: int, side: int, size: int, seed: int, variety: Variety) -> None:
        super().__init__(count, side, size, seed, variety)
        self._whole, self._first = side, count
        reduced = Variety(crop_scale=REDUCED, stored_size=max(PHOTOGRAPH, size))
        self._photographs = crops.CropStream(
            len(photographs), photographs.shape[1], size, seed + 1, reduced
        )

    def take(self, start: int, count: int) -> crops.Rows:
        """As `CropStream` does."""
        rows = super().take(start, count)
        place = np.arange(start, start + count) % CYCLE / CYCLE
        rows[place >= sum(shares), 1:3] = 0
        rows[place >= sum(shares), 4] = self._whole
        photographed = place < shares[0]
        rows[photographed] = self._photographs.take(start, count)[photographed]
        rows[photographed, 0] += self._first
        return rows


class MixedStore(crops.ImageStore):
    """The thumbnails, and the photographs behind them."""

    def __init__(self, images: UInt8Array, device: torch.device) -> None:
        super().__init__(images, device)
        self._at = device
        self._photographs = crops.ImageStore(photographs, device)

    def crop(self, rows: crops.Rows, size: int) -> Tensor:
        """As `ImageStore` does."""
        photographed = rows[:, 0] >= len(self)
        if not photographed.any():
            return super().crop(rows, size)
        theirs = rows[photographed] - np.array([len(self), 0, 0, 0, 0])
        parts = (super().crop(rows[~photographed], size), self._photographs.crop(theirs, size))
        order = np.argsort(np.argsort(photographed, kind="stable"), kind="stable")
        return torch.cat(parts).index_select(0, upload(order, self._at))


def main() -> None:
    """The trainings, the mean of their weights, and more colour."""
    global photographs
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("thumbnails", "photographs", "out"):
        parser.add_argument(name, type=Path)
    for stage in STAGES:
        parser.add_argument(
            f"--{stage.name}", type=float, default=stage.seconds, help="its seconds, or 0"
        )
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    thumbnails = registry.open_dataset(f"folder:{given.thumbnails}").open("train", 64)
    photographs = (
        registry.open_dataset(f"folder:{given.photographs}").open("train", PHOTOGRAPH).images
    )
    feed.CropStream, feed.ImageStore = MixedStream, MixedStore  # type: ignore[misc]
    given.out.mkdir(parents=True, exist_ok=True)
    files = {stage.name: given.out / f"{stage.name}.safetensors" for stage in STAGES}
    for stage in STAGES:
        if seconds := getattr(given, stage.name):
            colorizer = train(stage, seconds, thumbnails, files.get(stage.start), given.device)
            colorizer.save(files[stage.name])
            print(files[stage.name], colorizer.record and colorizer.record.cost)  # noqa: T201
    colorizer = mean(files)
    prefer_rare_bins(colorizer, registry.open_dataset(f"folder:{given.photographs}"))
    colorizer.save(given.out / "unet_timm.safetensors", half=True)


def train(
    stage: Stage, seconds: float, thumbnails: ImageSet, initial: Path | None, device: str
) -> Colorizer:
    """One training, from ImageNet weights of the trunk or from those of another stage."""
    global shares
    shares = stage.shares
    colorizer = OnTwoSizes(
        stage.shrunk,
        device=device,
        batch_size=stage.batch,
        learning_rate=stage.learning_rate,
        backbone_weights="none" if initial else "imagenet",
        **OPTIONS,
    )
    return colorizer.fit(
        thumbnails,
        budget=f"{seconds:g}s",
        size=stage.size,
        stored_size=max(stage.size, thumbnails.images.shape[1]),
        crop_scale=ENLARGED,
        initial=initial,
    )


def mean(files: Mapping[str, Path]) -> Colorizer:
    """The mean of what the stages gave, by their weights in it."""
    stored = {stage.name: load_file(files[stage.name]) for stage in STAGES if stage.weight}
    colorizer = zoo.load("unet_timm", weights=files["first"], device="cpu")
    for name, tensor in colorizer.net.state_dict().items():
        if tensor.is_floating_point():
            tensor.zero_()
            for stage in STAGES:
                if stage.weight:
                    tensor.add_(stored[stage.name][name], alpha=stage.weight)
    return colorizer


def prefer_rare_bins(colorizer: Colorizer, data: Dataset) -> None:
    """Adds to the head's biases, which makes rare colours likelier as a smaller λ would.

    It is the logit adjustment of Menon et al., ICLR 2021, section 4, with Zhang's smoothed class
    weights in the place of the frequencies.
    """
    encode = SoftEncoding(5, 5.0, colorizer.device)
    images = data.open("train", 64).images
    parts = (images[start : start + 64] for start in range(0, len(images), 64))
    prior = prior_of_ab((Pictures.from_array(part).ab for part in parts), encode, 2)
    weights = class_weights(prior, OPTIONS["rebalancing"])
    bias = colorizer.net.get_parameter("head.bias")
    with torch.no_grad():
        bias += BOLDNESS * weights.log()


if __name__ == "__main__":
    main()
