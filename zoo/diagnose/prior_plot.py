"""A prior over the 313 ab bins, and the class weights made of it, drawn on the ab plane."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from zoo.color.bins import GRID, bin_centres
from zoo.color.lab import lab_to_rgb
from zoo.color.prior import class_weights
from zoo.figures import (
    LogLocator,
    LogNorm,
    NullLocator,
    PatchCollection,
    Rectangle,
    figure,
)
from zoo.files import name_text

if TYPE_CHECKING:
    from zoo.figures import Axes

_LIGHTNESS = 60.0
_PAPER, _INK, _FAINT = "#f4f4f2", "#3f4650", "#c9cdd2"
# The side of a cell's square falls from the whole cell to this share over so many decades.
_LEAST_SIDE, _DECADES = 0.16, 6
_LEGEND = (-1, -2, -3, -4)
_LEGEND_PLACE = (-92.0, -66.0)


def plot_prior(path: Path, prior: Tensor, rebalancing: float, title: str) -> None:
    """Writes a PNG, atomically: the bins in their colours, and their weights.

    Args:
        path: the PNG to write.
        prior: 313 probabilities.
        rebalancing: λ, which the weights follow from.
        title: says which images it is the prior of.
    """
    weights = class_weights(prior, rebalancing).numpy()
    with figure(path, figsize=(13, 6.6), dpi=110, layout="constrained", facecolor="white") as drawn:
        drawn.suptitle(name_text(title), fontsize=13, color=_INK, parse_math=False)
        left, right = drawn.subplots(1, 2)
        _draw_prior(left, prior.numpy())
        cells = PatchCollection(
            _squares(np.ones(len(weights))),
            cmap="viridis",
            norm=LogNorm(weights.min(), weights.max()),
        )
        cells.set_array(weights)
        cells.set_edgecolor("white")
        cells.set_linewidth(0.5)
        right.add_collection(cells)
        right.set_title(
            f"class weights at λ = {rebalancing:g}: {weights.min():.3g} … {weights.max():.3g}"
        )
        bar = drawn.colorbar(cells, ax=right, shrink=0.86, pad=0.02)
        bar.set_label("w(q), a factor on a pixel's loss; mean 1 under the prior (log scale)")
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.yaxis.set_minor_locator(NullLocator())
        ticks = range(-100, 101, 50)
        for axes in (left, right):
            axes.set(xlim=(-105, 115), ylim=(-120, 110), xticks=ticks, yticks=ticks)
            axes.set_aspect("equal")
            axes.set_facecolor(_PAPER)
            axes.set_xlabel("a (CIE Lab units): green to magenta")
            axes.set_ylabel("b (CIE Lab units): blue to yellow")
            axes.axhline(0, color=_FAINT, linewidth=0.8, zorder=0)
            axes.axvline(0, color=_FAINT, linewidth=0.8, zorder=0)
            axes.spines[:].set_visible(False)


def _draw_prior(axes: Axes, prior: npt.NDArray[np.float64]) -> None:
    outlines = PatchCollection(_squares(np.ones(len(prior))), facecolor="none", edgecolor=_FAINT)
    outlines.set_linewidth(0.6)
    axes.add_collection(outlines)
    axes.add_collection(PatchCollection(_squares(_side(prior)), facecolor=_colours()))
    seen = int((prior > 0).sum())
    axes.set_title(f"prior: {seen} of {len(prior)} bins occur, the largest has {prior.max():.1%}")
    a, b = _LEGEND_PLACE
    axes.text(a - GRID / 2, b + 9, "probability", fontsize=9, color=_INK)
    marks = [(float(_side(np.array(10.0**n))), _INK, f"$10^{{{n}}}$") for n in _LEGEND]
    for row, (side, colour, text) in enumerate([*marks, (1.0, "none", "never")]):
        centre, side = b - row * (GRID + 1), side * GRID
        edge = _FAINT if colour == "none" else "none"
        square = (a - side / 2, centre - side / 2), side, side
        axes.add_patch(Rectangle(*square, facecolor=colour, edgecolor=edge))
        axes.text(a + GRID, centre, text, fontsize=9, color=_INK, verticalalignment="center")


def _side(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The side of a square as a share of its cell's, linear in the logarithm; 0 for nothing."""
    decades = np.log10(np.maximum(probability, 10.0**-_DECADES))
    share = 1 + decades / _DECADES * (1 - _LEAST_SIDE)
    return np.where(probability > 0, share, 0.0)


def _squares(sides: npt.NDArray[np.float64]) -> list[Rectangle]:
    return [
        Rectangle((a - GRID * side / 2, b - GRID * side / 2), GRID * side, GRID * side)
        for (a, b), side in zip(bin_centres().tolist(), sides.tolist(), strict=True)
    ]


def _colours() -> npt.NDArray[np.float32]:
    """The colour of each bin at the figure's lightness: 313×3, clipped to sRGB."""
    ab = bin_centres().T[None, :, :, None]
    rgb = lab_to_rgb(torch.full_like(ab[:, :1], _LIGHTNESS), ab)
    colours: npt.NDArray[np.float32] = rgb[0, :, :, 0].T.numpy()
    return colours
