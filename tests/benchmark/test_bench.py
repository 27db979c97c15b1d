"""One real comparison from the command line, and what it leaves behind."""

from __future__ import annotations

import csv
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.cli.console import StageBars
from zoo.registry import colorizer_class
from zoo.weights.file import open_weights
from zoo_benchmark.bench import run_bench
from zoo_benchmark.report.redraw import STAGES
from zoo_benchmark.report.samples import is_colourless, pictures_in
from zoo_benchmark.run.trial_spec import slug
from zoo_benchmark.settings import BenchSettings


def test_nothing_but_what_is_promised_is_left(finished: Any) -> None:
    names = {path.name for path in finished.out.iterdir() if path.name != "attempts"}
    tables = {"leaderboard", "runs", "scores", "references", "intervals", "pairs", "learning"}
    assert names == {
        *(f"{table}.csv" for table in tables),
        *("cells", "weights", "run.json", "truth.npz", "showcase.npz", "samples.png"),
        *("report.html", "report.md", "scores.parquet"),
    }
    assert not list((finished.out / "attempts").iterdir())
    assert not list(finished.out.rglob("*.partial*"))


def test_weights_can_be_loaded_and_predict(finished: Any, tiles: np.ndarray) -> None:
    for model in finished.models:
        file = finished.folder(model) / "weights.safetensors"
        colorizer = zoo.load(model, file, device="cpu")
        assert colorizer.predict(tiles[0, :, :, 0]).shape == (64, 64, 3)
        assert open_weights(file, colorizer_class(model)).record.budget == "2steps"


def test_samples_show_the_input_every_model_and_the_truth(finished: Any, painter: str) -> None:
    with Image.open(finished.out / "samples.png") as sheet:
        sheet.load()
        columns, rest = divmod(sheet.width - 2 * 16 + 6, 166)
    assert rest == 0
    # A floor without any colour is the input itself and has no column of its own.
    colourless = [
        model
        for model in finished.models
        if is_colourless(pictures_in(finished.folder(model) / "showcase", 4, []))
    ]
    assert painter not in colourless
    assert columns == 2 + len(finished.models) - len(colourless)


def test_every_trial_can_be_repeated_from_its_spec(finished: Any) -> None:
    specs = [result["spec"] for result in finished.results()]
    assert len(specs) == len(finished.models)
    for name in ("dataset", "size", "budget", "data_seed", "preset", "metrics"):
        assert len({json.dumps(spec[name]) for spec in specs}) == 1
    assert len({spec["model_seed"] for spec in specs}) == len(specs)


def test_costs_and_curve_of_a_trained_model(finished: Any, painter: str) -> None:
    folder = finished.folder(painter)
    result = json.loads((folder / "result.json").read_text())
    cost = result["training"]["cost"]
    assert not result["training"]["input_variety"]  # as the protocol says, whatever fit does
    assert cost["steps"] == 2
    assert cost["images"] == 2 * result["training"]["batch_size"]
    assert result["train_images_per_s"] == pytest.approx(cost["images"] / cost["seconds"])
    with (folder / "curve.csv").open(newline="") as file:
        curve = list(csv.DictReader(file))
    assert list(curve[0]) == ["seconds", "steps", "images", "flops", "loss"]
    assert int(curve[-1]["steps"]) >= 1
    assert float(curve[-1]["loss"]) > 0


def test_cells_say_how_long_their_stages_took(finished: Any) -> None:
    cells = [result["seconds"] for result in finished.results()]
    assert all(set(cell) == {"loading", "timing", "training", "scoring"} for cell in cells)
    assert all(second > 0 for cell in cells for second in cell.values())
    # They ran side by side: their sum says nothing of the whole.
    assert set(json.loads((finished.out / "run.json").read_text())["seconds"]) == {"whole"}


def test_without_lpips_the_column_says_why_in_one_line(finished: Any) -> None:
    (note,) = [line for line in finished.done.stdout.splitlines() if "lpips was not scored" in line]
    assert "--lpips-weights FILE" in note
    with (finished.out / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["lpips"] for row in rows} == {""}
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["psnr"] and row["ssim"] and row["auc_rebalanced"] for row in rows)


