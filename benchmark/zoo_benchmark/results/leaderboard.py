"""The tables of a run, from its cells: `leaderboard.csv` and `runs.csv`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoo.files import atomic_path
from zoo_benchmark.metrics import POOLED, installed_metrics
from zoo_benchmark.results.columns import (
    BEHIND_METRICS,
    FACTS,
    leaderboard_columns,
    ranking_metric,
)
from zoo_benchmark.results.run_folder import Cell, External, Run
from zoo_benchmark.run.learning_curve import COSTS
from zoo_benchmark.run.trial_spec import FAILED, NOT_RUN, OK

_RECORDED = (
    "images_available",
    "images_seen",
    "batch_size",
    "precision",
    "overshoot",
    "longest_step_seconds",
    "evaluation_seconds",
    "learning_rate",
    "learning_rate_found",
)


def runs_table(run: Run) -> pd.DataFrame:
    """A row per cell: options, costs, speed, status, error and the environment."""
    return pd.DataFrame([_run_row(cell) for cell in run.cells])


def _run_row(cell: Cell) -> dict[str, Any]:
    result = cell.result
    spec, training = result.get("spec", {}), result.get("training", {})
    row: dict[str, Any] = {
        "model": cell.label,
        "colorizer": cell.model,
        "seed": cell.repetition,
        "key": cell.key,
        "status": result["status"],
        "error": result["error"],
        "options": json.dumps(result.get("options", spec.get("changes"))),
    }
    row |= {
        name: spec.get(name)
        for name in ("preset", "dataset", "size", "budget", "data_seed", "model_seed")
    }
    row |= cell.set_scores
    row["stop_reason"] = training.get("stop_reason")
    row |= {f"cost_{name}": training.get("cost", {}).get(name) for name in COSTS}
    row |= {name: training.get(name) for name in _RECORDED}
    row |= {column.name: result.get(column.name) for column in FACTS if column.recorded}
    for speed in cell.timing:
        flat = {k: v for k, v in speed.items() if k not in ("device", "control")}
        flat |= {f"control_{k}": v for k, v in speed.get("control", {}).items()}
        row |= {f"{k}_{speed['device']}": v for k, v in flat.items()}
    row |= {f"control_{name}": v for name, v in result.get("control", {}).items()}
    row |= {f"env_{name}": v for name, v in result.get("environment", {}).items()}
    return row


def leaderboard_table(run: Run) -> pd.DataFrame:
    """Exactly one row per requested model, the best first, failures last.

    The best by the metric that ranks most of those that were scored (`MetricInfo.ranks`).

    Rows of other programs (`zoo score --add-to`) are among them. A row's speed is the mean
    over its repetitions, and empty where these ran on unlike hardware.
    """
    external = {each.name: each for each in run.externals}
    rows = [
        _row(
            label,
            [cell for cell in run.cells if cell.label == label],
            run.scores[run.scores["model"] == label],
            external.get(label),
        )
        for label in run.labels
    ]
    board = pd.DataFrame(rows)
    wanted = run.manifest.get("metrics", ())  # an empty column for what could not be scored
    board = board.reindex(columns=leaderboard_columns([*board.columns, *wanted]))
    # Whole numbers stay whole beside a row that has none.
    board = board.astype({"params": "Int64", "seeds": "Int64"})
    ranking = ranking_metric(board.columns[board.notna().any()])
    key = 0 if ranking is None else board[ranking.name] * ranking.sign
    order = board.assign(_failed=board["status"] != OK, _key=key)
    index = order.sort_values(["_failed", "_key"], kind="stable").index
    return board.loc[index].reset_index(drop=True)


def _row(
    label: str, cells: Sequence[Cell], scores: pd.DataFrame, external: External | None
) -> dict[str, Any]:
    done = [cell for cell in cells if cell.ok]
    reasons = [cell.result["error"] for cell in cells if cell.result["status"] == FAILED]
    if not reasons and len(done) < len(cells):
        reasons = [f"{len(done)} of {len(cells)} seeds run" if done else NOT_RUN]
    results = [cell.result for cell in done]
    spec = results[0]["spec"] if results else {}
    row: dict[str, Any] = {
        "model": label,
        "preset": spec.get("preset"),
        "seeds": len(done) or None,
        "params": results[0]["params"] if results else None,
        "budget": spec.get("budget"),
        "stop_reason": ", ".join(sorted({r["training"]["stop_reason"] for r in results})) or None,
        "status": "; ".join(dict.fromkeys(reasons)) or OK,
    }
    if external is not None:
        row["stop_reason"] = "external"
        row["status"] = external.flaw or OK
    # First over the images of a seed, then over seeds.
    per_seed = scores.groupby(["metric", "seed"])["value"].mean()
    row |= {str(k): float(v) for k, v in per_seed.groupby("metric").mean().items()}
    sets = [cell.set_scores for cell in done] if external is None else [external.set_scores]
    row |= {str(k): float(v) for k, v in pd.DataFrame(sets).mean().items()}
    for info in installed_metrics():
        if info.pooled is not None and info.name in row:
            values = scores.loc[scores["metric"] == info.name, "value"]
            row[f"{info.name}{POOLED}"] = info.pooled(values.to_numpy())
    for column in BEHIND_METRICS:
        if column.recorded:
            row[column.name] = _mean([r.get(column.name) for r in results])
        elif column.timed is not None:
            device, name = column.timed
            speeds = [s for cell in done for s in cell.timing if s["device"] == device]
            alike = len({s["hardware"] for s in speeds}) == 1
            row[column.name] = _mean([s[name] for s in speeds]) if alike else None
    return row


def _mean(values: Sequence[float | None]) -> float | None:
    there = [v for v in values if v is not None]
    return float(np.mean(there)) if there else None


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV, atomically."""
    with atomic_path(path) as partial:
        table.to_csv(partial, index=False)
