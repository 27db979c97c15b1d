"""The tables of a run, from its cells: `leaderboard.csv` and `runs.csv`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoo.files import atomic_path, name_text
from zoo.metric import MetricInfo
from zoo_benchmark.metrics import (
    POOLED,
    WORST,
    WORST_CONDITION,
    installed_metrics,
    judged_column,
    set_note,
)
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
    row |= _given_facts(cell)
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
    # The folder of a dataset may have a name that is no text.
    return {name: name_text(v) if isinstance(v, str) else v for name, v in row.items()}


def _given_facts(cell: Cell) -> dict[str, Any]:
    given = cell.given or {}
    return {"weights": given.get("sha256"), "trained_on": given.get("trained_on")}


def leaderboard_table(run: Run) -> pd.DataFrame:
    """Exactly one row per requested model, the best first, failures last.

    Rows of given weights have an order of their own below those trained under the budget.

    The best by the metric that ranks most of those that were scored (`MetricInfo.ranks`).

    Rows of other programs (`zoo score --add-to`) are among them. A row's speed is the mean
    over its repetitions, and empty where these ran on unlike hardware. Under conditions, the
    ranking metric's worst value and its condition have columns of their own.
    """
    external = {each.name: each for each in run.externals}
    rows = [
        _row(label, [cell for cell in run.cells if cell.label == label], external.get(label))
        | metric_means(run, label)
        | _costs([cell for cell in run.cells if cell.label == label and cell.ok])
        for label in run.labels
    ]
    board = pd.DataFrame(rows)
    ranking = ranking_metric(board.columns[board.notna().any()])
    if run.conditions and ranking is not None:
        board = board.merge(worst_conditions(run, ranking), "left", "model")
    wanted = run.manifest.get("metrics", ())  # an empty column for what could not be scored
    board = board.reindex(columns=leaderboard_columns([*board.columns, *wanted]))
    # Whole numbers stay whole beside a row that has none.
    board = board.astype({"params": "Int64", "seeds": "Int64", "seen_px": "Int64"})
    key = 0 if ranking is None else board[ranking.name] * ranking.sign
    apart = board["model"].isin(run.given) & run.trains
    order = board.assign(_apart=apart, _failed=board["status"] != OK, _key=key)
    index = order.sort_values(["_apart", "_failed", "_key"], kind="stable").index
    return board.loc[index].reset_index(drop=True)


def worst_conditions(run: Run, info: MetricInfo) -> pd.DataFrame:
    """Each row's worst value of a metric, and its condition; rows that lack a condition are out.

    Of a metric that should match the truth's, the difference counts.
    """
    column = judged_column(info)
    found: dict[str, dict[str, float]] = {}
    for condition in run.conditions:
        part = run.under(condition)
        means = {label: metric_means(part, label) for label in part.labels}
        found[condition] = {label: m[column] for label, m in means.items() if column in m}
    rows = []
    for label in run.labels:
        values = {c: means[label] for c, means in found.items() if label in means}
        if len(values) == len(run.conditions):
            worst = max(values, key=lambda condition: values[condition] * info.sign)
            rows.append((label, values[worst], worst))
    return pd.DataFrame(
        rows, columns=["model", f"{info.name}{WORST}", f"{info.name}{WORST_CONDITION}"]
    )


def metric_means(run: Run, label: str) -> dict[str, float]:
    """The value of every metric of a row: over the images of a seed first, then over seeds."""
    scores = run.scores[run.scores["model"] == label]
    per_seed = scores.groupby(["metric", "seed"])["value"].mean()
    means = {str(k): float(v) for k, v in per_seed.groupby("metric").mean().items()}
    scored: list[Cell | External] = [c for c in run.cells if c.label == label and c.ok]
    scored += [each for each in run.externals if each.name == label]
    sets = [comparable_sets(each, run) for each in scored]
    means |= {str(k): float(v) for k, v in pd.DataFrame(sets).mean().items()}
    for info in installed_metrics():
        if info.pooled is not None and info.name in means:
            values = scores.loc[scores["metric"] == info.name, "value"]
            means[f"{info.name}{POOLED}"] = info.pooled(values.to_numpy())
    return means


def _row(label: str, cells: Sequence[Cell], external: External | None) -> dict[str, Any]:
    done = [cell for cell in cells if cell.ok]
    reasons = [cell.result["error"] for cell in cells if cell.result["status"] == FAILED]
    if not reasons and len(done) < len(cells):
        reasons = [f"{len(done)} of {len(cells)} seeds run" if done else NOT_RUN]
    results = [cell.result for cell in done]
    spec = results[0]["spec"] if results else {}
    stopped = {r["training"]["stop_reason"] for r in results if "training" in r}
    row: dict[str, Any] = {
        "model": label,
        "preset": spec.get("preset"),
        "seeds": len(done) or None,
        "params": results[0]["params"] if results else None,
        "budget": spec.get("budget"),
        "stop_reason": ", ".join(sorted(stopped)) or None,
        "seen_px": spec.get("size"),
        "status": "; ".join(dict.fromkeys(reasons)) or OK,
    }
    if cells:
        row |= _given_facts(cells[0])
    if external is not None:
        row["stop_reason"] = "external"
        row["status"] = external.flaw or OK
    return row


def _costs(done: Sequence[Cell]) -> dict[str, float | None]:
    """Costs and speeds, means over finished repetitions."""
    row = {}
    for column in BEHIND_METRICS:
        if column.recorded:
            row[column.name] = _mean([cell.result.get(column.name) for cell in done])
        elif column.timed is not None:
            device, name = column.timed
            speeds = [s for cell in done for s in cell.timing if s["device"] == device]
            alike = len({s["hardware"] for s in speeds}) == 1
            row[column.name] = _mean([s[name] for s in speeds]) if alike else None
    return row


def comparable_sets(scored: Cell | External, run: Run) -> dict[str, float]:
    """The values of whole sets of a row, if they are of as many images as the run's table."""
    return scored.set_scores if unequal_count(scored, run) is None else {}


