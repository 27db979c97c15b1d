"""The table at the end of `zoo bench`, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
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


def leaderboard_to_rich(board: pd.DataFrame, floors: Sequence[str]) -> Table:
    """A rich table of a leaderboard; floors are dimmed and marked, failures say why."""
    truth = board["colourfulness_truth"].dropna()
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("model", no_wrap=True, overflow="ignore")
    shown = [(c, h, f) for c, h, f in _COLUMNS if c in board and board[c].notna().any()]
    for column, heading, _ in shown:
        if column == "colourfulness" and len(truth):
            heading += f" → {truth.iloc[0]:.1f}"
        table.add_column(heading, justify="right", no_wrap=True, overflow="ignore")
    extra = [c for c in map(str, board.columns) if _is_extra(c) and board[c].notna().any()]
    for column in extra:
        table.add_column(column, justify="right", no_wrap=True, overflow="ignore")
    table.add_column("status", overflow="fold")
    for _, row in board.iterrows():
        is_floor = row["model"] in floors
        cells = [f.format(row[c]) if pd.notna(row[c]) else "–" for c, _, f in shown]
        cells += [f"{row[c]:.4g}" if pd.notna(row[c]) else "–" for c in extra]
        name = escape(str(row["model"])) + (" (floor)" if is_floor else "")
        failed = row["status"] != "ok"
        style = "red" if failed else "dim" if is_floor else ""
        table.add_row(name, *cells, escape(str(row["status"])), style=style)
    return table


def _is_extra(column: str) -> bool:
    """Columns of metrics that this table has no heading for: a stranger's."""
    known = set(LEADERBOARD_COLUMNS) | {"psnr_pooled"}
    return column not in known and not column.endswith(("_truth", "_difference", "_l_copied"))
