"""`conditions.csv`: how every row of a run fares under each condition of its input."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from zoo_benchmark.conditions import CLEAN
from zoo_benchmark.metrics import DIFFERENCE, POOLED, TRUTH, judged_column
from zoo_benchmark.results.columns import Column, metric_column
from zoo_benchmark.results.leaderboard import metric_means
from zoo_benchmark.results.run_folder import Run
from zoo_benchmark.results.statistics import analyse

COLUMNS = ["model", "condition", "metric", "mean", "low", "high", "loss", "images", "seeds"]
_MARK = "!"


@dataclass(frozen=True)
class ShownConditions:
    """The rows of a run under its conditions, ready to be shown.

    Attributes:
        table: in long form, as in `conditions.csv` (`COLUMNS`). `loss` is how much worse than
            under the clean condition a value is, in the metric's unit.
        names: the conditions.
        metric: the metric of the short table.
        rows: by label in the order of the ranking, and by condition: a value as text. One that
            is worse than the best floor's under that condition has a mark.
        note: what the short table shows, and what its mark means.
    """

    table: pd.DataFrame
    names: list[str]
    metric: Column
    rows: dict[str, dict[str, str]]
    note: str


def conditions_table(run: Run) -> pd.DataFrame:
    """The values of every row and metric under each condition, with 95 % intervals over images."""
    frames = []
    for condition in run.conditions:
        part = run.under(condition)
        # Without directions there are intervals alone, and no pairs.
        found = analyse(part.scores, {}).intervals
        of_sets = [
            {"model": label, "metric": name, "mean": mean}
            for label in part.labels
            for name, mean in metric_means(part, label).items()
            if name not in set(found["metric"]) and not name.endswith((TRUTH, POOLED))
        ]
        if of_sets:
            found = pd.concat([found, pd.DataFrame(of_sets)], ignore_index=True)
        frames.append(found.assign(condition=condition))
    table = pd.concat(frames, ignore_index=True)
    clean = table[table["condition"] == CLEAN].set_index(["model", "metric"])["mean"]
    signs = table["metric"].map(_sign)
    before = clean.reindex(pd.MultiIndex.from_frame(table[["model", "metric"]])).to_numpy()
    table["loss"] = (table["mean"] - before) * signs
    return table[COLUMNS]


def shown_conditions(
    run: Run, order: Collection[str], ranking: str, floors: Collection[str]
) -> ShownConditions | None:
    """What is shown of a run's conditions; None where it was scored on clean photographs alone.

    Args:
        run: the run.
        order: its rows, the best first.
        ranking: the metric that they are ordered by.
        floors: the rows to be beaten.
    """
    if not run.conditions or not ranking:
        return None
    table = conditions_table(run)
    column = metric_column(ranking)
    info = column.metric
    assert info is not None
    part = table[table["metric"] == judged_column(info)]
    wide = part.pivot_table(index="model", columns="condition", values="mean", sort=False)
    best = (wide[wide.index.isin(list(floors))] * info.sign).min()
    rows = {}
    for label in order:
        if label not in wide.index:
            continue
        values = wide.loc[label].reindex(run.conditions)
        rows[label] = {
            name: column.text(value)
            + _MARK * bool(label not in floors and value * info.sign > best.get(name, math.nan))
            for name, value in zip(run.conditions, values, strict=True)
        }
    if not rows:
        return None
    note = f"{column.title} under each condition of the input; the colours alone are scored."
    if any(text.endswith(_MARK) for texts in rows.values() for text in texts.values()):
        note += f" {_MARK}: worse than the best floor under the same condition."
    return ShownConditions(table, run.conditions, column, rows, note)


def _sign(metric: str) -> float:
    """The factor that makes a larger value a worse one; NaN where the truth's would be best."""
    info = metric_column(metric).metric
    assert info is not None
    matches = info.direction == "match" and not metric.endswith(DIFFERENCE)
    return math.nan if matches else info.sign
