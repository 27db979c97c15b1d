"""The picture of `zoo overfit`: what came of fitting one image, a row per initialization."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from zoo.arrays import UInt8Array
from zoo.diagnose.bleeding import REACH, EdgeError, edge_band, error_map
from zoo.diagnose.overfit import Overfit, grey_error, truth_ab
from zoo.figures import ERROR_SCALE, figure
from zoo.files import name_text
from zoo.images.open import to_grey

_INK, _OUTLINE = "#3f4650", "#7fe3f0"
_LIGHTNESS = "lightness, all that a model sees"
_HEADINGS = ("input", "prediction", "truth", "ab error")


def plot_overfit(path: Path, tile: UInt8Array, fits: Sequence[Overfit], title: str) -> None:
    """Writes input, prediction, truth and error map of each fit as PNG, atomically.

    Args:
        path: the PNG to write.
        tile: S×S×3 uint8: the truth.
        fits: the results, at least one.
        title: says which model and image.
    """
    truth = truth_ab(tile)
    band = edge_band(truth)
    grey = to_grey(Image.fromarray(tile))
    without = f"without any colour the mean ab error is {grey_error(tile).whole:.1f}"
    height = 1.1 + 3.2 * len(fits)
    with figure(
        path, figsize=(13.4, height), dpi=110, layout="constrained", facecolor="white"
    ) as drawn:
        drawn.suptitle(name_text(title), fontsize=13, color=_INK, parse_math=False)
        rows = drawn.subplots(len(fits), len(_HEADINGS), squeeze=False)
        shown: Any = None
        for axes, fit in zip(rows, fits, strict=True):
            axes[0].imshow(grey, cmap="gray", vmin=0, vmax=255)
            axes[1].imshow(fit.rgb)
            axes[2].imshow(tile)
            shown = axes[3].imshow(
                error_map(fit.ab, truth), cmap="inferno", vmin=0, vmax=ERROR_SCALE
            )
            if band.any():
                axes[3].contour(band, levels=[0.5], colors=_OUTLINE, linewidths=0.8)
            axes[0].set_ylabel(fit.initialization or "fit", fontsize=12, color=_INK)
            captions = (_LIGHTNESS, _training(fit), without, _error(fit.error))
            for each, caption in zip(axes, captions, strict=True):
                each.set(xticks=[], yticks=[])
                each.spines[:].set_visible(False)
                each.set_xlabel(caption, fontsize=9, color=_INK)
        for each, heading in zip(rows[0], _HEADINGS, strict=True):
            each.set_title(heading, fontsize=11, color=_INK)
        bar = drawn.colorbar(shown, ax=rows[:, 3], shrink=0.9, pad=0.02, extend="max")
        bar.set_label("distance in the ab plane (CIE Lab units)", color=_INK)
        outline = f"; outlined: the band of ±{REACH:g} px along object edges" if band.any() else ""
        drawn.supxlabel(f"{len(tile)}×{len(tile)} px{outline}", fontsize=9, color=_INK)


def _training(fit: Overfit) -> str:
    if fit.losses is None:
        return "no training: the method takes no steps"
    return f"loss {fit.losses[0]:.3g} → {fit.losses[1]:.3g} in {fit.steps:,} steps"


def _error(error: EdgeError) -> str:
    if error.edges is None:
        return f"mean {error.whole:.1f}; no object edges"
    beside = "" if error.elsewhere is None else f", elsewhere {error.elsewhere:.1f}"
    ratio = "" if error.ratio is None else f" (×{error.ratio:.2f})"
    return f"mean {error.whole:.1f}: at edges {error.edges:.1f}{beside}{ratio}"
