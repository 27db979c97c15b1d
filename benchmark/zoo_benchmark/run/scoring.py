"""Scores of a fitted colorizer on test images: one value per image and metric."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

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
from zoo.metric import Metric, MetricContext, Pictures, SetMetric
from zoo_benchmark.conditions import Condition
from zoo_benchmark.metrics import DIFFERENCE, L_COPIED, TRUTH
from zoo_benchmark.metrics.weights_files import MetricFiles

_T = TypeVar("_T")

# Pixels scored at once: bounds the memory of networks' features and the colour conversions.
_BATCH_PIXELS = 1 << 18


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
    names: Sequence[str], context: MetricContext, size: int, files: MetricFiles | None = None
) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that can work here, and for the others the reason why not.

    Args:
        names: the metrics' names.
        context: shared by all of them, without files.
        size: the smallest side of the pictures, in pixels.
        files: what was found of the files that they need.
    """
    files = files or MetricFiles()
    metrics: list[Metric] = []
    unavailable: dict[str, str] = {}
    for name in names:
        try:
            cls = registry.metric_class(name)
            if size < cls.info.minimum_size:
                raise WeightsError(
                    f"{name} needs images of at least {cls.info.minimum_size} px, these have {size}"
                )
            if name in files.missing:
                raise WeightsError(files.missing[name])
            metrics.append(cls(replace(context, files=files.paths.get(name, {}))))
        except ZooError as error:
            unavailable[name] = str(error)
        except Exception as error:
            traceback.print_exc()
            unavailable[name] = f"it raised {type(error).__name__}: {error}"
    return metrics, unavailable


@dataclass(frozen=True)
class Scores:
    """The values of metrics.

    Attributes:
        images: in long form: columns image, metric, value.
        sets: values of the whole set, by column, of metrics that have none per image.
        broken: metrics that failed, with the reasons; they have no values.
        halves: of values of the whole set, half the 95 % interval, where the metric knows it.
        count: the number of images.
    """

    images: pd.DataFrame
    sets: dict[str, float]
    broken: dict[str, str]
    halves: dict[str, float]
    count: int

    def means(self) -> dict[str, float]:
        """One value per column: the mean over the images, or the set's own."""
        means = self.images.groupby("metric", sort=False)["value"].mean()
        return {str(name): float(mean) for name, mean in means.items()} | self.sets


def score(
    colorizer: Colorizer,
    test: ImageSet,
    metrics: Sequence[Metric],
    condition: Condition | None = None,
) -> Scores:
    """`score_pictures` of what a colorizer makes of CIE L of every test image.

    Under a condition it sees the changed L, and the chroma that it paints, whatever it paints,
    is joined with the clean one.
    """
    if condition is not None:
        return score_pictures(_predictions_under(condition, colorizer, test), metrics)
    return score_pictures(_predictions(colorizer, test), metrics)


def score_pictures(pictures: Iterable[Painted], metrics: Sequence[Metric]) -> Scores:
    """Every metric of every picture, or of all of them together, as the metric says.

    Pictures are compared as 8-bit RGB. A metric whose direction is `match` is also applied to
    the truth (`NAME_truth`) and the absolute difference is kept (`NAME_difference`). A metric
    that fails is not the pictures' fault: it scores nothing.
    """
    # Plain rows, not a table per batch: arrays that live on between the large ones of pictures
    # of many sizes would keep the freed memory from being used again (megabytes per picture).
    rows: dict[str, list[tuple[str, str, float]]] = {}
    states: dict[str, dict[str, Any]] = {}
    broken: dict[str, str] = {}

    def attempt(metric: Metric, work: Callable[[], _T]) -> _T | None:
        try:
            return work()
        except Exception as error:
            traceback.print_exc()
            name = metric.info.name
            broken[name] = f"it raised {type(error).__name__}: {error}"
            # A mean over some of the images would mislead.
            rows.pop(name, None)
            return None

    count = 0
    for painted in pictures:
        count += len(painted.ids)
        for metric in metrics:
            name = metric.info.name
            if name in broken:
                continue
            if isinstance(metric, SetMetric):
                state = states.setdefault(name, {})
                attempt(metric, partial(_update, metric, state, painted))
            elif (new := attempt(metric, partial(_rows, metric, painted))) is not None:
                rows.setdefault(name, []).extend(new)
    sets: dict[str, float] = {}
    halves: dict[str, float] = {}
    for metric in metrics:
        if isinstance(metric, SetMetric) and metric.info.name not in broken:
            state = states.get(metric.info.name, {})
            found = attempt(metric, partial(_set_values, metric, state))
            if found is not None:
                sets |= found[0]
                halves |= found[1]
    ordered = (row for metric in metrics for row in rows.get(metric.info.name, ()))
    return Scores(
        pd.DataFrame(ordered, columns=["image", "metric", "value"]), sets, broken, halves, count
    )


