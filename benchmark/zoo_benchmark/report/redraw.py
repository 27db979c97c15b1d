"""The outputs of a run that can be made anew from its cells: tables, pictures, the report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
from PIL import Image
from rich.console import Console

from zoo.files import atomic_path
from zoo_benchmark.report.html import write_report
from zoo_benchmark.report.samples import Column, is_colourless, pictures_in, write_samples
from zoo_benchmark.report.terminal import conditions_to_rich, leaderboard_to_rich
from zoo_benchmark.results.columns import ShownTable, score_note, shown_table
from zoo_benchmark.results.conditions import ShownConditions, shown_conditions
from zoo_benchmark.results.leaderboard import (
    leaderboard_table,
    runs_table,
    set_intervals,
    set_notes,
    write_csv,
)
from zoo_benchmark.results.published import published_notes, published_rows
from zoo_benchmark.results.run_folder import Run, open_run
from zoo_benchmark.results.statistics import INTERVAL_COLUMNS, analyse
from zoo_benchmark.run.pictures import read_pictures
from zoo_benchmark.run.trial_spec import (
    FAILED,
    NOT_RUN,
    SHOWCASE,
    SHOWCASE_TRUTH,
    STAGES,
    WEIGHTS,
    WEIGHTS_FOLDER,
    slug,
)


@dataclass
class Comparison:
    """A finished, or interrupted, comparison.

    Attributes:
        run: its folder, read.
        board: the leaderboard.
        shown: the same with intervals, marks and ceilings, for people.
        conditions: how the rows fare where the input was changed; None where it was not.
        notes: what a reader of the table must know, one line each.
        interrupted: whether Ctrl-C ended it early.
    """

    run: Run
    board: pd.DataFrame
    shown: ShownTable
    conditions: ShownConditions | None = None
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def out(self) -> Path:
        """The folder of the comparison's files."""
        return self.run.folder

    @property
    def floors(self) -> list[str]:
        """Labels of the reference rows."""
        return list(self.run.manifest["floors"])

    @property
    def failures(self) -> list[tuple[str, str]]:
        """(label, reason) of every trial and timing that failed."""
        cells = self.run.cells
        failed = [(c.label, c.result["error"]) for c in cells if c.result["status"] == FAILED]
        failed += [
            (cell.label, f"{condition}: {under.result['error']}")
            for cell in cells
            for condition, under in cell.under.items()
            if under.result["status"] == FAILED
        ]
        return failed + [(c.label, f"timing: {c.timing_error}") for c in cells if c.timing_error]


def write_tables(run: Run) -> pd.DataFrame:
    """Writes `leaderboard.csv`, `scores.csv` and `runs.csv`; returns the leaderboard."""
    board = leaderboard_table(run)
    write_csv(board, run.folder / "leaderboard.csv")
    write_csv(run.scores, run.folder / "scores.csv")
    write_csv(runs_table(run), run.folder / "runs.csv")
    return board


def redraw(folder: Path) -> Comparison:
    """Reads a run and writes all that follows from its cells.

    Raises:
        InputError: there is no run in the folder.
    """
    run = open_run(folder)
    board = write_tables(run)
    statistics = analyse(run.scores, run.manifest["directions"])
    if of_sets := set_intervals(run):
        rows = [*statistics.intervals.to_dict("records"), *of_sets]
        statistics = replace(statistics, intervals=pd.DataFrame(rows, columns=INTERVAL_COLUMNS))
    write_csv(statistics.intervals, folder / "intervals.csv")
    write_csv(statistics.pairs, folder / "pairs.csv")
    write_csv(run.learning, folder / "learning.csv")
    externals = [external.name for external in run.externals]
    # Of other images, or other sizes of them, the papers say nothing.
    kept = not any(d.startswith(("dataset=", "size=")) for d in run.manifest["departures"])
    papers = run.manifest["protocol"]["name"] if kept else ""
    floors = run.manifest["floors"]
    shown = shown_table(
        board,
        floors,
        statistics,
        run.ceilings,
        externals,
        run.given,
        published_rows(papers) if papers else None,
        [*set_notes(run), *(published_notes(papers) if papers else ())],
        trained=run.trains,
    )
    order = [row.label for row in shown.rows]
    conditions = shown_conditions(run, order, shown.ranking, floors)
    if conditions is not None:
        write_csv(conditions.table, folder / "conditions.csv")
    comparison = Comparison(run, board, shown, conditions)
    comparison.notes = list(run.manifest["notes"]) + _notes(run)
    flaws = _write_grid(comparison)
    _offer_weights(run)
    flaws += write_report(run, shown, statistics, conditions)
    comparison.notes += [f"a picture cannot be shown: {flaw}" for flaw in dict.fromkeys(flaws)]
    return comparison


