"""The table at the end of `zoo bench`, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from zoo_benchmark.report.leaderboard import LEADERBOARD_COLUMNS

# column, heading, format
_COLUMNS = [
    ("psnr", "PSNR ↑\ndB", "{:.2f}"),
    ("lpips", "LPIPS ↓\n", "{:.4f}"),
    ("colourfulness", "colourful-\nness", "{:.1f}"),
    ("ssim", "SSIM ↑\n", "{:.4f}"),
    ("ciede2000", "ΔE00 ↓\n", "{:.2f}"),
    ("auc", "AuC ↑\n%", "{:.2f}"),
    ("auc_rebalanced", "AuC reb.\n↑ %", "{:.2f}"),
    ("params", "params\n", "{:,.0f}"),
    ("train_images_per_s", "train\nimages/s", "{:,.0f}"),
    ("predict_images_per_s_cpu", "predict\nCPU im/s", "{:,.0f}"),
    ("latency_ms_cpu", "latency\nCPU ms", "{:.1f}"),
    ("predict_images_per_s_cuda", "predict\nGPU im/s", "{:,.0f}"),
    ("latency_ms_cuda", "latency\nGPU ms", "{:.2f}"),
]


# Where a terminal is too narrow, these go first.
_EXPENDABLE = (
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
    "colourfulness",
)
_STATUS_WIDTH, _RULE = 12, 3


def leaderboard_to_rich(board: pd.DataFrame, floors: Sequence[str], width: int = 10_000) -> Table:
    """A rich table of a leaderboard; floors are dimmed and marked, failures say why.

    Columns that do not fit into `width` are left to `leaderboard.csv`, and the caption says so.
    """
    names = [str(m) + (" (floor)" if m in floors else "") for m in board["model"]]
    columns = _columns(board)
    name_width = max([cell_len("model"), *map(cell_len, names)])
    widths = {
        column: max(cell_len(line) for text in (heading, *cells) for line in text.split("\n"))
        for column, (heading, cells) in columns.items()
    }
    strangers = [column for column in columns if _is_extra(column)]
    hidden = []
    for column in (*strangers, *_EXPENDABLE):
        if name_width + sum(w + _RULE for w in widths.values()) + _RULE + _STATUS_WIDTH <= width:
            break
        if widths.pop(column, None) is not None:
            hidden.append(column)

    table = Table(show_edge=False, pad_edge=False)
    fits = name_width + _RULE + _STATUS_WIDTH <= width
    table.add_column("model", no_wrap=fits, overflow="fold", min_width=name_width if fits else None)
    for column, least in widths.items():
        heading = columns[column][0]
        table.add_column(heading, justify="right", no_wrap=True, overflow="ignore", min_width=least)
    table.add_column("status", overflow="fold", min_width=2)
    for number, (name, status) in enumerate(zip(names, board["status"].map(str), strict=True)):
        cells = [columns[column][1][number] for column in widths]
        is_floor = board["model"].iloc[number] in floors
        style = "red" if status != "ok" else "dim" if is_floor else ""
        table.add_row(escape(name), *cells, escape(status), style=style)
    if hidden:
        table.caption = "in a wider terminal and in leaderboard.csv: " + ", ".join(hidden)
        table.caption_justify = "left"
    return table


def _columns(board: pd.DataFrame) -> dict[str, tuple[str, list[str]]]:
    """Heading and cells of every column of which anything was measured."""
    truth = board["colourfulness_truth"].dropna()
    columns = {}
    extra = [(c, c, "{:.4g}") for c in map(str, board.columns) if _is_extra(c)]
    for column, heading, form in (*_COLUMNS, *extra):
        if column in board and board[column].notna().any():
            if column == "colourfulness" and len(truth):
                heading += f" → {truth.iloc[0]:.1f}"
            cells = [form.format(value) if pd.notna(value) else "–" for value in board[column]]
            columns[column] = (heading, cells)
    return columns


def _is_extra(column: str) -> bool:
    """Columns of metrics that this table has no heading for: a stranger's."""
    known = set(LEADERBOARD_COLUMNS) | {"psnr_pooled"}
    return column not in known and not column.endswith(("_truth", "_difference", "_l_copied"))
