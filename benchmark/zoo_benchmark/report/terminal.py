"""The table at the end of `zoo bench`, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from zoo import registry
from zoo.errors import PluginError, UnknownNameError
from zoo_benchmark.results.leaderboard import LEADERBOARD_COLUMNS, ranking_metric
from zoo_benchmark.results.statistics import Statistics, cannot_tell_apart

# column, heading, format
_METRICS = [
    ("psnr", "PSNR ↑\ndB", "{:.2f}"),
    ("lpips", "LPIPS ↓\n", "{:.4f}"),
    ("colourfulness", "colourful-\nness", "{:.1f}"),
    ("ssim", "SSIM ↑\n", "{:.4f}"),
    ("ciede2000", "ΔE00 ↓\n", "{:.2f}"),
    ("auc", "AuC ↑\n%", "{:.2f}"),
    ("auc_rebalanced", "AuC reb.\n↑ %", "{:.2f}"),
]
_COSTS = [
    ("params", "params\n", "{:,.0f}"),
    ("train_images_per_s", "train\nimages/s", "{:,.0f}"),
    ("predict_images_per_s_cpu", "predict\nCPU im/s", "{:,.0f}"),
    ("latency_ms_cpu", "latency\nCPU ms", "{:.1f}"),
    ("predict_images_per_s_cuda", "predict\nGPU im/s", "{:,.0f}"),
    ("latency_ms_cuda", "latency\nGPU ms", "{:.2f}"),
]
_STRANGERS_FORM = "{:.4g}"
_ARROWS = {"higher": " ↑", "lower": " ↓", "match": ""}


_NOTHING = "–"
# Shown without their interval, and those with the spread over seeds.
_BARE = ("ciede2000", "auc", "auc_rebalanced")
_SEED_SPREAD = ("psnr", "lpips")
# Where a terminal is too narrow, these go first, then metrics that the zoo does not bring.
_EXPENDABLE = (
    "psnr_seed_std",
    "ciede2000",
    "auc",
    "ssim",
    "auc_rebalanced",
    "latency_ms_cuda",
    "latency_ms_cpu",
    "train_images_per_s",
    "params",
    "predict_images_per_s_cuda",
    "predict_images_per_s_cpu",
    "lpips_seed_std",
    "colourfulness",
)
_STATUS_WIDTH, _RULE = 12, 3


def leaderboard_to_rich(
    board: pd.DataFrame,
    floors: Sequence[str],
    width: int = 10_000,
    *,
    statistics: Statistics | None = None,
    ceilings: pd.DataFrame | None = None,
) -> Table:
    """A rich table of a leaderboard; floors are dimmed and marked, failures say why.

    With statistics, ± is half the 95 % interval over images, ≈ marks a row that cannot be told
    from the row above it, and with several seeds their standard deviation has a column of its
    own. Ceilings stand below a line. Columns that do not fit into `width` are left to
    `leaderboard.csv`, and the caption says so.

    Args:
        board: a row per model, in the order of the ranking.
        floors: models to be marked as references.
        width: of the terminal, in characters.
        statistics: of the same scores.
        ceilings: a row per reference computed from the truth: model, and means of metrics.
    """
    names = [str(m) + (" (floor)" if m in floors else "") for m in board["model"]]
    tops = _ceiling_names(ceilings)
    columns = _columns(board, statistics, ceilings)
    name_width = max([cell_len("model"), *map(cell_len, [*names, *tops])])
    widths = {name: column.width for name, column in columns.items()}
    strangers = [column for column in columns if _is_extra(column)]
    hidden = []
    for name in (*_EXPENDABLE, *strangers):
        if name_width + sum(w + _RULE for w in widths.values()) + _RULE + _STATUS_WIDTH <= width:
            break
        if widths.pop(name, None) is not None:
            hidden.append(name)

    table = Table(show_edge=False, pad_edge=False)
    fits = name_width + _RULE + _STATUS_WIDTH <= width
    table.add_column("model", no_wrap=fits, overflow="fold", min_width=name_width if fits else None)
    for name, least in widths.items():
        heading = columns[name].heading
        table.add_column(heading, justify="right", no_wrap=True, overflow="ignore", min_width=least)
    table.add_column("status", overflow="fold", min_width=2)
    for number, (name, status) in enumerate(zip(names, board["status"].map(str), strict=True)):
        cells = [columns[column].cells[number] for column in widths]
        is_floor = board["model"].iloc[number] in floors
        style = "red" if status != "ok" else "dim" if is_floor else ""
        table.add_row(
            escape(name), *cells, escape(status), style=style, end_section=number + 1 == len(names)
        )
    for number, name in enumerate(tops):
        cells = [columns[column].tops[number] for column in widths]
        table.add_row(escape(name), *cells, "", style="dim")
    captions = _legend(board, statistics)
    if hidden:
        captions.append("in a wider terminal and in leaderboard.csv: " + ", ".join(hidden))
    if captions:
        table.caption = "\n".join(captions)
        table.caption_justify = "left"
    return table


@dataclass(frozen=True)
class _Column:
    """A heading, the cells of the models, and those of the ceilings."""

    heading: str
    cells: list[str]
    tops: list[str]

    @property
    def width(self) -> int:
        texts = (self.heading, *self.cells, *self.tops)
        return max(cell_len(line) for text in texts for line in text.split("\n"))


def _columns(
    board: pd.DataFrame, statistics: Statistics | None, ceilings: pd.DataFrame | None
) -> dict[str, _Column]:
    """Every column of which anything was measured."""
    columns = {}
    extra = [(c, _heading(c), _STRANGERS_FORM) for c in map(str, board.columns) if _is_extra(c)]
    for name, heading, form in (*_METRICS, *extra, *_COSTS):
        if name not in board or not board[name].notna().any():
            continue
        if f"{name}_truth" in board and len(truth := board[f"{name}_truth"].dropna()):
            heading += f" → {form.format(truth.iloc[0])}"
        cells = [form.format(value) if pd.notna(value) else _NOTHING for value in board[name]]
        of_metric = _intervals(board, name, statistics)
        if of_metric is not None:
            halves = (of_metric["high"] - of_metric["low"]) / 2
            around = form if form != _STRANGERS_FORM else "{:.2g}"
            cells = [
                f"{cell} ±{around.format(half)}" if np.isfinite(half) else cell
                for cell, half in zip(cells, halves, strict=True)
            ]
        if statistics is not None and name == ranking_metric(board):
            alike = cannot_tell_apart(list(board["model"]), name, statistics.pairs)
            cells = ["≈" * mark + cell for mark, cell in zip(alike, cells, strict=True)]
        columns[name] = _Column(heading, cells, _ceiling_cells(ceilings, name, form))
        if of_metric is not None and name in _SEED_SPREAD and of_metric["seed_std"].notna().any():
            spread = [form.format(v) if pd.notna(v) else _NOTHING for v in of_metric["seed_std"]]
            title = heading.split()[0] + "\nseeds s"
            tops = [_NOTHING] * len(_ceiling_names(ceilings))
            columns[f"{name}_seed_std"] = _Column(title, spread, tops)
    return columns


def _intervals(
    board: pd.DataFrame, metric: str, statistics: Statistics | None
) -> pd.DataFrame | None:
    """The intervals of a metric, a row per row of the board; None where there are none."""
    if statistics is None or metric in _BARE:
        return None
    found = statistics.intervals[statistics.intervals["metric"] == metric].set_index("model")
    return found.reindex(board["model"]) if len(found) else None


def _legend(board: pd.DataFrame, statistics: Statistics | None) -> list[str]:
    if statistics is None or not len(statistics.intervals):
        return []
    words = ["±: half the 95 % interval over images"]
    if any(cannot_tell_apart(list(board["model"]), ranking_metric(board), statistics.pairs)):
        words.append("≈: cannot be told from the row above")
    if statistics.intervals["seed_std"].notna().any():
        words.append("seeds s: standard deviation over seeds")
    return ["; ".join(words)]


def _ceiling_names(ceilings: pd.DataFrame | None) -> list[str]:
    return [] if ceilings is None else [f"{name} (ceiling)" for name in ceilings.get("model", ())]


def _ceiling_cells(ceilings: pd.DataFrame | None, column: str, form: str) -> list[str]:
    if ceilings is None:
        return []
    if column not in ceilings:
        return [_NOTHING] * len(ceilings)
    return [form.format(value) if pd.notna(value) else _NOTHING for value in ceilings[column]]


def _heading(metric: str) -> str:
    """Of a metric that the zoo does not bring: as its plugin says, or its name if that is gone."""
    try:
        info = registry.metric_class(metric).info
    except (PluginError, UnknownNameError):
        return f"{metric}\n"
    return f"{info.title}{_ARROWS[info.direction]}\n{info.unit}"


def _is_extra(column: str) -> bool:
    """Columns of metrics that this table has no heading for: a stranger's."""
    known = set(LEADERBOARD_COLUMNS) | {"psnr_pooled"}
    return column not in known and not column.endswith(("_truth", "_difference", "_l_copied"))