def batch_count(pixels: int) -> int:
    """How many pictures of so many pixels are scored at once."""
    return max(1, _BATCH_PIXELS // pixels)


def batches(test: ImageSet, device: torch.device) -> Iterator[tuple[Sequence[str], Pictures]]:
    """The ids and pictures of a test set, so many at a time that memory stays bounded."""
    count = batch_count(test.size**2)
    for start in range(0, len(test), count):
        part = slice(start, start + count)
        yield list(test.ids[part]), Pictures.from_array(test.images[part], device)


def from_truth(
    test: ImageSet, change: Callable[[Tensor], Tensor], device: torch.device
) -> Iterator[Painted]:
    """The true pictures with their ab changed: N×2×H×W to the same."""
    for ids, source in batches(test, device):
        L, ab = rgb_to_lab(source.rgb)
        yield Painted(
            ids,
            predicted=Pictures.from_unit_rgb(lab_to_rgb(L, change(ab))),
            l_copied=None,
            truth=Pictures.from_unit_rgb(lab_to_rgb(L, ab)),
        )


def _compared(metric: Metric, painted: Painted) -> dict[str, Pictures]:
    """The pictures that a metric compares with the truth, by the column that it fills."""
    name = metric.info.name
    compared = {name: painted.predicted}
    if metric.info.direction == "match":
        compared[f"{name}{TRUTH}"] = painted.truth
    if painted.l_copied is not None and metric.info.l_copied:
        compared[f"{name}{L_COPIED}"] = painted.l_copied
    return compared


def _rows(metric: Metric, painted: Painted) -> list[tuple[str, str, float]]:
    name, count = metric.info.name, len(painted.truth)
    values = {}
    for column, pictures in _compared(metric, painted).items():
        value = metric(pictures, painted.truth)
        if tuple(value.shape) != (count,):
            raise PluginError(f"{name} gave shape {tuple(value.shape)} for {count} images")
        values[column] = value
    if (truth := values.get(f"{name}{TRUTH}")) is not None:
        values[f"{name}{DIFFERENCE}"] = (values[name] - truth).abs()
    return [
        (image, column, number)
        for column, value in values.items()
        for image, number in zip(painted.ids, value.cpu().double().tolist(), strict=True)
    ]


def _update(metric: SetMetric, states: dict[str, Any], painted: Painted) -> None:
    for column, pictures in _compared(metric, painted).items():
        states[column] = metric.update(states.get(column), pictures, painted.truth)


def _set_values(
    metric: SetMetric, states: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, float]]:
    """The values by column, and half the intervals of those that have one."""
    values = {column: float(metric.compute(state)) for column, state in states.items()}
    intervals = {column: metric.half_interval(state) for column, state in states.items()}
    name = metric.info.name
    if f"{name}{TRUTH}" in values:
        values[f"{name}{DIFFERENCE}"] = abs(values[name] - values[f"{name}{TRUTH}"])
    return values, {column: half for column, half in intervals.items() if half is not None}


def _predictions(colorizer: Colorizer, test: ImageSet) -> Iterator[Painted]:
    for ids, source in batches(test, colorizer.device):
        L, ab = rgb_to_lab(source.rgb)
        truth = Pictures.from_unit_rgb(lab_to_rgb(L, ab))
        predicted = paint(colorizer, L)
        l_copied = None
        if colorizer.paints_rgb:
            l_copied = Pictures.from_unit_rgb(lab_to_rgb(L, predicted.ab))
        yield Painted(ids, predicted, l_copied, truth)


def _predictions_under(
    condition: Condition, colorizer: Colorizer, test: ImageSet
) -> Iterator[Painted]:
    for ids, source in batches(test, colorizer.device):
        L, ab = rgb_to_lab(source.rgb)
        truth = Pictures.from_unit_rgb(lab_to_rgb(L, ab))
        yield Painted(ids, paint_under(condition, colorizer, source), None, truth)


def paint_under(condition: Condition, colorizer: Colorizer, source: Pictures) -> Pictures:
    """Paints pictures of which the colorizer sees a changed L: its ab, and their own L."""
    seen = condition.seen(source)
    ab = paint(colorizer, seen).ab if colorizer.paints_rgb else colorizer.predict_ab(seen)
    return Pictures.from_unit_rgb(lab_to_rgb(rgb_to_lab(source.rgb)[0], ab))


def paint_images(colorizer: Colorizer, images: UInt8Array) -> UInt8Array:
    """Paints the CIE L of N×H×W×3 uint8 images with the colorizer, a few at a time; same shape."""
    source = Pictures.from_array(images, colorizer.device)
    painted = [
        paint(colorizer, rgb_to_lab(Pictures(part).rgb)[0]).rgb8
        for part in source.rgb8.split(16)  # type: ignore[no-untyped-call]
    ]
    return np.concatenate([part.permute(0, 2, 3, 1).cpu().numpy() for part in painted])


def paint(colorizer: Colorizer, L: Tensor) -> Pictures:
    """Paints N×1×H×W L with the colorizer: the 8-bit pictures that are compared."""
    # White comes out of the matrices a hair above 100.
    return Pictures.from_unit_rgb(colorizer.predict_rgb(L.clamp(0, 100)))
