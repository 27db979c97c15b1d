"""Scores of a fitted colorizer on test images: one value per image and metric."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from zoo import plugins, registry
from zoo.arrays import UInt8Array
from zoo.color.lab import lab_to_rgb, rgb_to_lab
from zoo.colorizer import Colorizer
from zoo.data.dataset import ImageSet
from zoo.errors import PluginError, UnknownNameError, WeightsError, ZooError
from zoo.metric import Metric, MetricContext, Pictures

# Pixels scored at once: bounds the memory of LPIPS' features and the colour conversions.
_BATCH_PIXELS = 1 << 18
# For models that paint RGB these are also scored with the input's lightness put back.
_L_COPIED = ("psnr", "lpips")


@dataclass(frozen=True)
class Painted:
    """A batch of coloured pictures and what they are compared with.

    Attributes:
        ids: names of the images.
        predicted: what was painted.
        l_copied: the same with the truth's lightness put back, or None where that is the same.
        truth: the pictures that would be right.
    """

    ids: Sequence[str]
    predicted: Pictures
    l_copied: Pictures | None
    truth: Pictures


def metric_names(text: str) -> list[str]:
    """The metrics of a list with commas between, each once.

    Raises:
        UnknownNameError: one that is not installed.
    """
    known = plugins.names(plugins.METRICS)
    wanted = [each.strip() for each in text.split(",")]
    for each in wanted:
        if each not in known:
            raise UnknownNameError("metric", each, known)
    return list(dict.fromkeys(wanted))


def open_metrics(
    names: Sequence[str], context: MetricContext, size: int
) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that can work here, and for the others the reason why not."""
    metrics: list[Metric] = []
    unavailable: dict[str, str] = {}
    for name in names:
        try:
            cls = registry.metric_class(name)
            if size < cls.info.minimum_size:
                raise WeightsError(
                    f"{name} needs images of at least {cls.info.minimum_size} px, these have {size}"
                )
            metrics.append(cls(context))
        except ZooError as error:
            unavailable[name] = str(error)
        except Exception as error:
            traceback.print_exc()
            unavailable[name] = f"it raised {type(error).__name__}: {error}"
    return metrics, unavailable


def score(
    colorizer: Colorizer, test: ImageSet, metrics: Sequence[Metric]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """`score_pictures` of what a colorizer makes of CIE L of every test image."""
    return score_pictures(_predictions(colorizer, test), metrics)


def score_pictures(
    pictures: Iterable[Painted], metrics: Sequence[Metric]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Every metric of every picture, and the reasons of those metrics that failed.

    The table is in long form: columns image, metric, value. Pictures are compared as 8-bit
    RGB. A metric whose direction is `match` is also applied to the truth (`NAME_truth`) and
    the absolute difference is kept (`NAME_difference`). A metric that fails is not the
    pictures' fault: it scores nothing.
    """
    # Plain rows, not a table per batch: arrays that live on between the large ones of pictures
    # of many sizes would keep the freed memory from being used again (megabytes per picture).
    rows: dict[str, list[tuple[str, str, float]]] = {metric.info.name: [] for metric in metrics}
    broken: dict[str, str] = {}
    for painted in pictures:
        for metric in metrics:
            name = metric.info.name
            if name in broken:
                continue
            try:
                values = _values(metric, painted)
            except Exception as error:
                traceback.print_exc()
                broken[name] = f"it raised {type(error).__name__}: {error}"
                # A mean over some of the images would mislead.
                del rows[name]
                continue
            for column, value in values.items():
                numbers = value.cpu().double().tolist()
                rows[name] += zip(painted.ids, [column] * len(numbers), numbers, strict=True)
    scored = [row for of_metric in rows.values() for row in of_metric]
    return pd.DataFrame(scored, columns=["image", "metric", "value"]), broken


def batches(test: ImageSet, device: torch.device) -> Iterator[tuple[Sequence[str], Pictures]]:
    """The ids and pictures of a test set, so many at a time that memory stays bounded."""
    count = max(1, _BATCH_PIXELS // test.size**2)
    for start in range(0, len(test), count):
        part = slice(start, start + count)
        yield list(test.ids[part]), Pictures.from_array(test.images[part], device)


def _values(metric: Metric, painted: Painted) -> dict[str, Tensor]:
    name, truth = metric.info.name, painted.truth
    values = {name: metric(painted.predicted, truth)}
    if metric.info.direction == "match":
        values[f"{name}_truth"] = metric(truth, truth)
        values[f"{name}_difference"] = (values[name] - values[f"{name}_truth"]).abs()
    if painted.l_copied is not None and name in _L_COPIED:
        values[f"{name}_l_copied"] = metric(painted.l_copied, truth)
    for value in values.values():
        if tuple(value.shape) != (len(truth),):
            raise PluginError(f"{name} gave shape {tuple(value.shape)} for {len(truth)} images")
    return values


def _predictions(colorizer: Colorizer, test: ImageSet) -> Iterator[Painted]:
    for ids, source in batches(test, colorizer.device):
        L, ab = rgb_to_lab(source.rgb)
        truth = Pictures.from_unit_rgb(lab_to_rgb(L, ab))
        predicted = paint(colorizer, L)
        l_copied = None
        if colorizer.paints_rgb:
            l_copied = Pictures.from_unit_rgb(lab_to_rgb(L, predicted.ab))
        yield Painted(ids, predicted, l_copied, truth)


def paint_images(colorizer: Colorizer, images: UInt8Array) -> UInt8Array:
    """What the colorizer makes of CIE L of N×H×W×3 uint8 images, a few at a time; same shape."""
    source = Pictures.from_array(images, colorizer.device)
    painted = [
        paint(colorizer, rgb_to_lab(Pictures(part).rgb)[0]).rgb8
        for part in source.rgb8.split(16)  # type: ignore[no-untyped-call]
    ]
    return np.concatenate([part.permute(0, 2, 3, 1).cpu().numpy() for part in painted])


def paint(colorizer: Colorizer, L: Tensor) -> Pictures:
    """What the colorizer makes of N×1×H×W L, as the 8-bit pictures that are compared."""
    # White comes out of the matrices a hair above 100.
    return Pictures.from_unit_rgb(colorizer.predict_rgb(L.clamp(0, 100)))
