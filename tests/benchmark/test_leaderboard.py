"""The three CSV files: columns, rows, order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from zoo_benchmark.report.leaderboard import leaderboard_table, runs_table
from zoo_benchmark.requests import ModelRequest

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


def result(label: str, seed: int = 0, error: str = "", **more: Any) -> dict[str, Any]:
    spec = {
        "model": label.partition(":")[0],
        "label": label,
        "preset": "small",
        "budget": "2steps",
        "repetition": seed,
        "dataset": "photos",
        "size": 64,
        "changes": {},
        "data_seed": 1,
        "model_seed": 2,
    }
    if error:
        return {"spec": spec, "status": "failed", "error": error}
    cost = {"seconds": 2.0, "steps": 2, "images": 64, "flops": 1e9}
    training = {"stop_reason": "budget", "cost": cost}
    done = {"spec": spec, "status": "ok", "error": "", "params": 7, "training": training}
    return done | {"train_images_per_s": 32.0, "peak_memory_mb": 500.0} | more


def scores(values: dict[tuple[str, int, str], list[float]]) -> pd.DataFrame:
    rows = [
        (model, seed, f"image-{i}", metric, value)
        for (model, seed, metric), column in values.items()
        for i, value in enumerate(column)
    ]
    return pd.DataFrame(rows, columns=["model", "seed", "image", "metric", "value"])


def test_sorted_by_lpips_with_failures_last() -> None:
    requests = [ModelRequest(n, {}, n) for n in ("worse", "fails", "better", "unscored")]
    results = [result(r.label, error="boom" if r.name == "fails" else "") for r in requests]
    table = scores(
        {
            ("worse", 0, "psnr"): [30, 30],
            ("worse", 0, "lpips"): [0.4, 0.6],
            ("better", 0, "psnr"): [20, 20],
            ("better", 0, "lpips"): [0.1, 0.3],
            ("unscored", 0, "psnr"): [25, 25],
        }
    )
    board = leaderboard_table(requests, results, table)
    assert list(board["model"]) == ["better", "worse", "unscored", "fails"]
    assert list(board["lpips"].round(6))[:2] == [0.2, 0.5]
    assert list(board["status"]) == ["ok", "ok", "ok", "boom"]


def test_sorted_by_psnr_where_there_is_no_lpips() -> None:
    requests = [ModelRequest(n, {}, n) for n in ("low", "high")]
    table = scores({("low", 0, "psnr"): [10], ("high", 0, "psnr"): [20]})
    board = leaderboard_table(requests, [result("low"), result("high")], table)
    assert list(board["model"]) == ["high", "low"]
    assert board["lpips"].isna().all()


def test_means_are_over_images_and_then_over_seeds() -> None:
    requests = [ModelRequest("m", {}, "m")]
    table = scores({("m", 0, "psnr"): [10, 20, 30], ("m", 1, "psnr"): [40]})
    board = leaderboard_table(requests, [result("m"), result("m", 1)], table)
    assert board.loc[0, "seeds"] == 2
    assert board.loc[0, "psnr"] == pytest.approx(30)
    mse = np.mean(10 ** (-np.array([10, 20, 30, 40]) / 10))
    assert board.loc[0, "psnr_pooled"] == pytest.approx(-10 * math.log10(mse))


def test_one_row_per_request_whatever_came_of_it() -> None:
    labels = ["done", "failed", "half", "m:a=1", "m:a=2", "never"]
    requests = [ModelRequest(n.partition(":")[0], {}, n) for n in labels]
    results = [result("done"), result("failed", error="boom"), result("half"), result("m:a=1")]
    results += [result("half", 1, error="bang"), result("m:a=2")]
    table = scores({(name, 0, "psnr"): [10.0] for name in ("done", "half", "m:a=1", "m:a=2")})
    board = leaderboard_table(requests, results, table).set_index("model")
    assert sorted(board.index) == labels
    assert board.loc["failed", "status"] == "boom"
    assert board.loc["half", "status"] == "bang"
    assert board.loc["half", "seeds"] == 1
    assert board.loc["never", "status"] == "not run"
    assert list(board.index[:3]) == ["done", "m:a=1", "m:a=2"]


@pytest.mark.parametrize("results", [[], [result("m", error="boom")]], ids=["none", "a failure"])
def test_nothing_that_worked(results: list[dict[str, Any]]) -> None:
    board = leaderboard_table([ModelRequest("m", {}, "m")], results, scores({}))
    assert list(board.columns) == COLUMNS
    assert list(board["model"]) == ["m"]


def test_speeds_of_each_device_have_columns_of_their_own() -> None:
    speeds = [
        {"device": "cuda", "images_per_s": 900.0, "latency_ms": 2.0},
        {"device": "cpu", "images_per_s": 9.0, "latency_ms": 200.0},
    ]
    done = result("m", throughput=speeds)
    board = leaderboard_table([ModelRequest("m", {}, "m")], [done], scores({}))
    assert board.loc[0, "predict_images_per_s_cuda"] == 900
    assert board.loc[0, "predict_images_per_s_cpu"] == 9
    assert (board.loc[0, "latency_ms_cuda"], board.loc[0, "latency_ms_cpu"]) == (2, 200)
    runs = runs_table([done])
    assert runs.loc[0, "latency_ms_cuda"] == 2
    assert runs.loc[0, "images_per_s_cpu"] == 9


def test_parameters_are_whole_numbers_beside_a_failure(tmp_path: Any) -> None:
    requests = [ModelRequest(n, {}, n) for n in ("m", "n")]
    board = leaderboard_table(requests, [result("m"), result("n", error="boom")], scores({}))
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
