"""The columns of every table, and what stands in them.

A metric says by itself how its column looks (`MetricInfo`); costs and speeds are listed here.
Tables in a terminal, in Markdown and in HTML show one `ShownTable`, in which intervals (±), marks
(≈) and the texts of all cells are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from zoo import plugins, registry
from zoo.errors import PluginError, UnknownNameError
from zoo.metric import BY_STRANGERS, MetricInfo
from zoo_benchmark.metrics import (
    DIFFERENCE,
    L_COPIED,
    POOLED,
    TRUTH,
    WORST,
    WORST_CONDITION,
    installed_metrics,
)
from zoo_benchmark.results.statistics import Statistics, cannot_tell_apart

NOTHING = "–"
GENERAL, PRECISE, WHOLE = "{:.4g}", "{:.4f}", "{:,.0f}"
"""Formats: for any number, for one where small changes count, for one without a fraction."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its name in CSV files and JSON.
        title: its name in a report, in one line.
        heading: its name in a terminal, in two lines.
        form: the format of its values.
        shown: where, beside CSV files: `terminal`, `markdown`, `html`, with spaces between.
        place: its rank among the columns that are no metrics, in a terminal.
        keep: as `MetricInfo.keep` has it.
        around: the format of what follows ±.
        optional: whether it is left out of reports, too, where nothing was measured.
        given: whether it is of interest only where rows have given weights.
        words: whether its values are words, and no numbers.
        recorded: whether a cell's `result.json` has it under this name.
        timed: the device, and the name in a cell's timing on it.
        metric: what it shows the values of; None for all else.
    """

    name: str
    title: str = ""
    heading: str = ""
    form: str = "{:.2f}"
    shown: str = ""
    place: int = 0
    keep: float = 10
    around: str = ""
    optional: bool = False
    given: bool = False
    words: bool = False
    recorded: bool = False
    timed: tuple[str, str] | None = None
    metric: MetricInfo | None = None

    def text(self, value: Any) -> str:
        """The text of a value."""
        return NOTHING if value is None or pd.isna(value) else self.form.format(value)


# In the order of `leaderboard.csv`, where the metrics stand between these two groups.
BEFORE_METRICS = (
    Column("model"),
    Column("preset"),
    Column("seeds"),
    Column("params", "parameters", "params\n", WHOLE, "terminal html", 1, 14, recorded=True),
)
# fmt: off
# ruff: noqa: E501 - a column is one line
BEHIND_METRICS = (
    Column("train_images_per_s", "train images/s", "train\nimages/s", WHOLE, "terminal html", 2, 13, recorded=True),
    Column("predict_images_per_s_cpu", "predict CPU images/s", "predict\nCPU im/s", WHOLE, "terminal markdown html", 3, 16, timed=("cpu", "images_per_s")),
    Column("predict_images_per_s_cuda", "predict GPU images/s", "predict\nGPU im/s", WHOLE, "terminal html", 5, 15, timed=("cuda", "images_per_s"), optional=True),
    Column("latency_ms_cpu", "latency CPU ms", "latency\nCPU ms", "{:.1f}", "terminal", 4, 12, timed=("cpu", "latency_ms")),
    Column("latency_ms_cuda", "latency GPU ms", "latency\nGPU ms", "{:.2f}", "terminal", 6, 11, timed=("cuda", "latency_ms")),
    Column("peak_memory_mb", recorded=True),
    Column("budget"),
    Column("stop_reason"),
    Column("status"),
    Column("weights"),
    Column("trained_on", "trained on", form="{}", shown="markdown", place=8, given=True, words=True),
    Column("seen_px", "seen at px", "seen at\npx", WHOLE, "terminal markdown html", 7, 13, given=True),
)
# fmt: on
CURVE = (
    Column("share", form="{:.0%}"),
    Column("seconds"),
    Column("steps", form=WHOLE),
    Column("images", form=WHOLE),
    Column("flops", form="{:.3g}"),
)
"""The columns of a learning curve's point: the share of the budget, and what it had cost."""

FACTS = (*BEFORE_METRICS, *BEHIND_METRICS)
"""All columns of a leaderboard that are no metrics."""

