"""The pictures of a report: which ones, as data URIs, with error maps and ab histograms."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image

from zoo.arrays import UInt8Array
from zoo.color.lab import AB_RANGE, lab_to_rgb, rgb_to_lab
from zoo.data.dataset import ImageSet
from zoo.figures import ERROR_SCALE, colormaps, figure
from zoo.images.open import to_grey

_BYTES = 10 << 20
_LARGEST_SIDE = 160
_EXTREMES = 3
_BINS = 44


@dataclass(frozen=True)
class Gallery:
    """The pictures of a report, to step through.

    Attributes:
        ids: names of the images.
        grey: the inputs, as data URIs.
        truth: the originals.
        models: what each row made of them.
        errors: how far its ab is off, per pixel.
    """

    ids: list[str]
    grey: list[str]
    truth: list[str]
    models: dict[str, list[str]]
    errors: dict[str, list[str]]


@dataclass(frozen=True)
class Histogram:
    """A histogram of where in the ab plane the pixels of a row lie.

    Attributes:
        picture: a PNG as data URI.
        mean_chroma: mean over the pixels of √(a² + b²).
    """

    picture: str
    mean_chroma: float


def make_gallery(
    truth: ImageSet,
    painted: Mapping[str, ImageSet],
    scores: pd.DataFrame,
    metric: str,
    *,
    lower_is_better: bool,
) -> Gallery:
    """The images most worth a look, as many as fit: each row's best and worst, and random ones.

    Args:
        truth: the run's kept pictures.
        painted: the same ones as each row painted them.
        scores: in long form.
        metric: what best and worst are taken by.
        lower_is_better: its direction.
    """
    position = {name: row for row, name in enumerate(truth.ids)}
    wanted = _most_telling(list(painted), scores, metric, position, lower_is_better)
    gallery = Gallery([], [], [], {name: [] for name in painted}, {n: [] for n in painted})
    size = 0
    for row in wanted:
        original = truth.images[row]
        grey = np.repeat(to_grey(Image.fromarray(original))[..., None], 3, axis=2)
        gallery.ids.append(str(truth.ids[row]))
        made = [lossless(grey), lossless(original)]
        gallery.grey.append(made[0])
        gallery.truth.append(made[1])
        for name, pictures in painted.items():
            picture = pictures.images[row]
            made += [lossless(picture), _error_map(picture, original)]
            gallery.models[name].append(made[-2])
            gallery.errors[name].append(made[-1])
        size += sum(map(len, made))
        if size > _BYTES:
            break
    return gallery


def ab_histogram(pictures: ImageSet) -> Histogram:
    """The density of an image set's chroma, log scale, in the colours that it stands for."""
    ab = _ab(pictures.images)
    chroma = float(np.hypot(ab[:, 0], ab[:, 1]).mean())
    a, b = (ab[:, channel].ravel() for channel in (0, 1))
    counts, _, _ = np.histogram2d(b, a, bins=_BINS, range=[AB_RANGE, AB_RANGE])
    density = np.log1p(counts)
    centres = (np.arange(_BINS) + 0.5) / _BINS * (AB_RANGE[1] - AB_RANGE[0]) + AB_RANGE[0]
    plane = torch.from_numpy(np.stack(np.meshgrid(centres, centres))).float()[None]
    rgb = lab_to_rgb(torch.full((1, 1, _BINS, _BINS), 65.0), plane)[0].permute(1, 2, 0).numpy()
    alpha = density / max(density.max(), 1e-9)
    stream = io.BytesIO()
    with figure(
        stream, transparent=True, figsize=(2.4, 2.3), dpi=100, layout="constrained"
    ) as drawn:
        axes = drawn.add_subplot()
        # Alike on white and on black.
        grey = "#8a8f98"
        axes.imshow(
            np.dstack([np.clip(rgb, 0, 1), 0.12 * (alpha > 0) + 0.88 * alpha]),
            origin="lower",
            extent=(*AB_RANGE, *AB_RANGE),
            interpolation="nearest",
        )
        axes.axhline(0, color=grey, linewidth=0.5)
        axes.axvline(0, color=grey, linewidth=0.5)
        axes.set_xticks([-100, 0, 100])
        axes.set_yticks([-100, 0, 100])
        axes.set_xlabel("a", color=grey)
        axes.set_ylabel("b", color=grey)
        axes.tick_params(colors=grey, labelsize=8)
        for spine in axes.spines.values():
            spine.set_color(grey)
    return Histogram(_uri(stream.getvalue(), "png"), chroma)


def _most_telling(
    models: Sequence[str],
    scores: pd.DataFrame,
    metric: str,
    position: Mapping[str, int],
    lower_is_better: bool,
) -> list[int]:
    """Rows of the kept pictures, the most telling first."""
    chosen: list[str] = []
    of_metric = scores[(scores["metric"] == metric) & scores["image"].isin(list(position))]
    for rank in range(_EXTREMES):
        for model in models:
            values = of_metric[of_metric["model"] == model].groupby("image")["value"].mean()
            order = values.sort_values(ascending=lower_is_better).index
            chosen += [str(order[rank]), str(order[-1 - rank])] if len(order) > rank else []
    rest = np.random.default_rng(0).permutation(sorted(position))
    return [position[name] for name in dict.fromkeys([*chosen, *map(str, rest)])]


def _ab(images: UInt8Array) -> npt.NDArray[np.float32]:
    tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    ab: npt.NDArray[np.float32] = rgb_to_lab(tensor)[1].numpy()
    return ab


def _error_map(picture: UInt8Array, truth: UInt8Array) -> str:
    ours, theirs = _ab(picture[None])[0], _ab(truth[None])[0]
    share = np.clip(np.hypot(*(ours - theirs)) / ERROR_SCALE, 0, 1)
    colours = colormaps["inferno"](share)[..., :3]
    return lossless((colours * 255).round().astype(np.uint8))


def lossless(picture: UInt8Array) -> str:
    """A picture, reduced if it is large, as a data URI without loss."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    # A tenth of the usual time, for files that are a twentieth larger.
    image.save(stream, "WEBP", lossless=True, method=1, quality=20)
    return _uri(stream.getvalue(), "webp")


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
