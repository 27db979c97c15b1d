"""How chroma of a small copy is best enlarged: bilinearly, or with the lightness as its guide.

    python docs/edges.py PHOTOGRAPHS --count 30

Prints the table of docs/colorize.md: the mean error of ab along the edges of objects
(`zoo.diagnose.bleeding`) of photographs coloured from a copy of 64 px, with the truth's own chroma
of that size and with that of `unet_timm@release`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import zoo
from zoo.color.lab import rgb_to_lab
from zoo.diagnose.bleeding import edge_error
from zoo.metric import Pictures

SHORT_SIDE = 64
Enlarge = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(1×2×h×w ab, 1×1×h×w L, 1×1×H×W L) to 1×2×H×W ab."""


def bilinear(ab: Tensor, small: Tensor, L: Tensor) -> Tensor:
    """What `zoo colorize` does."""
    return F.interpolate(ab, L.shape[2:], mode="bilinear", align_corners=False)


def box(planes: Tensor, radius: int) -> Tensor:
    """Means over squares of 2·radius + 1."""
    side = 2 * radius + 1
    return F.avg_pool2d(planes, side, 1, radius, count_include_pad=False)


def linear_model(ab: Tensor, guide: Tensor, radius: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Slope and offset of ab over the guide in each window (He et al. 2013, eq. 5, 6 and 8)."""
    mean, mean_ab = box(guide, radius), box(ab, radius)
    variance = box(guide * guide, radius) - mean * mean
    slope = (box(guide * ab, radius) - mean * mean_ab) / (variance + epsilon)
    return box(slope, radius), box(mean_ab - slope * mean, radius)


def guided(radius: int, epsilon: float) -> Enlarge:
    """The guided filter over the bilinearly enlarged chroma (He, Sun, Tang, TPAMI 2013)."""

    def enlarge(ab: Tensor, small: Tensor, L: Tensor) -> Tensor:
        slope, offset = linear_model(bilinear(ab, small, L), L, radius, epsilon)
        return slope * L + offset

    return enlarge


def fast_guided(radius: int, epsilon: float) -> Enlarge:
    """Its fast form: the model is fitted to the small copy (He, Sun, arXiv 1505.00996)."""

    def enlarge(ab: Tensor, small: Tensor, L: Tensor) -> Tensor:
        slope, offset = (
            bilinear(planes, small, L) for planes in linear_model(ab, small, radius, epsilon)
        )
        return slope * L + offset

    return enlarge


def joint_bilateral(space: float, lightness: float, radius: int = 2) -> Enlarge:
    """Joint bilateral upsampling (Kopf et al., SIGGRAPH 2007, eq. 3)."""

    def enlarge(ab: Tensor, small: Tensor, L: Tensor) -> Tensor:
        (h, w), (H, W) = small.shape[2:], L.shape[2:]
        y = (torch.arange(H) + 0.5) * h / H - 0.5
        x = (torch.arange(W) + 0.5) * w / W - 0.5
        total, weights = torch.zeros(1, 2, H, W), torch.zeros(1, 1, H, W)
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                row = (y.round().long() + dy).clamp(0, h - 1)
                column = (x.round().long() + dx).clamp(0, w - 1)
                near = small[:, :, row][..., column]
                away = (row - y)[:, None] ** 2 + (column - x)[None] ** 2
                weight = torch.exp(
                    -away / (2 * space**2) - (near - L) ** 2 / (2 * lightness**2)
                ).clamp_min(1e-12)
                total += weight * ab[:, :, row][..., column]
                weights += weight
        return total / weights

    return enlarge


WAYS = {
    "bilinear": bilinear,
    **{
        f"guided filter, r = {r}, ε = {e:g}": guided(r, e)
        for r in (2, 4, 8)
        for e in (1.0, 16.0, 64.0)
    },
    **{
        f"fast guided filter, r = {r}, ε = {e:g}": fast_guided(r, e)
        for r in (1, 2)
        for e in (4, 64)
    },
    **{
        f"joint bilateral, σ = {s:g} px, {r:g} of L": joint_bilateral(s, r)
        for s in (0.5, 0.7, 1.0)
        for r in (5.0, 10.0, 20.0)
    },
}


def main() -> None:
    """Prints both errors of every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--count", type=int, default=30)
    given = parser.parse_args()
    colorizer = zoo.load("unet_timm@release", device="cpu")
    errors: dict[str, list[list[float]]] = {name: [[], []] for name in WAYS}
    files = sorted(p for p in given.photographs.rglob("*") if p.suffix.lower() in {".jpg", ".png"})
    for file in files[: given.count]:
        with Image.open(file) as image:
            rgb = image.convert("RGB")
        height, width = rgb.height, rgb.width
        # Sides that the network takes, so that nothing is padded.
        small = [
            max(1, round(side * SHORT_SIDE / min(height, width) / 16)) * 16 for side in rgb.size
        ]
        shrunk = rgb.resize(small, Image.Resampling.LANCZOS)
        L, truth = rgb_to_lab(Pictures.from_array(np.array([rgb])).rgb8)
        small_L, small_truth = rgb_to_lab(Pictures.from_array(np.array([shrunk])).rgb8)
        with torch.inference_mode():
            predicted = colorizer.predict_ab(small_L)
        for name, enlarge in WAYS.items():
            for kept, ab in zip(errors[name], (small_truth, predicted), strict=True):
                error = edge_error(enlarge(ab, small_L, L)[0], truth[0]).edges
                if error is not None:
                    kept.append(error)
    print("| enlarged | truth's chroma | release's |\n| --- | ---: | ---: |")  # noqa: T201
    for name, (of_truth, of_release) in errors.items():
        print(f"| {name} | {np.mean(of_truth):.2f} | {np.mean(of_release):.2f} |")  # noqa: T201


if __name__ == "__main__":
    main()
