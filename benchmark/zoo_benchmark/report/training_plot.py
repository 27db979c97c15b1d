"""A training as a picture: the loss, and below it each metric of the held-out images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from zoo import plugins, registry
from zoo.cost import Unit
from zoo.figures import figure
from zoo.files import name_text
from zoo_benchmark.metrics import TRUTH

# Seconds, once there are many, are shown in these units: from when on, how long, its name.
_LONGER = ((7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"))
# Points of the loss that its bold line averages over, exponentially.
_SMOOTHING = 20
_BLUE, _RED, _FAINT = "#1f5f8b", "#c2410c", "#8a8f98"


def plot_training(
    path: Path,
    title: str,
    losses: Sequence[Mapping[str, float]],
    rows: Sequence[Mapping[str, Any]],
    unit: Unit,
) -> None:
    """Writes the plot as PNG, atomically.

    Args:
        path: the file.
        title: above it.
        losses: points of `Feed.curve`.
        rows: those of `LearningCurve`: share, costs, metric and value.
        unit: the cost that the horizontal axis shows.
    """
    table = pd.DataFrame(list(rows))
    measured = list(dict.fromkeys(table["metric"])) if len(table) else []
    metrics = [name for name in measured if name in plugins.names(plugins.METRICS)]
    spent = [point[unit] for point in losses]
    factor, label = _scale(unit, max([*spent, *(table[unit] if len(table) else [])], default=0.0))
    height = 2.4 + 1.5 * len(metrics)
    with figure(path, figsize=(8, height), dpi=110, layout="constrained") as drawn:
        panels = drawn.subplots(
            1 + len(metrics),
            1,
            sharex=True,
            squeeze=False,
            height_ratios=[1.6, *[1] * len(metrics)],
        )[:, 0]
        x = [value / factor for value in spent]
        loss = pd.Series([point["loss"] for point in losses], dtype=float)
        panels[0].plot(x, loss, color=_BLUE, alpha=0.3, linewidth=1)
        if len(loss):
            # Single steps jump; what they tend to is what one wants to see.
            panels[0].plot(x, loss.ewm(span=_SMOOTHING).mean(), color=_BLUE, linewidth=2)
        panels[0].set_ylabel("training loss")
        for panel, name in zip(panels[1:], metrics, strict=True):
            info = registry.metric_class(name).info
            points = table[table["metric"] == name]
            panel.plot(points[unit] / factor, points["value"], color=_RED, marker="o", markersize=4)
            truth = table[table["metric"] == f"{name}{TRUTH}"]
            if len(truth):
                panel.axhline(truth["value"].iloc[-1], color=_FAINT, linestyle="--", label="truth")
                panel.legend(frameon=False, loc="best")
            arrow = {"higher": " ↑", "lower": " ↓"}.get(info.direction, "")
            unit_line = f"\n{info.unit}" if info.unit else ""
            panel.set_ylabel(f"{name}{arrow}{unit_line}", parse_math=False)
        for panel in panels:
            panel.grid(visible=True, alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
        panels[-1].set_xlabel(f"{label} of training")
        panels[0].set_title(name_text(title) or "training", parse_math=False)


def _scale(unit: Unit, most: float) -> tuple[float, str]:
    """What values of a unit are divided by, and what the result is called."""
    if unit == "seconds":
        return next(((f, name) for least, f, name in _LONGER if most >= least), (1.0, "seconds"))
    return (1e12, "TFLOP") if unit == "flops" else (1.0, unit)
