r"""Trains the weights that come along, as docs/release.md tells: `unet_timm@release`.

    python docs/release.py train THUMBNAILS PHOTOGRAPHS first.safetensors --device cuda
    zoo fit unet_timm --init first.safetensors --data folder:THUMBNAILS -o second.safetensors \
        --size 48 --stored-size 64 --crop-scale 0.75,1 --budget 15min --set batch_size=64 \
        --set learning_rate=7e-4 --set decay=0.8 --set averaging=0.998
    zoo fit unet_timm --init second.safetensors … -o third.safetensors --budget 300kimages
    zoo fit unet_timm --init third.safetensors … -o fourth.safetensors --budget 64kimages --seed 1
    python docs/release.py finish PHOTOGRAPHS unet_timm.safetensors \
        third.safetensors fourth.safetensors

The dots stand for what the fit above them has. THUMBNAILS and PHOTOGRAPHS are folders of images,
with `train/` and `val/` or undivided. Crops and variety of the input are the feed's; that it mixes
two sets of images is this script's own.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import zoo
from zoo import registry
from zoo.arrays import UInt8Array
from zoo.color.prior import class_weights, prior_of_ab
from zoo.color.soft_encoding import SoftEncoding
from zoo.colorizer import Colorizer
from zoo.data.dataset import Dataset
from zoo.device import upload
from zoo.metric import Pictures
from zoo.training import crops, feed
from zoo.training.variety import Variety

OPTIONS: Mapping[str, Any] = {
    "backbone": "tf_efficientnet_lite0",
    "enlargement": 2,
    "head_stride": 2,
    "deepest_stride": 32,
    "decoder_width": 64,
    "rebalancing": 0.75,
    "averaging": 0.999,
}
TEMPERATURE = 0.6
BOLDNESS = 0.1
"""By how much of the logarithm of its class weight a bin is preferred; below 0 common ones are."""
SHARES = (0.25, 0.35)
"""The shares of photographs and of thumbnails' crops in twenty images of the stream."""
ENLARGED = (30 / 64, 60 / 64)
"""The share of a thumbnail in a crop of it."""
REDUCED = (88 / 256, 1.0)
"""The share of a photograph that is made smaller."""
PHOTOGRAPH = 256
CYCLE = 20

photographs: UInt8Array


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
        rows[place >= sum(SHARES), 1:3] = 0
        rows[place >= sum(SHARES), 4] = self._whole
        photographed = place < SHARES[0]
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
    """The training of the first step, or the last step."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    first, last = steps.add_parser("train"), steps.add_parser("finish")
    first.add_argument("thumbnails", type=Path)
    for step in (first, last):
        step.add_argument("photographs", type=Path)
        step.add_argument("out", type=Path)
    last.add_argument("weights", type=Path, nargs="+")
    first.add_argument("--seconds", type=float, default=250)
    first.add_argument("--batch", type=int, default=256)
    first.add_argument("--device", default="auto")
    given = parser.parse_args()
    data = registry.open_dataset(f"folder:{given.photographs}")
    if given.step == "train":
        train(given, data).save(given.out)
        return
    colorizer = average(given.weights)
    balance(colorizer, data)
    colorizer.save(given.out)


def train(given: argparse.Namespace, data: Dataset) -> Colorizer:
    """The U-Net over a trunk with ImageNet weights, on both sets of images."""
    global photographs
    thumbnails = registry.open_dataset(f"folder:{given.thumbnails}").open("train", 64)
    photographs = data.open("train", PHOTOGRAPH).images
    feed.CropStream, feed.ImageStore = MixedStream, MixedStore  # type: ignore[misc]
    colorizer = zoo.load(
        "unet_timm",
        device=given.device,
        batch_size=given.batch,
        learning_rate=3e-3,
        backbone_weights="imagenet",
        **OPTIONS,
    )
    return colorizer.fit(thumbnails, budget=f"{given.seconds:g}s", size=64, crop_scale=ENLARGED)


def average(files: Sequence[Path]) -> Colorizer:
    """The mean of trained weights: a model soup (Wortsman et al., ICML 2022).

    The record that goes with it is that of the last file.
    """
    colorizers = [
        zoo.load("unet_timm", weights=file, device="cpu", temperature=TEMPERATURE) for file in files
    ]
    mean = colorizers[-1]
    states = [colorizer.net.state_dict() for colorizer in colorizers]
    for name, tensor in mean.net.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.stack([state[name] for state in states]).mean(0))
    return mean


def balance(colorizer: Colorizer, data: Dataset) -> None:
    """Adds to the head's biases, which makes rare colours likelier or less, as another λ would.

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
