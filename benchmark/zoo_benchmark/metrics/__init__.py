"""The metrics of the leaderboard, each registered as an entry point in `zoo.metrics`.

`weights_files` finds the files that they need.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from zoo import plugins, registry
from zoo.errors import InputError, PluginError

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.metric import MetricInfo, Pictures


TRUTH, DIFFERENCE, L_COPIED, POOLED = "_truth", "_difference", "_l_copied", "_pooled"
"""Ends of the names of columns that follow from a metric's."""

WORST, WORST_CONDITION = "_worst", "_worst_condition"
"""Ends of the names of the columns with a row's worst value under a condition, and with which."""


def installed_metrics() -> list[MetricInfo]:
    """What the installed metrics say of themselves, in the order of their places."""
    found = []
    for name in plugins.names(plugins.METRICS):
        with contextlib.suppress(PluginError):
            found.append(registry.metric_class(name).info)
    return sorted(found, key=lambda info: info.place)


def judged_column(info: MetricInfo) -> str:
    """The column that tells how good a metric's value is: of `match`, its difference."""
    return f"{info.name}{DIFFERENCE}" if info.direction == "match" else info.name


def check_count(names: Iterable[str], count: int, whose: str) -> None:
    """Checks that there are as many images as each metric needs at least.

    Raises:
        InputError: with the metric, and the number that it needs.
    """
    for name in names:
        with contextlib.suppress(PluginError):
            least = registry.metric_class(name).info.least_images
            if count < least:
                images = f"{count} image{'s' * (count != 1)}"
                raise InputError(f"{name} needs at least {least} images, {whose} has {images}")


def set_note(info: MetricInfo, count: int) -> str:
    """What a reader must know of a value of a whole set: which, of how many, and how sure."""
    words = [f"{info.name}@{info.version}: {info.fine_print or info.title}; N = {count:,}"]
    if info.interval:
        words.append(f"± by {info.interval}")
    if count < info.reliable_from:
        words.append(
            f"WARNING: fewer than {info.reliable_from:,} images, biased: "
            "compare with the same N only"
        )
    return "; ".join(words) + "."


def check_pair(info: MetricInfo, predicted: Pictures, truth: Pictures) -> None:
    """Checks that a prediction and its truth are of one shape and large enough for the metric.

    Raises:
        InputError: with both shapes, or with the smallest side that can be scored.
    """
    ours, theirs = tuple(predicted.rgb8.shape), tuple(truth.rgb8.shape)
    if ours != theirs:
        raise InputError(f"{info.name} needs equal shapes: predicted {ours}, truth {theirs}")
    if min(ours[2:]) < info.minimum_size:
        raise InputError(
            f"{info.name} needs at least {info.minimum_size} pixels a side, got {ours[2]}×{ours[3]}"
        )


def in_parts(predicted: Pictures, truth: Pictures, pixels: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Predictions and truths as uint8, about `pixels` of each at a time: bounds the memory."""
    height, width = predicted.rgb8.shape[2:]
    images = max(1, pixels // (height * width))
    ours, theirs = (p.rgb8.split(images) for p in (predicted, truth))  # type: ignore[no-untyped-call]
    return zip(ours, theirs, strict=True)