FID_NOT_STATED = "fid_not_stated"
"""The column of published FIDs whose source does not say which FID; nothing is measured in it."""

_FIRST_SEEDS, _LAST_SEEDS = 0, 21
_APART = (
    "given weights have an order of their own: each was trained on what its row says, not under "
    "the budget of the others; they are not ranked together"
)
_NO_COMMON_BUDGET = (
    "given weights: each was trained on what its row says, under no common budget; the order is of "
    "these files on these images, not of methods"
)


# ---- metrics ---------------------------------------------------------------------------------


def metric_info(name: str) -> MetricInfo:
    """The info of a metric; for one that is not installed any more, its name alone."""
    try:
        return registry.metric_class(name).info
    except (PluginError, UnknownNameError):
        return MetricInfo(name, name, "", "higher", 0, heading=f"{name}\n")


def metric_column(name: str) -> Column:
    """The column of a metric, or of a value that follows from it (`psnr_l_copied`)."""
    if name == FID_NOT_STATED:
        return Column(
            name,
            title="FID, network or range not stated",
            heading="FID, not\nstated which",
            shown="terminal markdown html",
            keep=21,
            metric=MetricInfo(name, "FID, network or range not stated", "", "lower", 0),
        )
    base = name
    for suffix in (TRUTH, DIFFERENCE, L_COPIED, POOLED):
        if name.endswith(suffix) and name not in plugins.names(plugins.METRICS):
            base = name.removesuffix(suffix)
    info = metric_info(base)
    arrow = f" {info.arrow}" if info.arrow else ""
    form = GENERAL if info.decimals is None else f"{{:.{info.decimals}f}}"
    return Column(
        name,
        title=info.title,
        heading=info.heading or f"{info.title}{arrow}\n{info.unit}",
        form=form,
        around="{:.2g}" if info.decimals is None else form,
        shown="terminal markdown html",
        keep=info.keep,
        metric=info,
    )


def metric_names(names: Iterable[str]) -> list[str]:
    """Those of a table's columns that are metrics: no cost, and nothing that follows from one."""
    everything = list(names)
    fixed = {column.name for column in FACTS}
    return [name for name in everything if name not in fixed and not _follows(name, everything)]


def _follows(name: str, names: Collection[str]) -> bool:
    suffixes = (TRUTH, DIFFERENCE, L_COPIED, POOLED, WORST, WORST_CONDITION)
    return any(name.endswith(s) and name.removesuffix(s) in names for s in suffixes)


def _worst_column(metric: str) -> Column:
    """The column of a row's worst value under a condition."""
    column = metric_column(metric)
    return Column(
        f"{metric}{WORST}",
        title=f"{column.title}, worst condition",
        heading=f"{column.title}\nworst",
        form=column.form,
        shown=column.shown,
        keep=25,
        optional=True,
    )


def _terminal_place(name: str) -> tuple[bool, int]:
    """A metric's place in a terminal: those that rank tables come first, where room is short."""
    info = metric_info(name)
    return not info.ranks, info.place


def ranking_metric(names: Collection[str]) -> MetricInfo | None:
    """The metric that a table is ordered by: the one of those with a value that ranks most."""
    ranks = {info.ranks: info for info in installed_metrics() if info.ranks and info.name in names}
    return ranks[max(ranks)] if ranks else None


def score_note(values: Mapping[str, Any] | pd.Series) -> str:
    """The value that a table would be ordered by, with its title; empty where there is none."""
    info = ranking_metric(values)
    return f"{info.title} {metric_column(info.name).text(values[info.name])}" if info else ""


def leaderboard_columns(names: Iterable[str]) -> list[str]:
    """The columns of `leaderboard.csv`: those of every run, and the others in `names`."""
    metrics = []
    installed = installed_metrics()
    for info in installed:
        if info.place < BY_STRANGERS:
            metrics += [info.name, *([f"{info.name}{TRUTH}"] * (info.direction == "match"))]
    ours = [
        *(column.name for column in BEFORE_METRICS),
        *metrics,
        *(column.name for column in BEHIND_METRICS),
    ]
    extra = set(names) - set(ours)
    copied = [name for info in installed if (name := f"{info.name}{L_COPIED}") in extra]
    return [*ours, *copied, *sorted(extra - set(copied))]


