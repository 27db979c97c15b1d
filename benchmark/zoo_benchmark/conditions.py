"""Conditions: named, versioned changes of what a network sees; the truth stays as it is.

A network is shown the lightness of a photograph that was compressed, is noisy or has faded. The
chroma that it predicts is joined with the lightness of the clean photograph and compared with
the clean truth: scores tell what a condition costs in colour, not how visible its noise is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from zoo.arrays import UInt8Array
from zoo.color.lab import L_to_grey, grey_to_L, rgb_to_lab
from zoo.data import degradation
from zoo.data.dataset import ImageSet
from zoo.errors import UnknownNameError
from zoo.metric import Pictures

CLEAN = "clean"
"""The condition that changes nothing: what all others are compared with."""
ALL = "all"


@dataclass(frozen=True)
class Condition:
    """A condition that a network is shown photographs in.

    Attributes:
        name: as `--conditions` takes it.
        version: raised whenever the same photograph would be changed otherwise.
        title: what is done, in words.
        change: 1×1×H×W L to the same, with random numbers from a generator on the CPU.
    """

    name: str
    version: int
    title: str
    change: Callable[[Tensor, Generator], Tensor]

    def seen(self, pictures: Pictures) -> Tensor:
        """The lightness that a network sees of pictures: N×1×H×W L, on their device.

        A picture's own pixels seed what is random. Each is changed by itself, on the CPU: it is
        the same alone and among others, whatever its name, the batch or the device.
        """
        return torch.cat([self._one(each) for each in pictures.rgb8.cpu()]).to(pictures.rgb8.device)

    def inputs(self, pictures: UInt8Array) -> UInt8Array:
        """What networks see of N×H×W×3 pictures, in 8 bits: N×H×W grey."""
        grey = L_to_grey(self.seen(Pictures.from_array(pictures)))
        return (grey * 255).round().to(torch.uint8)[:, 0].numpy()

    def _one(self, rgb8: Tensor) -> Tensor:
        content = hashlib.sha256(f"{self.name}@{self.version} {tuple(rgb8.shape)}".encode())
        content.update(rgb8.contiguous().numpy().data)
        seed = int.from_bytes(content.digest()[:8]) >> 1
        L = rgb_to_lab(Pictures(rgb8[None]).rgb)[0].clamp(0, 100)
        return self.change(L, torch.Generator().manual_seed(seed)).clamp(0, 100)


def _clean(L: Tensor, _: Generator) -> Tensor:
    return L


def _jpeg(L: Tensor, _: Generator, *, quality: int) -> Tensor:
    grey = (L_to_grey(L) * 255).round().to(torch.uint8)
    stream = BytesIO()
    Image.fromarray(grey[0, 0].numpy()).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as decoded:
        return grey_to_L(torch.from_numpy(np.array(decoded))[None, None])


def _noise(L: Tensor, generator: Generator, *, sigma: float) -> Tensor:
    return L + sigma * torch.randn(L.shape, generator=generator)


def _grain(L: Tensor, generator: Generator) -> Tensor:
    return L + 5 * degradation.grain(L.shape, torch.ones(1), generator)


def _blur(L: Tensor, _: Generator) -> Tensor:
    return degradation.blur(L, torch.ones(1))


def _resampled(L: Tensor, _: Generator) -> Tensor:
    return degradation.resample(L, 0.5)


def _faded(L: Tensor, _: Generator) -> Tensor:
    return degradation.fade(L, torch.tensor([0.6]), torch.tensor([20.0]))


CONDITIONS: Mapping[str, Condition] = {
    each.name: each
    for each in (
        Condition(CLEAN, 1, "the photograph as it is", _clean),
        *(
            Condition(
                f"jpeg{quality}",
                1,
                f"saved as a grey JPEG of quality {quality}",
                partial(_jpeg, quality=quality),
            )
            for quality in (50, 75, 95)
        ),
        *(
            Condition(
                f"noise{sigma}",
                1,
                f"white noise, σ = {sigma} in L",
                partial(_noise, sigma=sigma),
            )
            for sigma in (2, 5)
        ),
        Condition("grain", 1, "noise in grains of a pixel, as of film, σ = 5 in L", _grain),
        Condition("blur", 1, "Gaussian blur, σ = 1 px", _blur),
        Condition("resampled", 1, "made half as large, and enlarged again", _resampled),
        Condition("faded", 1, "contrast 0.6, black raised to L = 20", _faded),
        Condition("dusty", 1, "specks and scratches of a worn print", degradation.dust),
    )
}
"""All conditions by name, in the order of tables."""


def condition_names(text: str) -> list[str]:
    """The conditions of `all`, or of a list with commas between; `clean` is always among them.

    Raises:
        UnknownNameError: there is none of that name.
    """
    wanted = {each.strip() for each in text.split(",")}
    for each in sorted(wanted - {ALL}):
        check_condition(each)
    return [name for name in CONDITIONS if name == CLEAN or wanted & {name, ALL}]


def inputs_under(names: Iterable[str], pictures: ImageSet, count: int) -> ImageSet:
    """What networks see of the first few pictures under each condition, as `CONDITION/ID`."""
    images = pictures.images[:count]
    ids = [str(each) for each in pictures.ids[:count]]
    greys = np.concatenate([check_condition(name).inputs(images) for name in names])
    return ImageSet(
        np.repeat(greys[..., None], 3, axis=3), [f"{name}/{each}" for name in names for each in ids]
    )


def check_condition(name: str) -> Condition:
    """The condition of a name.

    Raises:
        UnknownNameError: there is none; near names are offered.
    """
    if name not in CONDITIONS:
        raise UnknownNameError("condition", name, [ALL, *CONDITIONS], "See zoo conditions.")
    return CONDITIONS[name]


def changed(names: Iterable[str]) -> list[str]:
    """The names of those conditions that change something."""
    return [name for name in names if name != CLEAN]
