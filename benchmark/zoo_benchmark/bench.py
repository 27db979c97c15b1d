"""`zoo bench`: check everything, train every model under the same budget, compare."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from zoo import registry
from zoo.budget import Budget
from zoo.dataset import Dataset, ImageSet
from zoo.errors import (
    DataError,
    DeviceError,
    InputError,
    OptionError,
    PluginError,
    UnknownNameError,
)
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
from zoo_benchmark.runner import default_timeout, run_trial
from zoo_benchmark.trial import SHOWCASE_SIZE
from zoo_benchmark.trial_spec import TrialSpec

SMALLEST_SIZE = 32
SHOWCASE_COUNT = 8
_LONGEST_SLUG = 100


@dataclass(frozen=True)
class BenchSettings:
    """What `zoo bench` was asked for; None means what the protocol says.

    Attributes are the command's options; `seed` is the base of all seeds, `timeout` the
    seconds after which a trial counts as hanging.
    """

    models: str
    dataset: str | None = None
    budget: str | None = None
    size: int | None = None
    preset: Literal["paper", "small"] | None = None
    seeds: int | None = None
    device: str = "auto"
    precision: str = "auto"
    out: Path | None = None
    settings: Sequence[str] = ()
    metrics: str | None = None
    lpips_weights: Path | None = None
    timeout: float | None = None
    seed: int = 0
    throughput: bool = True


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
    protocol = _protocol(settings, dataset)
    budget = Budget.parse(protocol.budget)
    metrics = _metric_names(settings.metrics)
    timeout = _timeout(settings.timeout, budget)
    out = _free_folder(settings.out)
    floors = _check_models(requests, protocol, settings)
    test, notes = _load_data(dataset, protocol, console)
    lpips_path, lpips_status = _find_lpips(settings, metrics, console)
    pictures = dataset.showcase(SHOWCASE_COUNT, max(protocol.size, SHOWCASE_SIZE))
    _make_folder(out / "cells")

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
                folder = out / "cells" / f"{_slug(spec.label)}-{spec.repetition}"
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
    comparison.failures = [
        (r["spec"]["label"], r["error"]) for r, _ in cells if r["status"] != "ok"
    ]
    comparison.notes = notes + _metric_notes(cells)
    return comparison


def show(comparison: Comparison, console: Console) -> None:
    """Prints the table, its notes and where the files are."""
    console.print(comparison.title, style="italic", markup=False, highlight=False)
    console.print(leaderboard_to_rich(comparison.board, comparison.floors, console.width))
    for note in comparison.notes:
        console.print(f"• {note}", style="dim", markup=False, highlight=False)
    console.print(f"written to {comparison.out}", markup=False, highlight=False)


# ---- before any work ----------------------------------------------------------------------


def _protocol(settings: BenchSettings, dataset: Dataset) -> Protocol:
    asked = {
        name: getattr(settings, name)
        for name in ("dataset", "budget", "size", "preset", "seeds")
        if getattr(settings, name) is not None
    }
    asked.setdefault("size", dataset.info.native_size)
    if asked["size"] < SMALLEST_SIZE:
        raise InputError(
            f"--size {asked['size']} is too small: LPIPS needs 31 px; type --size {SMALLEST_SIZE}"
        )
    if asked.get("seeds", 1) < 1:
        raise InputError(f"--seeds must be at least 1, got {asked['seeds']}")
    protocol = dataclasses.replace(QUICK, **asked)
    # The note speaks of the embedded photographs alone.
    return protocol if protocol.dataset == QUICK.dataset else dataclasses.replace(protocol, note="")


def _metric_names(text: str | None) -> list[str]:
    known = registry.names(registry.METRICS)
    if text is not None:
        names = list(dict.fromkeys(name.strip() for name in text.split(",")))
        for name in names:
            if name not in known:
                raise UnknownNameError("metric", name, known)
        return names
    chosen = []
    for name in known:
        try:
            if registry.metric_class(name).info.default:
                chosen.append(name)
        except PluginError:
            chosen.append(name)  # its column will say why it is empty
    return chosen


def _check_models(
    requests: Sequence[ModelRequest], protocol: Protocol, settings: BenchSettings
) -> list[str]:
    """Constructs every model once, so that a wrong option is an error before any work."""
    floors = []
    rows: dict[tuple[str, Any], str] = {}
    for request in requests:
        try:
            # What a plugin prints when it is imported is no part of this command's output.
            with contextlib.redirect_stdout(sys.stderr):
                cls = registry.colorizer_class(request.name)
                colorizer = cls(
                    cls.preset(protocol.preset),
                    device=settings.device,
                    precision=settings.precision,
                    **request.changes,
                )
        except (OptionError, UnknownNameError, DeviceError):
            raise
        except Exception:  # noqa: S112 - a broken plugin is a row, with the reason it gives there
            continue
        twin = rows.setdefault((request.name, colorizer.options), request.label)
        if twin != request.label:
            raise OptionError(
                f"{twin!r} and {request.label!r} are the same row; name it once or change an option"
            )
        # A size that nobody asked for stops the one model that it does not suit.
        if settings.size is not None and protocol.size % colorizer.info.multiple:
            raise OptionError(
                f"--size {protocol.size} does not suit {request.label}: "
                f"its sides must be multiples of {colorizer.info.multiple}"
            )
        if cls.info.floor:
            floors.append(request.label)
    return floors


def _timeout(asked: float | None, budget: Budget) -> float:
    if asked is None:
        return default_timeout(budget)
    if not (asked > 0 and math.isfinite(asked)):
        raise InputError(f"--timeout must be a positive number of seconds, got {asked:g}")
    return asked


def _free_folder(wanted: Path | None) -> Path:
    """Where the results can go; nothing is made yet."""
    out = wanted or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} is there already and not an empty folder; name another")
    above = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise InputError(f"cannot write to --out {out}: {above} is a file; name another")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to --out {out}: no permission in {above}; name another")
    return out


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot write to --out {folder.parent}: {error.strerror}") from error


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
    if result["status"] == "ok":
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
        if label in comparison.floors and is_colourless(folder / "showcase"):
            continue  # the input once more
        row = comparison.board[comparison.board["model"] == label].iloc[0]
        lpips = f"LPIPS {row['lpips']:.3f}" if pd.notna(row["lpips"]) else ""
        columns.append((label, lpips, folder / "showcase" if result["status"] == "ok" else None))
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


def _slug(label: str) -> str:
    """A file name that stays inside its folder, different for different labels."""
    slug = re.sub(r"[^A-Za-z0-9=,._-]", lambda m: f"%{ord(m[0]):x}", label)
    if len(slug) <= _LONGEST_SLUG:
        return slug
    return f"{slug[:_LONGEST_SLUG]}~{hashlib.sha256(label.encode()).hexdigest()[:8]}"


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