REFERENCES = ("floor", "ceiling", "published")
"""Kinds of rows that are no models of the comparison."""


# ---- a table to be shown ---------------------------------------------------------------------


@dataclass(frozen=True)
class ShownCell:
    """A cell of a table that is shown.

    Attributes:
        value: the number, or None where there is none that is finite.
        text: the same for people.
        half: ± half the 95 % interval over images; empty where there is none.
        seeds: the standard deviation over seeds; empty where there is none.
    """

    value: float | None
    text: str
    half: str = ""
    seeds: str = ""


@dataclass(frozen=True)
class ShownRow:
    """A row of a table that is shown.

    Attributes:
        label: its name.
        kind: `floor`, `external`, `given`, `ceiling` or `published`; empty for a model that was
            trained.
        status: `ok`, or what went wrong.
        alike: whether it cannot be told from the row above it.
        cells: by the names of the columns.
    """

    label: str
    kind: str
    status: str
    alike: bool
    cells: dict[str, ShownCell]

    @property
    def name(self) -> str:
        """The row's label, and in brackets what stands outside of the ranking's rules."""
        return f"{self.label} ({self.kind})" if self.kind in REFERENCES else self.label


@dataclass(frozen=True)
class ShownTable:
    """A leaderboard as all outputs show it.

    Attributes:
        metrics: columns of the metrics with a value, those that can rank a table first.
        facts: columns of costs and speeds.
        rows: in the order of the ranking.
        ceilings: references that were computed from the truth.
        published: numbers of papers, which were not measured here and are never ranked.
        footnotes: what a reader of some column must know, a line each.
        truths: as text, the truth's own value of each metric that should match it.
        ranking: the metric that the rows are ordered by; empty where none can.
        trained: whether there was a budget, which rows of given weights stand apart from.
    """

    metrics: dict[str, Column]
    facts: dict[str, Column]
    rows: list[ShownRow]
    ceilings: list[ShownRow]
    truths: dict[str, str]
    ranking: str
    published: list[ShownRow] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)
    trained: bool = True

    @property
    def groups(self) -> list[list[ShownRow]]:
        """The rows in one or two orders: given weights stand apart from what was trained."""
        given = [row for row in self.rows if row.kind == "given"]
        if not (given and self.trained):
            return [self.rows]
        return [group for group in (self.rows[: -len(given)], given) if group]

    @property
    def given_note(self) -> str:
        """What a reader must know of given weights; empty where there are none."""
        if not any(row.kind == "given" for row in self.rows):
            return ""
        return _APART if self.trained else _NO_COMMON_BUDGET

    @property
    def references(self) -> list[ShownRow]:
        """The rows below the ranking: ceilings, then published numbers."""
        return [*self.ceilings, *self.published]

    def ordered_metrics(self, wanted: Iterable[str]) -> list[Column]:
        """The columns of the metrics in `wanted`, then those that papers alone have."""
        order = [name for name in wanted if name in self.metrics]
        papers = {
            c for row in self.published for c, cell in row.cells.items() if cell.text != NOTHING
        }
        order += [name for name in self.metrics if name in papers and name not in order]
        return [self.metrics[name] for name in order]

    def is_measured(self, column: str) -> bool:
        """Whether any row has a value in the column."""
        return any(row.cells[column].text != NOTHING for row in self.rows)

    def facts_in(self, output: str) -> list[Column]:
        """The columns of costs and speeds in `terminal`, `markdown` or `html`."""
        return [
            column
            for column in self.facts.values()
            if output in column.shown.split()
            and (self.given_note or not column.given)
            and (self.is_measured(column.name) or (output != "terminal" and not column.optional))
        ]

    def seeds_keep(self, column: Column) -> float | None:
        """How long the spread over seeds stays in a terminal; None where it has no column."""
        spread = any(row.cells[column.name].seeds for row in self.rows)
        if column.metric is None or not column.metric.ranks or not spread:
            return None
        most = max(info.ranks for info in installed_metrics())
        return _LAST_SEEDS if column.metric.ranks == most else _FIRST_SEEDS