def unequal_count(scored: Cell | External, run: Run) -> int | None:
    """The number of images behind a row's values of whole sets, if it is not the run's."""
    count = scored.images_scored if scored.set_scores else None
    if count is None or count == run.manifest["data"]["splits"]["test"]["count"]:
        return None
    return count


def set_intervals(run: Run) -> list[dict[str, Any]]:
    """The rows of `intervals.csv` that values of whole sets add: means over repetitions."""
    rows = []
    for label in run.labels:
        sources: list[Cell | External] = [c for c in run.cells if c.label == label and c.ok]
        sources += [e for e in run.externals if e.name == label]
        values = pd.DataFrame([comparable_sets(each, run) for each in sources])
        halves = pd.DataFrame([each.set_halves for each in sources])
        for metric in values.columns.intersection(halves.columns):
            mean, half = values[metric].mean(), halves[metric].mean()
            spread = {}
            if values[metric].count() > 1:
                low, high = values[metric].min(), values[metric].max()
                spread = {"seed_std": values[metric].std(), "seed_low": low, "seed_high": high}
            rows.append(
                {
                    "model": label,
                    "metric": str(metric),
                    "mean": mean,
                    "low": mean - half,
                    "high": mean + half,
                    "images": run.manifest["data"]["splits"]["test"]["count"],
                    "seeds": int(values[metric].count()),
                    **spread,
                }
            )
    return rows


def set_notes(run: Run) -> list[str]:
    """What a reader of the values of whole sets must know, a line each."""
    sources: list[Cell | External] = [*(c for c in run.cells if c.ok), *run.externals]
    there = {name for each in sources for name in each.set_scores}
    if not there:
        return []
    count = run.manifest["data"]["splits"]["test"]["count"]
    notes = [set_note(info, count) for info in installed_metrics() if info.name in there]
    for each in sources:
        if (other := unequal_count(each, run)) is not None:
            name = each.label if isinstance(each, Cell) else each.name
            notes.append(
                f"{name}: {', '.join(each.set_scores)} of {other:,} images left out: "
                f"not comparable with those of {count:,}."
            )
    return notes


def _mean(values: Sequence[float | None]) -> float | None:
    there = [v for v in values if v is not None]
    return float(np.mean(there)) if there else None


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV, atomically."""
    with atomic_path(path) as partial:
        table.to_csv(partial, index=False)
