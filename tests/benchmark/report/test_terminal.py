"""The table for people: whole names in pipes, floors and failures marked."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.text import Text

from zoo import registry
from zoo.cli.console import make_console
from zoo.metric import MetricInfo
from zoo_benchmark.report.terminal import leaderboard_to_rich
from zoo_benchmark.results.columns import leaderboard_columns, shown_table
from zoo_benchmark.results.statistics import Statistics, analyse

LONG = "a_stranger[red]_with_a_very_long_name:learning_rate=0.00031,temperature=0.25,width=0.125"
REASON = "RuntimeError: " + "the sky is falling " * 12


def board() -> pd.DataFrame:
    rows = [{"model": label, "status": "ok", "params": 7, **VALUES} for label in ("floor", LONG)]
    rows.append({"model": "fails", "status": REASON.strip()})
    return pd.DataFrame(rows).reindex(columns=leaderboard_columns(["stranger's"]))


def analysed(seeds: int = 1) -> Statistics:
    """Of two models whose PSNR is alike and whose LPIPS is not."""
    generator = np.random.default_rng(0)
    rows = []
    for image, seed in itertools.product(range(60), range(seeds)):
        psnr = 20 + generator.normal()
        for model, lpips in (("floor", 0.25), (LONG, 0.3)):
            noise = 0.01 * generator.normal(size=2)
            rows.append((model, seed, f"i{image}", "psnr", psnr + noise[0]))
            rows.append((model, seed, f"i{image}", "lpips", lpips + noise[1]))
    columns = ["model", "seed", "image", "metric", "value"]
    return analyse(pd.DataFrame(rows, columns=columns), {"psnr": "higher", "lpips": "lower"})


VALUES = {
    "psnr": 20.125,
    "lpips": 0.25,
    "colourfulness": 11.5,
    "colourfulness_truth": 41.8,
    "stranger's": 3.25,
}


def printed(console: Console) -> str:
    console.print(leaderboard_to_rich(shown_table(board(), ["floor"]), console.width))
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
    assert "in leaderboard.csv: params, colourfulness, stranger's" in text
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


def test_metrics_that_the_zoo_does_not_bring_stand_among_the_others(monkeypatch: Any) -> None:
    class Theirs:
        info = MetricInfo("stranger's", "Strangeness", unit="px", direction="lower", version=1)

    find = registry.metric_class
    theirs = {"stranger's": Theirs}
    monkeypatch.setattr(registry, "metric_class", lambda name: theirs.get(name) or find(name))
    generator = np.random.default_rng(0)
    scores = [("floor", 0, f"i{n}", "stranger's", 3.25 + generator.normal()) for n in range(60)]
    columns = ["model", "seed", "image", "metric", "value"]
    statistics = analyse(pd.DataFrame(scores, columns=columns), {"stranger's": "lower"})
    (low, high) = statistics.intervals.loc[0, ["low", "high"]]
    lines = _lines(statistics=statistics)
    assert lines["model"].index("ness → 41.8") < lines["┃"].index("Strangeness ↓")
    assert lines["┃"].index("Strangeness ↓") < lines["┃"].index("params")
    assert "│ 3.25 ±" + f"{(high - low) / 2:.2g}" in lines["floor"]


def test_the_command_prints_the_whole_of_it(finished: Any) -> None:
    lines = finished.done.stdout.splitlines()
    assert lines[0].startswith("quick@1: photos at 64², small presets, 2steps per model, 1 seed")
    for model in finished.models:
        assert any(line.startswith(model) for line in lines)
    assert lines[-1] == f"written to {finished.out}"
    notes = [line for line in lines if line.startswith("•")]
    assert any("not a ranking" in note for note in notes)
    assert any("departs from quick@1 in budget=2steps" in note for note in notes)


def _lines(**keywords: Any) -> dict[str, str]:
    console = make_console(file=io.StringIO())
    shown = shown_table(keywords.pop("of", board()), ["floor"], **keywords)
    console.print(leaderboard_to_rich(shown))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    return {line.split()[0]: line for line in lines if line.strip()}


def test_intervals_stand_beside_their_means() -> None:
    statistics = analysed()
    lines = _lines(statistics=statistics)
    row = statistics.intervals.set_index(["model", "metric"]).loc[("floor", "lpips")]
    assert f"0.2500 ±{(row['high'] - row['low']) / 2:.4f}" in lines["floor"]
    assert "±" not in lines["fails"]
    assert "95 %" in lines["±:"]
    assert "≈" not in "".join(lines.values())  # LPIPS ranks, and tells them apart


def test_what_cannot_be_told_from_the_row_above_is_marked() -> None:
    without = board().assign(lpips=np.nan)  # then PSNR ranks
    lines = _lines(of=without, statistics=analysed())
    assert "≈20.12 ±" in lines[LONG]
    assert "≈" not in lines["floor"]
    assert "≈: cannot be told from the row above" in lines["±:"]


def test_the_spread_over_seeds_has_its_own_column() -> None:
    assert "seeds s" not in "".join(_lines(statistics=analysed()).values())
    statistics = analysed(seeds=3)
    spread = statistics.intervals.set_index(["model", "metric"]).loc[(LONG, "lpips"), "seed_std"]
    lines = _lines(statistics=statistics)
    assert f" {spread:.4f} " in lines[LONG]
    assert "standard deviation over seeds" in lines["±:"]


def test_ceilings_stand_below_the_models() -> None:
    ceilings = pd.DataFrame([{"model": "313 bins", "psnr": 35.25}])
    console = make_console(file=io.StringIO())
    console.print(leaderboard_to_rich(shown_table(board(), ["floor"], ceilings=ceilings)))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.index("fails") < text.index("313 bins (ceiling)") < text.index("35.25")
