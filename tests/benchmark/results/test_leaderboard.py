"""The three CSV files: columns, rows, order."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from zoo_benchmark.results.leaderboard import leaderboard_table, runs_table
from zoo_benchmark.results.run_folder import SCORE_COLUMNS, Cell, Run

# The order that people's spreadsheets rely on.
COLUMNS = [
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
    "weights",
    "trained_on",
    "seen_px",
]
METRICS = [
    "psnr",
    "colourfulness",
    "colourfulness_truth",
    "colourfulness_difference",
    "ssim",
    "ciede2000",
    "auc",
    "auc_rebalanced",
]


# ---- from results made up here --------------------------------------------------------------


def cell(label: str, seed: int = 0, error: str = "", **more: Any) -> Cell:
    spec = {"label": label, "preset": "small", "budget": "2steps", "changes": {}}
    timing = more.pop("timing", ())
    if error:
        result = {"spec": spec, "status": more.pop("status", "failed"), "error": error}
    else:
        cost = {"seconds": 2.0, "steps": 2, "images": 64, "flops": 1e9}
        result = {"spec": spec, "status": "ok", "error": "", "params": 7}
        result["training"] = {"stop_reason": "budget", "cost": cost}
        result |= {"train_images_per_s": 32.0, "peak_memory_mb": 500.0} | more
    name = label.partition(":")[0]
    return Cell(label, name, seed, f"{label}-{seed}", Path("nowhere"), result, timing)


def run(cells: list[Cell], values: dict[tuple[str, int, str], list[float]] | None = None) -> Run:
    rows = [
        (model, seed, f"image-{i}", metric, value)
        for (model, seed, metric), column in (values or {}).items()
        for i, value in enumerate(column)
    ]
    made = Run(Path("nowhere"), {"floors": []}, cells)
    made.__dict__["scores"] = pd.DataFrame(rows, columns=SCORE_COLUMNS)
    return made


def test_sorted_by_lpips_with_failures_last() -> None:
    cells = [cell("worse"), cell("fails", error="boom"), cell("better"), cell("unscored")]
    values = {
        ("worse", 0, "psnr"): [30.0, 30],
        ("worse", 0, "lpips"): [0.4, 0.6],
        ("better", 0, "psnr"): [20.0, 20],
        ("better", 0, "lpips"): [0.1, 0.3],
        ("unscored", 0, "psnr"): [25.0, 25],
    }
    board = leaderboard_table(run(cells, values))
    assert list(board["model"]) == ["better", "worse", "unscored", "fails"]
    assert list(board["lpips"].round(6))[:2] == [0.2, 0.5]
    assert list(board["status"]) == ["ok", "ok", "ok", "boom"]


def test_sorted_by_psnr_where_there_is_no_lpips() -> None:
    values = {("low", 0, "psnr"): [10.0], ("high", 0, "psnr"): [20.0]}
    board = leaderboard_table(run([cell("low"), cell("high")], values))
    assert list(board["model"]) == ["high", "low"]
    assert board["lpips"].isna().all()


def test_means_are_over_images_and_then_over_seeds() -> None:
    values = {("m", 0, "psnr"): [10.0, 20, 30], ("m", 1, "psnr"): [40.0]}
    board = leaderboard_table(run([cell("m"), cell("m", 1)], values))
    assert board.loc[0, "seeds"] == 2
    assert board.loc[0, "psnr"] == pytest.approx(30)
    mse = np.mean(10 ** (-np.array([10, 20, 30, 40]) / 10))
    assert board.loc[0, "psnr_pooled"] == pytest.approx(-10 * math.log10(mse))


def test_one_row_per_request_whatever_came_of_it() -> None:
    cells = [cell("done"), cell("failed", error="boom"), cell("half"), cell("m:a=1")]
    cells += [cell("half", 1, error="bang"), cell("m:a=2")]
    cells += [cell("never", error="not run", status="not run")]
    values = {(name, 0, "psnr"): [10.0] for name in ("done", "half", "m:a=1", "m:a=2")}
    board = leaderboard_table(run(cells, values)).set_index("model")
    assert sorted(board.index) == ["done", "failed", "half", "m:a=1", "m:a=2", "never"]
    assert board.loc["failed", "status"] == "boom"
    assert board.loc["half", "status"] == "bang"
    assert board.loc["half", "seeds"] == 1
    assert board.loc["never", "status"] == "not run"
    assert list(board.index[:3]) == ["done", "m:a=1", "m:a=2"]


def test_nothing_that_worked() -> None:
    board = leaderboard_table(run([cell("m", error="boom")]))
    assert list(board.columns) == COLUMNS
    assert list(board["model"]) == ["m"]


def speed(device: str, images_per_s: float, hardware: str = "this") -> dict[str, Any]:
    return {
        "device": device,
        "images_per_s": images_per_s,
        "latency_ms": 1800 / images_per_s,
        "hardware": hardware,
        "control": {"images_per_s": 100.0, "spread": 0.1, "version": 1},
    }


def test_speeds_of_each_device_have_columns_of_their_own() -> None:
    done = run([cell("m", timing=[speed("cuda", 900.0), speed("cpu", 9.0)])])
    board = leaderboard_table(done)
    assert board.loc[0, "predict_images_per_s_cuda"] == 900
    assert board.loc[0, "predict_images_per_s_cpu"] == 9
    assert (board.loc[0, "latency_ms_cuda"], board.loc[0, "latency_ms_cpu"]) == (2, 200)
    runs = runs_table(done)
    assert runs.loc[0, "latency_ms_cuda"] == 2
    assert runs.loc[0, "images_per_s_cpu"] == 9
    assert runs.loc[0, "hardware_cpu"] == "this"
    assert runs.loc[0, "control_images_per_s_cpu"] == 100


def test_speeds_of_unlike_hardware_are_never_averaged() -> None:
    alike = [cell("m", seed, timing=[speed("cpu", 10.0 + seed)]) for seed in (0, 1)]
    assert leaderboard_table(run(alike)).loc[0, "predict_images_per_s_cpu"] == 10.5
    unlike = [*alike[:1], cell("m", 1, timing=[speed("cpu", 99.0, "another")])]
    assert leaderboard_table(run(unlike))["predict_images_per_s_cpu"].isna().all()


def test_parameters_are_whole_numbers_beside_a_failure() -> None:
    board = leaderboard_table(run([cell("m"), cell("n", error="boom")]))
    assert board.to_csv(index=False).splitlines()[1].startswith("m,small,1,7,")


# ---- from a real run ------------------------------------------------------------------------


def test_leaderboard_file(finished: Any, painter: str) -> None:
    board = pd.read_csv(finished.out / "leaderboard.csv")
    assert list(board.columns[: len(COLUMNS)]) == COLUMNS
    assert list(board.columns[len(COLUMNS) :])[:2] == ["psnr_l_copied", "lpips_l_copied"] or (
        "psnr_l_copied" in board.columns
    )
    assert sorted(board["model"]) == sorted(finished.models)
    assert list(board["psnr"]) == sorted(board["psnr"], reverse=True)
    assert set(board["preset"]) == {"small"}
    assert set(board["budget"]) == {"2steps"}
    by_model = board.set_index("model")
    assert by_model.loc[painter, "psnr_l_copied"] > 0
    assert by_model.loc[painter, "stop_reason"] == "budget"
    assert by_model.loc[painter, "train_images_per_s"] > 0
    assert by_model.drop(index=painter)["psnr_l_copied"].isna().all()
    assert (by_model["peak_memory_mb"] > 50).all()


def test_leaderboard_is_the_mean_of_the_scores(finished: Any) -> None:
    board = pd.read_csv(finished.out / "leaderboard.csv").set_index("model")
    table = pd.read_csv(finished.out / "scores.csv")
    means = table.groupby(["model", "metric"])["value"].mean().unstack()
    for model in finished.models:
        for metric in METRICS:
            assert board.loc[model, metric] == pytest.approx(means.loc[model, metric])


def test_scores_file(finished: Any, painter: str) -> None:
    table = pd.read_csv(finished.out / "scores.csv")
    assert list(table.columns) == ["model", "seed", "image", "metric", "value"]
    assert set(table["seed"]) == {0}
    assert np.isfinite(table["value"]).all()
    for model, of_model in table.groupby("model"):
        extra = {"psnr_l_copied"} if model == painter else set()
        assert set(of_model["metric"]) == {*METRICS, *extra}
        assert not of_model.duplicated(["image", "metric"]).any()
    # The same images in the same order for every model.
    orders = {
        tuple(table[(table["model"] == model) & (table["metric"] == "psnr")]["image"])
        for model in finished.models
    }
    assert len(orders) == 1
    assert len(next(iter(orders))) > 50


def test_runs_file(finished: Any, painter: str) -> None:
    runs = pd.read_csv(finished.out / "runs.csv")
    assert list(runs["model"]) == finished.models
    wanted = {"status", "error", "options", "stop_reason", "data_seed", "model_seed"}
    wanted |= {f"cost_{cost}" for cost in ("seconds", "steps", "images", "flops")}
    wanted |= {f"env_{name}" for name in ("python", "torch", "cpu", "threads", "git_commit")}
    assert wanted <= set(runs.columns)
    assert runs["data_seed"].nunique() == 1
    assert runs["model_seed"].nunique() == len(runs)
    trained = runs.set_index("model").loc[painter]
    assert trained["cost_steps"] == 2
    assert trained["cost_images"] == 2 * trained["batch_size"]
    assert trained["cost_flops"] > 1e6
    assert trained["cost_seconds"] > 0
    assert "learning_rate" in trained["options"]
