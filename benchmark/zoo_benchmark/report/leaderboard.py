"""From trial results to `leaderboard.csv`, `scores.csv` and `runs.csv`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoo.files import atomic_path
from zoo_benchmark.metrics.fidelity import pooled_psnr
from zoo_benchmark.requests import ModelRequest
from zoo_benchmark.trial_spec import SCORES

LEADERBOARD_COLUMNS = [
    "model",
    "preset",
    "seeds",
    "params",
    "psnr",
    "colourfulness",
    "colourfulness_truth",
    "lpips",
    "ssim",
    "ciede2000",
    "auc",
    "auc_rebalanced",
    "train_images_per_s",
    "predict_images_per_s_cpu",
    "predict_images_per_s_cuda",
    "latency_ms_cpu",
    "latency_ms_cuda",
    "peak_memory_mb",
    "budget",
    "stop_reason",
    "status",
]
_L_COPIED_COLUMNS = ["psnr_l_copied", "lpips_l_copied"]
_COSTS = ("seconds", "steps", "images", "flops")

Result = dict[str, Any]


def scores_table(cells: Sequence[tuple[Result, Path]]) -> pd.DataFrame:
    """All scores in long form: model, seed, image, metric, value."""
    frames = []
    for result, folder in cells:
        if result["status"] == "ok":
            frame = pd.read_csv(folder / SCORES)
            frame.insert(0, "model", result["spec"]["label"])
            frame.insert(1, "seed", result["spec"]["repetition"])
            frames.append(frame)
    if not frames:
        return pd.DataFrame(columns=["model", "seed", "image", "metric", "value"])
    return pd.concat(frames, ignore_index=True)


def runs_table(results: Sequence[Result]) -> pd.DataFrame:
    """A row per cell: options, costs, speed, status, error and the environment."""
    rows = []
    for result in results:
        spec, training = result["spec"], result.get("training", {})
        row: dict[str, Any] = {
            "model": spec["label"],
            "colorizer": spec["model"],
            "seed": spec["repetition"],
            "preset": spec["preset"],
            "status": result["status"],
            "error": result["error"],
            "options": json.dumps(result.get("options", spec["changes"])),
            "dataset": spec["dataset"],
            "size": spec["size"],
            "budget": spec["budget"],
            "stop_reason": training.get("stop_reason"),
            "data_seed": spec["data_seed"],
            "model_seed": spec["model_seed"],
        }
        row |= {f"cost_{name}": training.get("cost", {}).get(name) for name in _COSTS}
        row |= {
            name: training.get(name)
            for name in ("images_available", "images_seen", "batch_size", "precision")
        }
        row |= {
            name: result.get(name) for name in ("params", "train_images_per_s", "peak_memory_mb")
        }
        for speed in result.get("throughput", []):
            row |= {f"{k}_{speed['device']}": v for k, v in speed.items() if k != "device"}
        row |= {f"env_{name}": v for name, v in result.get("environment", {}).items()}
        rows.append(row)
    return pd.DataFrame(rows)


def leaderboard_table(
    requests: Sequence[ModelRequest], results: Sequence[Result], scores: pd.DataFrame
) -> pd.DataFrame:
    """Exactly one row per requested model, the best LPIPS (else PSNR) first, failures last."""
    rows = [
        _row(
            request,
            [r for r in results if r["spec"]["label"] == request.label],
            scores[scores["model"] == request.label],
        )
        for request in requests
    ]
    extra = [c for row in rows for c in row if c not in LEADERBOARD_COLUMNS]
    ordered_extra = [c for c in _L_COPIED_COLUMNS if c in extra]
    ordered_extra += sorted(set(extra) - set(ordered_extra))
    board = pd.DataFrame(rows).reindex(columns=LEADERBOARD_COLUMNS + ordered_extra)
    # Whole numbers stay whole beside a row that has none.
    board["params"] = board["params"].astype("Int64")
    failed = board["status"] != "ok"
    by = "lpips" if board["lpips"].notna().any() else "psnr"
    order = board.assign(_failed=failed, _key=board[by] if by == "lpips" else -board[by])
    index = order.sort_values(["_failed", "_key"], kind="stable").index
    return board.loc[index].reset_index(drop=True)


def _row(request: ModelRequest, results: Sequence[Result], scores: pd.DataFrame) -> dict[str, Any]:
    done = [r for r in results if r["status"] == "ok"]
    failures = [r["error"] for r in results if r["status"] != "ok"]
    row: dict[str, Any] = {
        "model": request.label,
        "preset": results[0]["spec"]["preset"] if results else None,
        "seeds": len(done),
        "params": done[0]["params"] if done else None,
        "budget": results[0]["spec"]["budget"] if results else None,
        "stop_reason": ", ".join(sorted({r["training"]["stop_reason"] for r in done})) or None,
        "status": "ok" if results and not failures else "; ".join(dict.fromkeys(failures)),
    }
    if not results:
        row["status"] = "not run"
    # First over the images of a seed, then over seeds.
    per_seed = scores.groupby(["metric", "seed"])["value"].mean()
    row |= {str(k): float(v) for k, v in per_seed.groupby("metric").mean().items()}
    if "psnr" in row:
        values = scores.loc[scores["metric"] == "psnr", "value"]
        row["psnr_pooled"] = pooled_psnr(values.to_numpy())
    for name in ("train_images_per_s", "peak_memory_mb"):
        row[name] = _mean([r.get(name) for r in done])
    for device in ("cpu", "cuda"):
        speeds = [s for r in done for s in r.get("throughput", []) if s["device"] == device]
        row[f"predict_images_per_s_{device}"] = _mean([s["images_per_s"] for s in speeds])
        row[f"latency_ms_{device}"] = _mean([s["latency_ms"] for s in speeds])
    return row


def _mean(values: Sequence[float | None]) -> float | None:
    there = [v for v in values if v is not None]
    return float(np.mean(there)) if there else None


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV, atomically."""
    with atomic_path(path) as partial:
        table.to_csv(partial, index=False)