def shown_table(
    board: pd.DataFrame,
    floors: Collection[str] = (),
    statistics: Statistics | None = None,
    ceilings: pd.DataFrame | None = None,
    externals: Collection[str] = (),
    given: Collection[str] = (),
    published: pd.DataFrame | None = None,
    footnotes: Sequence[str] = (),
    *,
    trained: bool = True,
) -> ShownTable:
    """A leaderboard with its statistics, ready to be shown.

    Args:
        board: a row per model, in the order of the ranking.
        floors: models to be marked as references.
        statistics: intervals and comparisons of the same scores.
        ceilings: a row per reference computed from the truth: model, and means of metrics.
        externals: rows of other programs.
        given: rows of given weights.
        published: a row per paper's method: `model`, and what it published by column.
        footnotes: what a reader of some column must know.
        trained: whether the others were trained under a budget.
    """
    scored = [name for name in metric_names(board.columns) if board[name].notna().any()]
    metrics = {name: metric_column(name) for name in sorted(scored, key=_terminal_place)}
    if published is not None:
        papers = [n for n in metric_names(published.columns) if published[n].notna().any()]
        metrics |= {n: metric_column(n) for n in papers if n not in metrics}
    worst = [_worst_column(name) for name in metrics if f"{name}{WORST}" in board]
    facts = {c.name: c for c in (*worst, *sorted(FACTS, key=lambda c: c.place)) if c.shown}
    ranking = ranking_metric(scored)
    labels = [str(label) for label in board["model"]]
    alike = [False] * len(labels)
    intervals: dict[tuple[str, str], Mapping[Hashable, Any]] = {}
    if statistics is not None:
        found = statistics.intervals.to_dict("records")
        intervals = {(row["model"], row["metric"]): row for row in found}
        if ranking is not None:
            alike = cannot_tell_apart(labels, ranking.name, statistics.pairs)
            # Nothing is said across the line between two orders.
            starts = [i for i, label in enumerate(labels) if trained and label in given][:1]
            alike = [mark and i not in starts for i, mark in enumerate(alike)]
    columns = [*metrics.values(), *facts.values()]
    rows = []
    for label, mark, values in zip(labels, alike, board.to_dict("records"), strict=True):
        kinds = {"given": given, "floor": floors, "external": externals}
        kind = next((kind for kind, members in kinds.items() if label in members), "")
        cells = {
            c.name: _cell(c, values.get(c.name), intervals.get((label, c.name))) for c in columns
        }
        for column in worst:
            shown, which = cells[column.name], values.get(f"{column.name}_condition")
            if shown.text != NOTHING:
                cells[column.name] = replace(shown, text=f"{shown.text} {which}")
        rows.append(ShownRow(label, kind, str(values["status"]), mark, cells))
    tops, papers_rows = (
        [
            ShownRow(
                str(values["model"]),
                kind,
                "",
                alike=False,
                cells={column.name: _cell(column, values.get(column.name)) for column in columns},
            )
            for values in (table.to_dict("records") if table is not None else ())
        ]
        for kind, table in (("ceiling", ceilings), ("published", published))
    )
    truths = {
        name: column.text(board[f"{name}{TRUTH}"].dropna().iloc[0])
        for name, column in metrics.items()
        if f"{name}{TRUTH}" in board and board[f"{name}{TRUTH}"].notna().any()
    }
    return ShownTable(
        metrics,
        facts,
        rows,
        tops,
        truths,
        ranking.name if ranking else "",
        papers_rows,
        list(footnotes),
        trained,
    )


def _cell(column: Column, value: Any, interval: Mapping[Hashable, Any] | None = None) -> ShownCell:
    number = None if column.words or value is None or pd.isna(value) else float(value)
    finite = number if number is not None and math.isfinite(number) else None
    if interval is None:
        return ShownCell(finite, column.text(value))
    half, seeds = (interval["high"] - interval["low"]) / 2, interval["seed_std"]
    return ShownCell(
        finite,
        column.text(value),
        f"±{column.around.format(half)}" if math.isfinite(half) else "",
        column.around.format(seeds) if math.isfinite(seeds) else "",
    )
