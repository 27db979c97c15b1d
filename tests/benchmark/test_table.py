"""The table for people: whole names in pipes, floors and failures marked."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from zoo.cli.main import make_console
from zoo_benchmark.report.leaderboard import leaderboard_table
from zoo_benchmark.report.table import leaderboard_to_rich
from zoo_benchmark.requests import ModelRequest

LONG = "a_stranger[red]_with_a_very_long_name:learning_rate=0.00031,temperature=0.25,width=0.125"
REASON = "RuntimeError: " + "the sky is falling " * 12


def board() -> pd.DataFrame:
    labels = ["floor", LONG, "fails"]
    requests = [ModelRequest(label, {}, label) for label in labels]
    specs = [{"label": label, "preset": "small", "budget": "2steps"} for label in labels]
    training = {"stop_reason": "budget"}
    done = {"status": "ok", "error": "", "params": 7, "training": training}
    results: list[dict[str, Any]] = [{"spec": spec, **done} for spec in specs]
    results[2] |= {"status": "failed", "error": REASON.strip()}
    rows = [(label, 0, "i", m, v) for label in labels[:2] for m, v in VALUES.items()]
    scores = pd.DataFrame(rows, columns=["model", "seed", "image", "metric", "value"])
    return leaderboard_table(requests, results, scores)


VALUES = {
    "psnr": 20.125,
    "lpips": 0.25,
    "colourfulness": 11.5,
    "colourfulness_truth": 41.8,
    "stranger's": 3.25,
}


def printed(console: Console) -> str:
    console.print(leaderboard_to_rich(board(), ["floor"], console.width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_nothing_is_cut_or_wrapped_in_a_pipe() -> None:
    lines = printed(make_console(file=io.StringIO())).splitlines()
    assert any(LONG in line for line in lines)
    assert any(REASON.strip() in line for line in lines)
    assert any("floor (floor)" in line for line in lines)
    assert "…" not in "".join(lines)
    assert len([line for line in lines if line.startswith(("floor", "a_str", "fails"))]) == 3


def test_names_are_whole_in_a_narrow_terminal() -> None:
    width = 130
    styled = printed(Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True))
    text = Text.from_ansi(styled).plain
    assert LONG in text
    assert "20.12" in text
    # What does not fit is named, and not squeezed to nothing.
    assert "in leaderboard.csv: stranger's, params" in text
    assert max(map(len, text.splitlines())) <= width


def test_headings_and_cells() -> None:
    text = printed(make_console(file=io.StringIO()))
    assert "→ 41.8" in text
    assert "20.12" in text
    assert "stranger's" in text
    assert "psnr_pooled" not in text
    # What was not measured has no column.
    assert "GPU" not in text
    assert "SSIM" not in text


def test_the_command_prints_the_whole_of_it(finished: Any) -> None:
    lines = finished.done.stdout.splitlines()
    assert lines[0].startswith("photos at 64², small presets, 2steps per model, 1 seed")
    for model in finished.models:
        assert any(line.startswith(model) for line in lines)
    assert lines[-1] == f"written to {finished.out}"
    notes = [line for line in lines if line.startswith("•")]
    assert any("not a ranking" in note for note in notes)
    assert any("departs from quick@1 in budget=2steps" in note for note in notes)
