"""`report.md`: the table of a run, to be pasted where Markdown is read."""

from __future__ import annotations

import shlex

import pandas as pd

from zoo.files import write_text
from zoo_benchmark.results.leaderboard import ranking_metric
from zoo_benchmark.results.run_folder import Run
from zoo_benchmark.results.statistics import Statistics, cannot_tell_apart

_DECIMALS = {"psnr": 2, "lpips": 4, "ssim": 4, "colourfulness": 1, "ciede2000": 2}


def write_markdown(run: Run, board: pd.DataFrame, statistics: Statistics) -> None:
    """Writes `report.md` into the run's folder."""
    manifest = run.manifest
    metrics = [m for m in manifest["metrics"] if m in board and board[m].notna().any()]
    labels = [str(label) for label in board["model"]]
    alike = cannot_tell_apart(labels, ranking_metric(board), statistics.pairs)
    halves = statistics.intervals.assign(
        half=(statistics.intervals["high"] - statistics.intervals["low"]) / 2
    ).set_index(["model", "metric"])["half"]
    lines = [f"# {_text(manifest['title'])}", ""]
    lines += [f"- {_text(note)}" for note in manifest["notes"]]
    lines += ["", "| model | " + " | ".join(metrics) + " | predict CPU images/s | status |"]
    lines.append("| --- |" + " ---: |" * (len(metrics) + 1) + " --- |")
    for (_, row), label, mark in zip(board.iterrows(), labels, alike, strict=True):
        kind = " (floor)" if label in manifest["floors"] else ""
        cells = [_cell(row.get(m), halves.get((label, m)), m) for m in metrics]
        speed = row.get("predict_images_per_s_cpu")
        cells.append(f"{speed:,.0f}" if pd.notna(speed) else "–")
        name = f"{'≈ ' * mark}{_text(label)}{kind}"
        lines.append(f"| {name} | {' | '.join(cells)} | {_text(str(row['status']))} |")
    means = run.references.groupby(["model", "metric"], sort=False)["value"].mean()
    for name in dict.fromkeys(run.references["model"]):
        cells = [_cell(means.get((name, m)), None, m) for m in metrics]
        lines.append(f"| {_text(name)} (ceiling) | {' | '.join(cells)} | – | |")
    lines += [
        "",
        "±: half the 95 % interval over images. ≈: cannot be told from the row above.",
        "",
        f"    {shlex.join(manifest['command'])}",
        "",
        "![samples](samples.png)",
        "",
        "More in [report.html](report.html).",
        "",
    ]
    write_text(run.folder / "report.md", "\n".join(lines))


def _cell(value: float | None, half: float | None, metric: str) -> str:
    if value is None or pd.isna(value):
        return "–"
    decimals = _DECIMALS.get(metric, 3)
    around = f" ±{half:.{decimals}f}" if half is not None and pd.notna(half) else ""
    return f"{value:.{decimals}f}{around}"


def _text(text: str) -> str:
    """Text that means nothing in Markdown or HTML, in one line."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())