@pytest.mark.long
def test_with_lpips_seeds_and_throughput(
    run_zoo: Any, shared: Path, small_folder: Path, floors: list[str], painter: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run_zoo(
        *("bench", "--models", f"{floors[0]},{painter}", "--dataset", f"folder:{small_folder}"),
        *("--budget", "1steps", "--seeds", "2", "--metrics", "psnr,lpips", "--device", "cpu"),
        *("--lpips-weights", str(shared / "weights" / "alexnet_features.safetensors")),
        *("--out", str(out), "--no-references", "--json"),
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["out"] == str(out)
    assert any("departs from" in note for note in printed["notes"])
    assert any(departure.startswith("seeds=") for departure in printed["departures"])
    with (out / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in printed["rows"]] == [row["model"] for row in rows]
    assert {row["seeds"] for row in rows} == {"2"}
    assert all(0 < float(row["lpips"]) < 2 for row in rows)
    assert all(float(row["predict_images_per_s_cpu"]) > 0 for row in rows)
    assert all(float(row["latency_ms_cpu"]) > 0 for row in rows)
    by_model = {row["model"]: row for row in rows}
    assert float(by_model[painter]["lpips_l_copied"]) > 0
    with (out / "runs.csv").open(newline="") as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 4
    # Another order of images and other weights in each repetition.
    assert len({run["data_seed"] for run in runs}) == 2
    assert len({run["model_seed"] for run in runs}) == 4
    assert all(float(run["gflop_per_image_cpu"]) >= 0 for run in runs)
    assert len(list((out / "cells").glob("*/weights.safetensors"))) == 4


@pytest.mark.long
def test_learning_rates_are_found_inside_the_budget(
    run_zoo: Any, small_folder: Path, floors: list[str], painter: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run_zoo(
        *("bench", "--models", f"{floors[0]},{painter}", "--dataset", f"folder:{small_folder}"),
        *("--budget", "600steps", "--lr", "find", "--metrics", "psnr", "--device", "cpu"),
        *("--no-throughput", "--no-references", "--out", str(out)),
    )
    assert done.returncode == 0, done.stderr
    assert "learning_rate=find" in done.stdout
    with (out / "runs.csv").open(newline="") as file:
        runs = {run["model"]: run for run in csv.DictReader(file)}
    assert runs[painter]["learning_rate_found"] == "True"
    assert 1e-6 < float(runs[painter]["learning_rate"]) < 1
    assert runs[painter]["cost_steps"] == "600"
    assert runs[floors[0]]["learning_rate"] == ""


def test_labels_become_file_names_that_stay_in_their_folder() -> None:
    labels = ["../x", "..", "a/b", "a:b", "a%b", "m:path=/etc", "ü", "m:" + 400 * "x", "a" * 400]
    slugs = [slug(label) for label in labels]
    assert len(set(slugs)) == len(labels)
    for name in slugs:
        assert "/" not in name
        assert len(name) < 120
    assert slug("zhang_rebalanced:width=0.5,k=1") == "zhang_rebalanced%3awidth=0.5,k=1"


def test_from_python(small_folder: Path, floors: list[str], tmp_path: Path) -> None:
    from rich.console import Console

    settings = BenchSettings(
        models=floors[0],
        dataset=f"folder:{small_folder}",
        budget="1steps",
        metrics="psnr,psnr",
        input_variety=True,
        crop_scale=(0.5, 1),
        stored_size=96,
        out=tmp_path / "deep" / "out",
        throughput=False,
        references=False,
        device="cpu",
    )
    start = time.monotonic()
    comparison = run_bench(settings, StageBars(Console(quiet=True)))
    waited = time.monotonic() - start
    assert not comparison.failures
    assert comparison.floors == [floors[0]]
    assert list(comparison.board["model"]) == [floors[0]]
    # A floor alone still gives a grid: the input beside the truth.
    assert (comparison.out / "samples.png").is_file()
    run = json.loads((comparison.out / "run.json").read_text())
    varied = {"input_variety": True, "crop_scale": [0.5, 1], "stored_size": 96}
    assert {name: run["protocol"][name] for name in varied} == varied
    [result] = [json.loads(f.read_text()) for f in comparison.out.glob("cells/*/result.json")]
    assert {name: result["training"][name] for name in varied} == varied
    assert any("crops of 50 to 100 % of 96 px" in note for note in comparison.notes)
    assert any("input_variety=True" in note for note in comparison.notes)
    seconds = run["seconds"]
    stages = {stage: seconds[stage] for stage in ("loading", "training", "scoring", "timing")}
    assert 0 < sum(stages.values()) < seconds["whole"] < waited
    shares = ", ".join(f"{s} {stages[s] / seconds['whole']:.0%}" for s in STAGES)
    [note] = [note for note in comparison.notes if note.startswith("took")]
    assert re.fullmatch(rf"took \d+ s: {shares}, everything else \d+%", note)