def show(comparison: Comparison, console: Console) -> None:
    """Prints the table, its notes and where the files are."""
    title = comparison.run.manifest["title"]
    console.print(title, style="italic", highlight=False)
    console.print(leaderboard_to_rich(comparison.shown, console.width))
    if comparison.conditions is not None:
        console.print(conditions_to_rich(comparison.conditions, console.width))
        console.print(comparison.conditions.note, style="dim", markup=False, highlight=False)
    for note in comparison.notes:
        console.print(f"• {note}", style="dim", highlight=False)
    console.print(f"written to {comparison.out}", highlight=False)


def _notes(run: Run) -> list[str]:
    """The notes that only finished cells can tell."""
    reasons: dict[str, str] = {}
    for cell in run.cells:
        reasons |= cell.result.get("metrics_unavailable", {})
        reasons |= cell.result.get("metrics_broken", {})
        for condition, under in cell.under.items():
            broken = under.result.get("metrics_broken", {})
            reasons |= {f"{name} under {condition}": why for name, why in broken.items()}
    notes = [f"{label}: trained on {g['trained_on']}." for label, g in run.given.items()]
    notes += [f"{name} was not scored: {reason}" for name, reason in sorted(reasons.items())]
    notes += [
        f"{cell.label} was not scored under {condition}: {under.result['error']}"
        for cell in run.cells
        for condition, under in cell.under.items()
        if under.result["status"] == FAILED
    ]
    for device in ("cpu", "cuda"):
        rows = [row for cell in run.cells for row in cell.timing if row["device"] == device]
        unlike = sorted({row["hardware"] for row in rows})
        if len(unlike) > 1:
            notes.append(
                f"{device} speeds are of unlike hardware ({'; '.join(unlike)}): "
                "do not compare them with each other."
            )
    missing = [cell for cell in run.cells if cell.result["status"] == NOT_RUN]
    if missing:
        notes.append(f"{len(missing)} of {len(run.cells)} cells have not been run.")
    unders = [under.result for cell in run.cells for under in cell.under.values()]
    if scored := [sum(each["seconds"].values()) for each in unders if "seconds" in each]:
        notes.append(f"conditions: {len(scored)} scorings took {sum(scored):,.0f} s.")
    if seconds := run.manifest.get("seconds"):
        notes.append(where_time_went(seconds))
    return notes


def where_time_went(seconds: Mapping[str, float]) -> str:
    """The note on a comparison's time: its seconds, and the share of each of `STAGES`."""
    whole = seconds["whole"]
    shares = {stage: seconds[stage] / whole for stage in STAGES if stage in seconds}
    if not shares:
        return f"took {whole:,.0f} s."
    shares["everything else"] = 1 - sum(shares.values())
    return f"took {whole:,.0f} s: " + ", ".join(f"{s} {share:.0%}" for s, share in shares.items())


def _write_grid(comparison: Comparison) -> list[str]:
    """Writes `samples.png`; returns why pictures cannot be shown."""
    run = comparison.run
    pictures = read_pictures(run.folder / SHOWCASE_TRUTH)
    if pictures is None:
        return []
    first = {cell.label: cell for cell in reversed(run.cells)}
    columns: list[Column] = []
    flaws: list[str] = []
    for _, row in comparison.board.iterrows():
        label = str(row["model"])
        cell = first.get(label)
        if cell is None:
            continue
        showcase = cell.folder / SHOWCASE
        painted: list[Image.Image | None] = [None] * len(pictures)
        if cell.ok:
            painted = pictures_in(showcase, len(pictures), flaws)
        if label in comparison.floors and is_colourless(painted):
            continue  # the input once more
        note = score_note(row.dropna()) + (", given" if label in run.given else "")
        columns.append(Column(label, note, painted))
    write_samples(run.folder / "samples.png", pictures, columns)
    return flaws


def _offer_weights(run: Run) -> None:
    """Puts the cells' weights where people find them: `weights/MODEL.safetensors`."""
    folder = run.folder / WEIGHTS_FOLDER
    for cell in run.cells:
        source = cell.folder / WEIGHTS
        if not (cell.ok and source.is_file()):
            continue
        number = f"-{cell.repetition}" if cell.repetition else ""
        with atomic_path(folder / f"{slug(cell.label)}{number}.safetensors") as partial:
            partial.unlink()
            try:
                os.link(source, partial)  # no second copy of what may be large
            except OSError:
                shutil.copyfile(source, partial)
