"""Fitting one image: what a network cannot learn by heart it will not learn at all.

The oldest check of a training set-up, and for colorizers the place where colour bleeding shows:
objects whose colours run over their edges after hundreds of looks at one image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.arrays import UInt8Array
from zoo.color.lab import rgb_to_lab
from zoo.colorizer import Colorizer
from zoo.diagnose.bleeding import EdgeError, edge_error
from zoo.errors import InputError, OptionError
from zoo.images.open import is_grey, read_image, square_tile, to_rgb
from zoo.info import Preset
from zoo.options import option_names
from zoo.registry import colorizers_with_option, trainable_class
from zoo.training.budget import Budget
from zoo.training.feed import Feed

INITIALIZATION = "initialization"
"""The option that a model has if its first weights can be drawn in more than one way."""

BOTH = "both"
BATCH_SIZE = 2
"""Images per step: copies of the one, which the feed mirrors at random."""


@dataclass(frozen=True)
class Overfit:
    """The result of fitting one image.

    Attributes:
        initialization: how the first weights were drawn; empty where the model has but one way.
        losses: at the first and at the last steps; None where the method takes no step.
        steps: how many were made.
        seconds: how long they took.
        error: how far the prediction's ab is off: over the whole image, at object edges, elsewhere.
        rgb: H×W×3 uint8: the prediction.
        ab: 2×H×W: its chroma.
    """

    initialization: str
    losses: tuple[float, float] | None
    steps: int
    seconds: float
    error: EdgeError
    rgb: UInt8Array
    ab: Tensor


def read_tile(path: Path, size: int) -> UInt8Array:
    """The centre square of a photograph in colour, reduced to size×size×3 uint8.

    Raises:
        InputError: it cannot be read, is smaller than that, or has no colour to be learnt.
    """
    if size < 1:
        raise InputError(f"an image cannot be reduced to {size} px; type --size 128")
    rgb = to_rgb(read_image(path))
    height, width = rgb.shape[:2]
    if min(height, width) < size:
        raise InputError(
            f"{path}: {width}×{height} pixels are less than {size}×{size}; "
            "type a smaller --size, or name a larger image"
        )
    tile = np.ascontiguousarray(square_tile(rgb, size))
    if is_grey(tile[None])[0]:
        raise InputError(
            f"{path}: there is no colour to learn in its centre square; name an image in colour"
        )
    return tile


def initializations(model: str, asked: str | None, changes: Mapping[str, object]) -> list[str]:
    """The values of the option `INITIALIZATION` to fit a model with: none, one, or two.

    Args:
        model: the colorizer's name.
        asked: `--init`; None leaves it to the model.
        changes: what `--set` says.

    Raises:
        OptionError: the model has no such option, or it is set in two ways.
    """
    if asked is None:
        return []
    if INITIALIZATION not in option_names(trainable_class(model).Options):
        has = ", ".join(colorizers_with_option(INITIALIZATION)) or "none"
        raise OptionError(
            f"{model} has no option {INITIALIZATION!r}; leave --init out "
            f"(models that have it: {has})"
        )
    if INITIALIZATION in changes:
        raise OptionError(f"--init and --set {INITIALIZATION}=… say the same; leave one out")
    return ["default", "xavier"] if asked == BOTH else [asked]


def prepare_overfit(
    model: str,
    size: int,
    *,
    preset: Preset = "small",
    initialization: str | None = None,
    changes: Mapping[str, object] | None = None,
    device: str | torch.device = "auto",
    precision: str = "auto",
) -> Colorizer:
    """An untrained colorizer that will see one image, a few times in each step.

    Args:
        model: its name.
        size: the image's side in pixels.
        preset: the options to start from.
        initialization: value of that option; None for the preset's.
        changes: other options, which go before all else.
        device: as `zoo.load` takes it.
        precision: as `zoo.load` takes it.

    Raises:
        ZooError: no such model or option, or a size that it cannot take.
    """
    cls = trainable_class(model)
    chosen: dict[str, object] = {}
    if "batch_size" in option_names(cls.Options):
        chosen["batch_size"] = BATCH_SIZE
    if initialization is not None:
        chosen[INITIALIZATION] = initialization
    options: Any = cls.preset(preset)
    colorizer = cls(options, device=device, precision=precision, **(chosen | dict(changes or {})))
    if colorizer.padded_side(size) != size:
        raise InputError(
            f"{model} cannot be trained on {size} px; type --size {colorizer.padded_side(size)}"
        )
    return colorizer


def overfit(
    colorizer: Colorizer,
    tile: UInt8Array,
    budget: str | Budget,
    *,
    seed: int = 0,
    on_step: Callable[[Feed], None] | None = None,
) -> Overfit:
    """Trains a colorizer from scratch on one image, and compares what it makes of it.

    Args:
        colorizer: what `prepare_overfit` gave.
        tile: S×S×3 uint8, sRGB.
        budget: as `Colorizer.fit` takes it.
        seed: decides the weights.
        on_step: called with the feed after every step.

    Raises:
        BudgetError: the budget cannot be read, or not one step fits into it.
        TrainingError: the loss became NaN.
    """
    colorizer.fit(
        tile[None],
        budget=budget,
        seed=seed,
        size=len(tile),
        input_variety=False,
        on_step=on_step,
    )
    assert colorizer.record is not None
    L, truth = _lab(tile)
    rgb = colorizer.predict_rgb(L)
    # As painted, and for chroma before the gamut clips it.
    ab = colorizer.predict_ab(L)[0]
    losses = [point["loss"] for point in colorizer.record.curve]
    return Overfit(
        initialization=str(getattr(colorizer.options, INITIALIZATION, "")),
        losses=(losses[0], losses[-1]) if losses else None,
        steps=colorizer.record.cost.steps,
        seconds=colorizer.record.cost.seconds,
        error=edge_error(ab, truth),
        rgb=(rgb[0] * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy(),
        ab=ab.cpu(),
    )


def grey_error(tile: UInt8Array) -> EdgeError:
    """The error of a picture left grey: the floor to compare with."""
    truth = truth_ab(tile)
    return edge_error(torch.zeros_like(truth), truth)


def truth_ab(tile: UInt8Array) -> Tensor:
    """The chroma of a picture: S×S×3 uint8 to 2×S×S ab."""
    return _lab(tile)[1]


def _lab(tile: UInt8Array) -> tuple[Tensor, Tensor]:
    L, ab = rgb_to_lab(torch.from_numpy(tile.copy()).permute(2, 0, 1)[None])
    return L.clamp(0, 100), ab[0]
