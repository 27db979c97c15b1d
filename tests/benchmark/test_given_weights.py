"""Trained networks in a comparison: `NAME@WEIGHTS` is scored as it is, and stands apart."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio
from stevedore import ExtensionManager

import zoo
from zoo.cli.console import StageBars
from zoo.errors import NotFittedError, WeightsError
from zoo.weights.download import file_sha256
from zoo.weights.file import Origin
from zoo_benchmark.bench import run_bench
from zoo_benchmark.protocol import FOLDER
from zoo_benchmark.report.redraw import Comparison
from zoo_benchmark.results.columns import shown_table
from zoo_benchmark.results.published import published_rows
from zoo_benchmark.results.run_folder import open_run
from zoo_benchmark.results.statistics import PAIR_COLUMNS, Statistics
from zoo_benchmark.run.given import load_given
from zoo_benchmark.run.pictures import read_pictures
from zoo_benchmark.run.trial_spec import TimingSpec
from zoo_benchmark.settings import BenchSettings, choose_protocol

QUICKLY = ("--metrics", "psnr", "--device", "cpu", "--no-throughput", "--no-references")
NOWHERE = "folder:nowhere"


def _train(folder: Path, target: Path) -> Path:
    """Weights of the mean colour of a folder's images."""
    images = [np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))]
    colorizer = zoo.load("mean_color", device="cpu").fit(images, budget="1steps")
    colorizer.save(target)
    return target


