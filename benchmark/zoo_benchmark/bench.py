"""`zoo bench`: check everything, train every model under the same budget, compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from zoo import registry
from zoo.budget import Budget
from zoo.dataset import Dataset, ImageSet
from zoo.errors import DataError
from zoo_benchmark.metrics.lpips_weights import find_lpips_weights
from zoo_benchmark.protocol import QUICK, Protocol, seeds_of
from zoo_benchmark.report.leaderboard import (
    leaderboard_table,
    runs_table,
    scores_table,
    write_csv,
)
from zoo_benchmark.report.samples import is_colourless, write_samples
from zoo_benchmark.report.table import leaderboard_to_rich
from zoo_benchmark.requests import ModelRequest, parse_models
from zoo_benchmark.runner import run_trial
from zoo_benchmark.settings import (
    BenchSettings,
    check_models,
    choose_metrics,
    choose_protocol,
    choose_timeout,
    free_folder,
    make_folder,
)
from zoo_benchmark.trial_spec import OK, SHOWCASE, SHOWCASE_SIZE, TrialSpec, cell_folder

SHOWCASE_COUNT = 8


@dataclass
class Comparison:
    """A finished, or interrupted, comparison.

    Attributes:
        out: the folder of its files.
        board: the leaderboard.
        floors: labels of the reference rows.
        failures: (label, reason) of every trial that failed.
        notes: what a reader of the table must know, one line each.
        interrupted: whether Ctrl-C ended it early.
    """

    out: Path
    board: pd.DataFrame
    floors: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    title: str = ""
    interrupted: bool = False


def run_bench(settings: BenchSettings, console: Console) -> Comparison:
    """Runs a comparison; progress goes to `console`.

    Raises:
        ZooError: something is wrong with the request or the data; nothing has been trained.
    """
    requests = parse_models(settings.models, settings.settings)
    dataset = registry.open_dataset(settings.dataset or QUICK.dataset)
    protocol = choose_protocol(settings, dataset)
    budget = Budget.parse(protocol.budget)
    metrics = choose_metrics(settings.metrics)
    timeout = choose_timeout(settings.timeout, budget)
    out = free_folder(settings.out)
    floors = check_models(requests, protocol, settings)
    test, notes = _load_data(dataset, protocol, console)
    lpips_path, lpips_status = _find_lpips(settings, metrics, console)
    pictures = dataset.showcase(SHOWCASE_COUNT, max(protocol.size, SHOWCASE_SIZE))
    make_folder(out / "cells")

    specs = [
        _spec(request, repetition, protocol, settings, metrics, lpips_path, lpips_status)
        for repetition in range(protocol.seeds)
        for request in requests
    ]
    comparison = Comparison(out, pd.DataFrame(), floors=floors)
    comparison.title = _title(protocol, test)
    if departures := QUICK.departures(protocol):
        notes.insert(0, f"departs from {QUICK.name} in {', '.join(departures)}.")
    if protocol.note:
        notes.insert(0, f"{protocol.dataset}: {protocol.note}.")

    cells: list[tuple[dict[str, Any], Path]] = []
    try:
        with _progress_bars(console) as bars:
            overall = bars.add_task("all", total=len(specs), state="")
            for spec in specs:
                folder = cell_folder(out, spec.label, spec.repetition)
                result = _run_with_bar(spec, folder, timeout, bars, console)
                cells.append((result, folder))
                _write_tables(requests, cells, comparison)
                bars.advance(overall)
    except KeyboardInterrupt:
        comparison.interrupted = True
        _write_tables(requests, cells, comparison)
    except OSError as error:
        raise DataError(
            f"cannot write to {out}: {error.strerror or error}; "
            f"{len(cells)} of {len(specs)} trials are finished and kept in it"
        ) from error
    _write_grid(requests, cells, pictures, comparison)
    comparison.failures = [(r["spec"]["label"], r["error"]) for r, _ in cells if r["status"] != OK]
    comparison.notes = notes + _metric_notes(cells)
    return comparison


def show(comparison: Comparison, console: Console) -> None:
    """Prints the table, its notes and where the files are."""
    console.print(comparison.title, style="italic", markup=False, highlight=False)
    console.print(leaderboard_to_rich(comparison.board, comparison.floors, console.width))
    for note in comparison.notes:
        console.print(f"• {note}", style="dim", markup=False, highlight=False)
    console.print(f"written to {comparison.out}", markup=False, highlight=False)


# ---- data and weights ------------------------------------------------------------------------


def _load_data(
    dataset: Dataset, protocol: Protocol, console: Console
) -> tuple[ImageSet, list[str]]:
    """Loads both splits, so that trials find them decoded, and counts what was left out."""
    notes = []
    sets = {}
    with _progress_bars(console) as bars:
        for split in ("train", "test"):
            task = bars.add_task(f"{protocol.dataset} {split}", total=None, state="")
            images = dataset.load(split, protocol.size, _bar_callback(bars, task))
            bars.update(task, total=1, completed=1, state=f"{len(images)} images")
            sets[split] = images
            if images.skipped:
                name, reason = images.skipped[0]
                notes.append(
                    f"{split}: {len(images.skipped)} unreadable files were skipped, "
                    f"such as {name} ({reason})."
                )
            if images.grey:
                notes.append(f"{split}: {len(images.grey)} already grey images were left out.")
    for split, images in sets.items():
        if len(images) == 0:
            raise DataError(f"{protocol.dataset} has no usable {split} images")
    return sets["test"], notes


def _find_lpips(
    settings: BenchSettings, metrics: Sequence[str], console: Console
) -> tuple[Path | None, str]:
    if "lpips" not in metrics:
        return None, ""
    with _progress_bars(console) as bars:
        task = bars.add_task("LPIPS weights", total=None, state="")
        found = find_lpips_weights(
            settings.lpips_weights, download=True, progress=_bar_callback(bars, task)
        )
        bars.update(task, total=1, completed=1, state=found.status)
    return found.path, found.status


# ---- the trials -----------------------------------------------------------------------------


def _spec(
    request: ModelRequest,
    repetition: int,
    protocol: Protocol,
    settings: BenchSettings,
    metrics: list[str],
    lpips_path: Path | None,
    lpips_status: str,
) -> TrialSpec:
    data_seed, model_seed = seeds_of(settings.seed, protocol.name, repetition, request.name)
    return TrialSpec(
        model=request.name,
        label=request.label,
        preset=protocol.preset,
        changes=request.changes,
        dataset=protocol.dataset,
        size=protocol.size,
        budget=protocol.budget,
        repetition=repetition,
        data_seed=data_seed,
        model_seed=model_seed,
        device=settings.device,
        precision=settings.precision,
        metrics=metrics,
        lpips_weights=str(lpips_path.resolve()) if lpips_path else None,
        lpips_status=lpips_status,
        showcase=SHOWCASE_COUNT,
        throughput=settings.throughput,
    )


def _run_with_bar(
    spec: TrialSpec, folder: Path, timeout: float, bars: Progress, console: Console
) -> dict[str, Any]:
    label = f"{spec.label} #{spec.repetition}" if spec.repetition else spec.label
    task = bars.add_task(label, total=1.0, state="starting")

    def on_progress(state: dict[str, Any]) -> None:
        loss = f" loss {state['loss']:.3f}" if state.get("loss") is not None else ""
        share = state["share"] if state["stage"] == "training" else 1.0
        bars.update(task, completed=share, state=state["stage"] + loss)

    result = run_trial(spec, folder, timeout, on_progress)
    if result["status"] == OK:
        cost = result["training"]["cost"]
        state = f"done: {cost['steps']} steps in {cost['seconds']:.1f} s"
    else:
        state = f"FAILED: {result['error']}"
    bars.update(task, completed=1.0, state=state)
    if not console.is_terminal:
        console.print(f"{label}: {state}", markup=False, highlight=False, soft_wrap=True)
    return result


def _write_tables(
    requests: Sequence[ModelRequest],
    cells: Sequence[tuple[dict[str, Any], Path]],
    comparison: Comparison,
) -> None:
    scores = scores_table(cells)
    results = [result for result, _ in cells]
    comparison.board = leaderboard_table(requests, results, scores)
    write_csv(comparison.board, comparison.out / "leaderboard.csv")
    write_csv(scores, comparison.out / "scores.csv")
    write_csv(runs_table(results), comparison.out / "runs.csv")


def _write_grid(
    requests: Sequence[ModelRequest],
    cells: Sequence[tuple[dict[str, Any], Path]],
    pictures: ImageSet,
    comparison: Comparison,
) -> None:
    first = {r["spec"]["label"]: (r, f) for r, f in reversed(cells)}
    columns = []
    for label in comparison.board["model"] if len(comparison.board) else []:
        if label not in first:
            continue
        result, folder = first[label]
        if label in comparison.floors and is_colourless(folder / SHOWCASE):
            continue  # the input once more
        row = comparison.board[comparison.board["model"] == label].iloc[0]
        lpips = f"LPIPS {row['lpips']:.3f}" if pd.notna(row["lpips"]) else ""
        columns.append((label, lpips, folder / SHOWCASE if result["status"] == OK else None))
    if first:
        write_samples(comparison.out / "samples.png", pictures, columns)


def _metric_notes(cells: Sequence[tuple[dict[str, Any], Path]]) -> list[str]:
    reasons: dict[str, str] = {}
    for result, _ in cells:
        reasons |= result.get("metrics_unavailable", {})
    return [f"{name} was not scored: {reason}" for name, reason in sorted(reasons.items())]


def _title(protocol: Protocol, test: ImageSet) -> str:
    return (
        f"{protocol.dataset} at {protocol.size}², {protocol.preset} presets, "
        f"{protocol.budget} per model, {protocol.seeds} seed{'s' * (protocol.seeds > 1)}, "
        f"{len(test)} test images"
    )


def _progress_bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        console=console,
        disable=not console.is_terminal,
    )


def _bar_callback(bars: Progress, task: Any) -> Callable[[str, int, int], None]:
    def update(what: str, done: int, total: int) -> None:
        bars.update(task, completed=done, total=total or None, state=what)

    return update