@pytest.fixture(scope="module")
def cheat(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that have seen the test images: no training on others can be as good."""
    return _train(small_folder / "test", tmp_path_factory.mktemp("given") / "cheat.safetensors")


@pytest.fixture(scope="module")
def mixed(small_folder: Path, cheat: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """What was trained under a budget, and given weights that are better."""
    settings = BenchSettings(
        models=f"mean_color@{cheat},mean_color,grey",
        dataset=f"folder:{small_folder}",
        budget="1steps",
        seeds=2,
        metrics="psnr,colourfulness",
        out=tmp_path_factory.mktemp("mixed") / "out",
        throughput=False,
        references=False,
        device="cpu",
    )
    comparison = run_bench(settings, StageBars(Console(quiet=True)))
    assert not comparison.failures
    return comparison


def test_given_weights_are_better_and_still_stand_apart(mixed: Comparison, cheat: Path) -> None:
    board = pd.read_csv(mixed.out / "leaderboard.csv", index_col="model")
    label = "mean_color@cheat.safetensors"
    assert list(board.index) == ["mean_color", "grey", label]
    assert board.loc[label, "psnr"] > board.loc["mean_color", "psnr"]
    assert board.loc[label, "weights"] == file_sha256(cheat)
    assert board.loc[label, "trained_on"] == "4 images; budget 1steps"
    assert board.loc[label, "budget"] == "none"
    assert board.loc[label, "seeds"] == 1
    assert board["weights"].isna()[["mean_color", "grey"]].all()
    assert list(board["seen_px"]) == [64, 64, 64]
    run = open_run(mixed.out)
    [cell] = [cell for cell in run.cells if cell.given]
    assert len(run.cells) == 5
    # Nothing was trained, and no copy of the file was made.
    assert not {"curve.csv", "learning.csv", "weights.safetensors"} & {
        path.name for path in cell.folder.iterdir()
    }
    assert "training" not in cell.result
    weights = {path.stem for path in (mixed.out / "weights").iterdir()}
    assert weights == {"mean_color", "mean_color-1", "grey", "grey-1"}


def test_scores_are_of_what_the_weights_paint(mixed: Comparison, cheat: Path) -> None:
    [cell] = [cell for cell in open_run(mixed.out).cells if cell.given]
    scores = cell.scores()
    psnr = scores[scores["metric"] == "psnr"].set_index("image")["value"]
    painted, truth = cell.predictions(), read_pictures(mixed.out / "truth.npz")
    assert painted is not None and truth is not None
    ab = zoo.load("mean_color", cheat, device="cpu").net.state_dict()["ab"]
    for name, ours, theirs in zip(truth.ids, painted.images, truth.images, strict=True):
        expected = peak_signal_noise_ratio(np.asarray(theirs), np.asarray(ours), data_range=255)
        assert psnr[name] == pytest.approx(expected, abs=1e-3)
        # One colour everywhere: that of the file.
        middle = rgb2lab(np.asarray(ours))[..., 1:].reshape(-1, 2).mean(0)
        assert np.abs(middle - ab.numpy()).max() < 1.5


def test_markdown_and_page_keep_two_orders(mixed: Comparison) -> None:
    text = (mixed.out / "report.md").read_text()
    first, second = text.split("**Given weights have an order of their own")
    assert "| mean\\_color (floor) |" in first and "@cheat" not in first
    assert "| mean\\_color@cheat.safetensors |" in second
    assert "4 images; budget 1steps" in second
    page = (mixed.out / "report.html").read_text()
    table = page[page.index('id="leaderboard"') : page.index("</table>")]
    above, below = table.split('<tbody class="apart">')
    assert "@cheat" not in above and "@cheat" in below
    assert "seen at px" in above
    assert "trained on 4 images; budget 1steps" in below
    assert "they are not ranked together" in page
    assert any(
        note == "mean_color@cheat.safetensors: trained on 4 images; budget 1steps."
        for note in mixed.notes
    )


def test_the_page_sorts_each_order_by_itself(mixed: Comparison, browser: Any) -> None:
    browser.get((mixed.out / "report.html").as_uri())
    browser.get_log("browser")
    for heading in browser.find_elements("css selector", "#leaderboard thead button"):
        for _ in range(2):
            heading.click()
            bodies = browser.execute_script(
                "return [...document.querySelectorAll('#leaderboard tbody')].map((b) =>"
                "[...b.querySelectorAll('th')].map((th) => th.textContent.trim()))"
            )
            assert len(bodies) == 3
            assert len(bodies[0]) == 2 and not any("@" in name for name in bodies[0])
            assert "@cheat" in bodies[2][0]
    assert browser.find_elements("xpath", "//th[contains(., '◇ mean_color@cheat')]")
    assert browser.get_log("browser") == []


def test_no_mark_and_no_order_across_the_line() -> None:
    board = pd.DataFrame(
        {"model": ["a", "b@w", "c@w"], "psnr": [20.0, 20.0, 20.0], "status": ["ok"] * 3}
    )
    pairs = pd.DataFrame(
        [
            ["psnr", one, other, 0.0, -1.0, 1.0, 0.5, 0.0, 9, False]
            for one, other in (("a", "b@w"), ("a", "c@w"), ("b@w", "c@w"))
        ],
        columns=PAIR_COLUMNS,
    )
    intervals = pd.DataFrame(columns=["model", "metric", "high", "low", "seed_std"])
    statistics = Statistics(intervals, pairs)
    given = ["b@w", "c@w"]
    apart = shown_table(board, statistics=statistics, given=given)
    assert [row.alike for row in apart.rows] == [False, False, True]
    assert [[row.label for row in group] for group in apart.groups] == [["a"], given]
    together = shown_table(board, statistics=statistics, given=given, trained=False)
    assert [row.alike for row in together.rows] == [False, True, True]
    assert len(together.groups) == 1
    assert "under no common budget" in together.given_note
    assert not shown_table(board, statistics=statistics).given_note


def test_a_budget_of_none_needs_no_training_images(
    zoo: Callable[..., Any], mixed: Comparison, small_folder: Path, cheat: Path, tmp_path: Path
) -> None:
    images, out, mine = tmp_path / "images", tmp_path / "out", tmp_path / "mine.safetensors"
    shutil.copytree(small_folder / "test", images / "test")
    shutil.copy(cheat, mine)

    def bench(*more: str) -> Any:
        arguments = ("--models", f"mean_color@{mine},grey", "--dataset", f"folder:{images}")
        quickly = (*QUICKLY[:-1], "--budget", "none", "--out", str(out))
        return zoo("bench", *arguments, *quickly, *more)

    done = bench("--json")
    assert done.code == 0, done.stderr
    shown = json.loads(done.stdout)
    assert "nothing trained, 4 test images" in shown["title"]
    # The floor that would have to be trained is left out, and that is said.
    assert [row["model"] for row in shown["rows"]] == ["mean_color@mine.safetensors", "grey"]
    assert "left out, as nothing is trained: mean_color." in shown["notes"]
    scores = {row["model"]: row["psnr"] for row in shown["rows"]}
    trained = mixed.board.set_index("model")["psnr"]
    assert scores["grey"] == pytest.approx(trained["grey"], abs=1e-4)
    assert scores["mean_color@mine.safetensors"] == pytest.approx(
        trained["mean_color@cheat.safetensors"], abs=1e-4
    )
    report = (out / "report.md").read_text()
    assert "under no common budget" in report
    assert len(re.findall(r"^\| model \|", report, re.MULTILINE)) == 1
    assert "training and" not in (out / "report.html").read_text().split("</header>")[0]

    # Again: taken. Another file at the same place: another cell, and the old one stays.
    again = bench()
    assert again.code == 0
    assert "mean_color@mine.safetensors: finished before" in again.stderr
    assert "under no common budget" in " ".join(again.stdout.split())
    keys = {path.name for path in (out / "cells").iterdir()}
    _train(small_folder / "train", mine)
    other = bench("--json")
    assert "mean_color@mine.safetensors: done: scored" in other.stderr
    assert "grey: finished before" in other.stderr
    [row] = [row for row in json.loads(other.stdout)["rows"] if "@" in row["model"]]
    assert row["psnr"] < scores["mean_color@mine.safetensors"]
    assert row["weights"] == file_sha256(mine)
    assert len({path.name for path in (out / "cells").iterdir()} - keys) == 1

    at = zoo("report", str(out), "--at", "1steps")
    assert at.code == 2 and "nothing was trained in" in at.stderr
    assert " ".join(zoo("report", str(out)).stdout.split()).count("under no common budget") == 1


def test_earlier_points_and_comparisons_of_runs_tell_of_given_weights(
    zoo: Callable[..., Any], mixed: Comparison, tmp_path: Path
) -> None:
    at = zoo("report", str(mixed.out), "--at", "1steps")
    assert at.code == 0, at.stderr
    assert "left out, as it was not trained here: mean_color@cheat.safetensors." in at.stdout
    other = tmp_path / "other"
    shutil.copytree(mixed.out, other)
    manifest = json.loads((other / "run.json").read_text())
    [entry] = [entry for entry in manifest["cells"] if "given" in entry]
    entry["given"]["sha256"] = "f" * 64
    (other / "cells" / entry["key"]).rename(other / "cells" / "another")
    entry["key"] = "another"
    (other / "run.json").write_text(json.dumps(manifest))
    told = zoo("compare", str(mixed.out), str(other), "--json")
    assert told.code == 0, told.stderr
    lines = json.loads(told.stdout)["models"]
    label = "mean_color@cheat.safetensors"
    assert f"{label} has given weights, trained on 4 images; budget 1steps" in lines
    [anew] = [line for line in lines if "anew" in line]
    assert re.fullmatch(rf"{label} was scored anew: weights [0-9a-f]{{12}} → f{{12}}", anew)


def test_conditions_are_scored_with_the_given_weights(
    zoo: Callable[..., Any], small_folder: Path, cheat: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = zoo(
        *("bench", "--models", f"mean_color@{cheat},grey", "--budget", "none", *QUICKLY),
        *("--dataset", f"folder:{small_folder}", "--conditions", "clean,jpeg75"),
        *("--out", str(out), "--json"),
    )
    assert done.code == 0, done.stderr
    label = "mean_color@cheat.safetensors"
    run = open_run(out)
    keys = {cell.label: cell.under["jpeg75"].key for cell in run.cells}
    specs = {
        name: json.loads((out / "cells" / key / "spec.json").read_text())
        for name, key in keys.items()
    }
    assert specs[label]["weights"] == str(cheat)
    assert specs[label]["weights_sha256"] == file_sha256(cheat)
    # What learns nothing has weights of its own cell.
    assert specs["grey"]["weights"].endswith("weights.safetensors")
    table = pd.read_csv(out / "conditions.csv")
    psnr = table[table["metric"] == "psnr"].set_index(["model", "condition"])["mean"]
    # One colour whatever the input, and lightness is the truth's: the same under all conditions.
    for name in (label, "grey"):
        assert psnr[name, "jpeg75"] == pytest.approx(psnr[name, "clean"], abs=1e-3)
    assert psnr[label, "jpeg75"] > psnr["grey", "jpeg75"] + 0.1


FEW_VAL = """
from dataclasses import replace

from zoo_datasets.evaluation_sets import ImageNetVal


class FewVal(ImageNetVal):
    info = replace(ImageNetVal.info, name="few_val")
    whole = ImageNetVal.splits["val5k"]
    splits = {"val5k": replace(whole, count=4, names=lambda: FewVal.whole.names()[:4])}
"""


def test_a_protocol_that_trains_nothing_runs_and_shows_what_papers_say(
    zoo: Callable[..., Any],
    small_folder: Path,
    cheat: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # val5k, of which four files are the whole split.
    plugin, val, out = tmp_path / "plugin", tmp_path / "val", tmp_path / "out"
    info = plugin / "few_val-1.0.dist-info"
    info.mkdir(parents=True)
    (plugin / "few_val.py").write_text(FEW_VAL)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: few_val\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[zoo.datasets]\nfew_val = few_val:FewVal\n")
    monkeypatch.syspath_prepend(plugin)
    monkeypatch.setenv("PYTHONPATH", str(plugin), prepend=os.pathsep)
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    val.mkdir()
    for number, file in enumerate(sorted((small_folder / "test").glob("*.png")), 1):
        shutil.copy(file, val / f"ILSVRC2012_val_{number:08d}.JPEG")
    text = (FOLDER / "val5k@1.toml").read_text()
    for old, new in (
        ("version = 1\n", "version = 99\n"),
        ("imagenet_val,", "few_val,"),
        ("count = 5000", "count = 4"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    (tmp_path / "few.toml").write_text(text)
    done = zoo(
        *("bench", "--protocol", str(tmp_path / "few.toml"), "--dataset", f"few_val:{val}"),
        *("--models", f"mean_color@{cheat}", "--metrics", "psnr,colourfulness_abs"),
        *("--no-throughput", "--device", "cpu", "--out", str(out)),
    )
    assert done.code == 0, done.stderr
    assert "nothing trained, 4 test images" in done.stdout
    assert "under no common budget" in " ".join(done.stdout.split())
    run = open_run(out)
    assert run.manifest["departures"] == ["without ssim, lpips, delta_cf, fid"]
    assert not run.trains and [cell.ok for cell in run.cells] == [True, True]
    board = pd.read_csv(out / "leaderboard.csv")
    assert set(board["model"]) == {"mean_color@cheat.safetensors", "grey"}  # measured ones alone
    papers = list(published_rows("val5k")["model"])
    report = (out / "report.md").read_text()
    for output in (done.stdout, report.replace("\\", "")):
        measured = [output.index(name) for name in board["model"]]
        below = [output.index(f"{name} (published)") for name in papers]
        assert max(measured) < min(below)
    page = (out / "report.html").read_text()
    table = page[page.index('id="leaderboard"') : page.index("</table>")]
    above, below_line = table.split("<tfoot>")
    assert "@cheat" in above and not any(name in above for name in papers)
    assert below_line.count('<span class="tag">published</span>') == len(papers)


# ---- what cannot be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ("grey@", "'grey@' names no weights; type grey@FILE, or a published name, as"),
        ("@release", "'@release' names no colorizer; type NAME@FILE"),
        ("unet_timm@relese", "unknown published weights of unet_timm 'relese': did you mean"),
        (
            "zhang_rebalanced@eccv16",
            "zhang_rebalanced@eccv16 is not fetched; "
            "type zoo weights fetch zhang_rebalanced@eccv16",
        ),
        (
            "ddcolor@hf:someone/weights",
            "hf:someone/weights is not fetched; type zoo weights fetch hf:someone/weights",
        ),
        ("grey@gone.safetensors", "there are no weights at gone.safetensors; check the path"),
        ("grey@{cheat}", "holds weights of 'mean_color', not of 'grey'; type mean_color@"),
        ("mean_color@{damaged}", "damaged.safetensors is not a readable safetensors file"),
        ("mean_color@{cheat},mean_color@{cheat}", "is asked for twice"),
        ("mean_color@{cheat},mean_color@{copy}", "are the same row; name it once"),
        ("mean_color", "mean_color would have to be trained, and the budget is none; give it"),
        ("unet_timm", "as unet_timm@release, or name a --budget"),
        ("all", "(and "),
        ("all@{cheat}", "'all' takes no weights"),
        ("unet_timm@release,width=2", "options come first: type unet_timm:width=2@release"),
        ("unet_timm:decoder_width=32@release", "were trained with decoder_width=64"),
        ("unet_timm:decoderwidth=64@release", "unknown option of unet_timm 'decoderwidth'"),
        ("info@release", "unknown colorizer 'info'"),
    ],
)
def test_one_line_before_any_work(
    models: str,
    says: str,
    zoo: Callable[..., Any],
    small_folder: Path,
    cheat: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    damaged, copy = tmp_path / "damaged.safetensors", tmp_path / "copy.safetensors"
    damaged.write_bytes(b"no" * 100)
    shutil.copy(cheat, copy)
    done = zoo(
        *("bench", "--models", models.format(cheat=cheat, damaged=damaged, copy=copy)),
        *("--dataset", f"folder:{small_folder}", "--budget", "none", *QUICKLY),
        *("--out", str(tmp_path / "out")),
    )
    assert done.code == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--lr", "find"), "--lr find"),
        (("--crop-scale", "0.5,1"), "--crop-scale"),
        (("--stored-size", "128"), "--stored-size"),
        (("--input-variety",), "--input-variety"),
    ],
)
def test_a_budget_of_none_has_nothing_of_a_training(
    asked: tuple[str, ...], says: str, zoo: Callable[..., Any]
) -> None:
    done = zoo("bench", "--models", "grey", "--budget", "none", *asked)
    assert done.code == 2
    assert f"{says} is of a training, and --budget none has none" in done.stderr
    # What a protocol says of trainings is left aside.
    settings = BenchSettings(models="grey", protocol="tiny@2", budget="none")
    assert not choose_protocol(settings)[1].trains


def test_a_file_that_changes_under_way_is_refused(cheat: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.safetensors"
    shutil.copy(cheat, mine)
    spec = TimingSpec(
        model="mean_color",
        label="m",
        repetition=0,
        dataset="photos",
        size=64,
        device="cpu",
        weights=str(mine),
        weights_sha256=file_sha256(cheat),
    )
    assert load_given(spec, "cpu").is_fitted
    zoo.load("grey", device="cpu").ready().save(mine)
    with pytest.raises(WeightsError, match=r"mine\.safetensors has changed since the start"):
        load_given(spec, "cpu")
    assert load_given(replace(spec, weights=str(cheat)), "cpu").is_fitted


# ---- the same name elsewhere ----------------------------------------------------------------


def test_load_takes_both_in_one_word(cheat: Path, tmp_path: Path) -> None:
    loaded = zoo.load(f"mean_color@{cheat}", device="cpu")
    beside = zoo.load("mean_color", cheat, device="cpu")
    assert loaded.net.state_dict()["ab"].equal(beside.net.state_dict()["ab"])
    assert zoo.load("unet_timm@release", device="cpu").options.decoder_width == 64
    with pytest.raises(
        WeightsError, match=r"weights are named twice, .* and other; name them once"
    ):
        zoo.load(f"mean_color@{cheat}", "other")
    with pytest.raises(WeightsError, match="names no weights; type grey@FILE"):
        zoo.load("grey@")


@pytest.mark.parametrize("command", ["check", "info", "lr-find"])
def test_where_weights_mean_nothing_that_is_said(command: str, zoo: Callable[..., Any]) -> None:
    done = zoo(command, "unet_timm@release")
    assert done.code == 2
    expected = "weights have no place here; type unet_timm instead of unet_timm@release"
    assert expected in done.stderr


def test_what_weights_were_trained_on(cheat: Path, tmp_path: Path) -> None:
    from zoo.registry import colorizer_class
    from zoo.weights.file import open_weights

    stored = open_weights(cheat, colorizer_class("mean_color"))
    assert stored.taught == "4 images; budget 1steps"
    assert stored.record is not None
    named = replace(stored, record=replace(stored.record, data="photos", images_seen=1500))
    assert named.taught == "1,500 images of photos; budget 1steps"
    said = replace(stored, record=None, origin=Origin("MIT", "", "ImageNet"))
    assert said.taught == "ImageNet"
    assert replace(stored, record=None).taught == "not stated"
    with pytest.raises(NotFittedError):
        zoo.load("mean_color", device="cpu").ready()
