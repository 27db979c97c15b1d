"""Pictures of any program: the same numbers as the bench's, and every mismatch named."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

import zoo
from zoo.color.lab import lab_to_rgb, rgb_to_lab
from zoo.data.dataset import ImageSet
from zoo.errors import DataError, InputError, OutputError, PluginError
from zoo.metric import MetricContext, Pictures
from zoo_benchmark.metrics.weights_files import MetricFiles
from zoo_benchmark.results import external
from zoo_benchmark.results.cell_folder import read_scores
from zoo_benchmark.results.external import (
    add_to_run,
    export_test,
    pictures_in,
    score_folder,
    truth_of,
)
from zoo_benchmark.results.leaderboard import comparable_sets
from zoo_benchmark.results.run_folder import External, open_run
from zoo_benchmark.run import scoring

CPU = torch.device("cpu")
NO_FILES = MetricFiles()
METRICS = ["psnr", "ssim", "ciede2000", "colourfulness", "auc", "auc_rebalanced"]
SHARED = Path(__file__).parents[3].parent / "shared" / "weights" / "alexnet_features.safetensors"
BACKBONE = Path(os.environ.get("ZOO_LPIPS_WEIGHTS") or SHARED)
needs_backbone = pytest.mark.skipif(
    not BACKBONE.exists(), reason="AlexNet's weights are not here: set ZOO_LPIPS_WEIGHTS"
)


def _write(folder: Path, pictures: dict[str, np.ndarray]) -> Path:
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / name)
    return folder


@pytest.mark.parametrize("chosen", [METRICS, pytest.param(["lpips"], marks=needs_backbone)])
@pytest.mark.parametrize("model", ["painter", "floor"])
def test_the_same_numbers_as_the_bench(
    model: str,
    chosen: list[str],
    painter: str,
    floors: list[str],
    tiles: np.ndarray,
    tmp_path: Path,
) -> None:
    name = painter if model == "painter" else floors[0]
    colorizer = zoo.load(name, device="cpu").fit(tiles, budget="2steps", size=64)
    test = ImageSet(tiles[:7], [f"n{i}/x.y{i}" for i in range(7)])
    weights = MetricFiles({"lpips": {"alexnet": BACKBONE}} if "lpips" in chosen else {})
    metrics, _ = scoring.open_metrics(chosen, MetricContext(CPU, test.images), 64, weights)
    expected = scoring.score(colorizer, test, metrics).images
    L = rgb_to_lab(Pictures.from_array(test.images).rgb)[0]
    painted = scoring.paint(colorizer, L).rgb8.permute(0, 2, 3, 1).numpy()
    files = {f"{i}.png": picture for i, picture in zip(test.ids, painted, strict=True)}
    truth = {f"{i}.png": picture for i, picture in zip(test.ids, test.images, strict=True)}
    pred = _write(tmp_path / "pred", files)
    originals = {**pictures_in(_write(tmp_path / "truth", truth))}
    found = score_folder(pred, originals, chosen, weights, CPU)
    assert found.count == 7
    ours, theirs = (
        table.set_index(["image", "metric"])["value"].sort_index()
        for table in (found.scores, expected)
    )
    shared = ours.index.intersection(theirs.index)
    assert len(shared) == len(theirs)
    np.testing.assert_allclose(ours[shared], theirs[shared], atol=1e-6)
    copied = {f"{name}_l_copied" for name in chosen} & set(found.scores["metric"])
    assert bool(copied) is colorizer.paints_rgb


def test_names_that_are_spelt_otherwise_are_the_same(tiles: np.ndarray, tmp_path: Path) -> None:
    composed = [unicodedata.normalize("NFC", name) for name in ("Müller", "Ångström")]
    apart = [unicodedata.normalize("NFD", name) for name in composed]
    truth = _write(tmp_path / "truth", {f"{n}.png": tiles[i] for i, n in enumerate(composed)})
    pred = _write(tmp_path / "pred", {f"{n}.png": tiles[i + 2] for i, n in enumerate(apart)})
    found = score_folder(pred, {**pictures_in(truth)}, ["psnr"], NO_FILES, CPU)
    assert set(found.scores["image"]) == set(composed)
    # Where both spellings are there, each is its own picture.
    _write(truth, {f"{apart[0]}.png": tiles[4]})
    _write(pred, {f"{composed[0]}.png": tiles[5]})
    assert score_folder(pred, {**pictures_in(truth)}, ["psnr"], NO_FILES, CPU).count == 3
    with pytest.raises(InputError, match="without truth"):
        score_folder(pred, {composed[0]: tiles[0]}, ["psnr"], NO_FILES, CPU)


def test_any_name_of_a_file_is_scored_and_tabled(tiles: np.ndarray, tmp_path: Path) -> None:
    names = ["NA", "007", "a,b", "a\nb", "[x]", "-o", "50%", "$x_$", "Gro\udcdfmutter"]
    pictures = {f"{name}.png": tiles[i] for i, name in enumerate(names)}
    pred = _write(tmp_path / "pred", {name: t[::-1].copy() for name, t in pictures.items()})
    truth = _write(tmp_path / "truth", pictures)
    found = score_folder(pred, {**pictures_in(truth)}, ["psnr"], NO_FILES, CPU)
    shown = {*names[:-1], r"Gro\xdfmutter"}
    assert set(found.scores["image"]) == shown
    (tmp_path / "external").mkdir()
    found.scores.to_csv(tmp_path / "external" / "scores.csv", index=False)
    table = read_scores(tmp_path / "external" / "scores.csv")
    row = External("them", tmp_path / "external", {}, table)
    assert set(row.scores()["image"]) == shown


def test_what_is_passed_over_is_a_note(tiles: np.ndarray, tmp_path: Path) -> None:
    truth = _write(tmp_path / "truth", {"a.png": tiles[0]})
    pred = _write(tmp_path / "pred", {"a.png": tiles[1]})
    (pred / "notes.txt").write_text("made on Monday")
    found = score_folder(pred, {**pictures_in(truth)}, ["psnr"], NO_FILES, CPU)
    assert found.notes[-1] == (
        f"passed over: 1 file of a kind that is not read ({pred / 'notes.txt'})."
    )


def test_a_full_folder_for_temporary_files_is_named(
    tiles: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = _write(tmp_path / "truth", {"a.png": tiles[0]})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo_benchmark.results.external._decode", full)
    with pytest.raises(OutputError, match=r": No space left on device; .* export TMPDIR="):
        score_folder(truth, {**pictures_in(truth)}, ["psnr"], NO_FILES, CPU)


def test_pictures_of_many_sizes_and_kinds(tiles: np.ndarray, tmp_path: Path) -> None:
    pictures = {
        "a.png": tiles[0],
        "deep/b.c.jpg": tiles[1][:, :40].copy(),
        "ü ö.webp": np.repeat(tiles[2], 2, axis=0),
    }
    truth = _write(tmp_path / "truth", pictures)
    grey = {
        f"{name}.png": np.repeat(p.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
        for name, p in (("a", tiles[0]), ("deep/b.c", pictures["deep/b.c.jpg"]))
    }
    grey["ü ö.png"] = pictures["ü ö.webp"] // 2
    pred = _write(tmp_path / "pred", grey)
    found = score_folder(pred, {**pictures_in(truth)}, METRICS, NO_FILES, CPU)
    assert np.isfinite(found.scores["value"]).all()
    psnr = found.scores[found.scores["metric"] == "psnr"].set_index("image")["value"]
    assert set(psnr.index) == {"a", "deep/b.c", "ü ö"}
    for file in pictures_in(truth).values():
        name = file.relative_to(truth).with_suffix("")
        original, grey_one = (
            np.asarray(Image.open(each).convert("RGB"))
            for each in (file, (pred / name).with_name(f"{name.name}.png"))
        )
        expected = peak_signal_noise_ratio(original, grey_one)
        assert psnr[name.as_posix()] == pytest.approx(expected, abs=1e-4)


def test_rare_colours_weigh_the_same_whatever_the_sizes(tiles: np.ndarray, tmp_path: Path) -> None:
    alike = {"a.png": tiles[0], "b.png": tiles[30]}
    # The same pixels in another order: no matter to a metric of single pixels.
    unlike = {"a.png": tiles[0], "b.png": tiles[30].reshape(32, 128, 3)}
    values = []
    for number, pictures in enumerate((alike, unlike)):
        pred = {name: picture // 2 + 40 for name, picture in pictures.items()}
        found = score_folder(
            _write(tmp_path / f"pred{number}", pred),
            {**pictures_in(_write(tmp_path / f"truth{number}", pictures))},
            ["auc_rebalanced"],
            None,
            CPU,
        )
        values.append(found.scores.set_index("image")["value"])
    assert values[0]["a"] != values[0]["b"]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-6)


def test_every_mismatch_is_named(tiles: np.ndarray, tmp_path: Path) -> None:
    truth = {**pictures_in(_write(tmp_path / "truth", {f"{i}.png": tiles[i] for i in range(8)}))}

    def score(files: dict[str, np.ndarray]) -> Any:
        shutil.rmtree(tmp_path / "pred", ignore_errors=True)
        return score_folder(_write(tmp_path / "pred", files), truth, ["psnr"], NO_FILES, CPU)

    good = {f"{i}.png": tiles[i] for i in range(8)}
    with pytest.raises(InputError, match=r"missing: 3, 5; without truth: extra"):
        score({**{k: v for k, v in good.items() if k[0] not in "35"}, "extra.png": tiles[0]})
    with pytest.raises(InputError, match=r"missing: 1, 2, 3, 4, 5 and 2 more"):
        score({"0.png": tiles[0]})
    with pytest.raises(InputError, match=r"4 \(32×64, truth 64×64\)"):
        score({**good, "4.png": tiles[4][:, :32].copy()})
    with pytest.raises(InputError, match=r"0\.(jpg|png) and .*0\.(jpg|png) have the same name"):
        score({**good, "0.jpg": tiles[0]})
    score(good)
    (tmp_path / "pred" / "6.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"6\.png"):
        score_folder(tmp_path / "pred", truth, ["psnr"], NO_FILES, CPU)
    with pytest.raises(InputError, match="is not a folder"):
        pictures_in(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image in"):
        pictures_in(tmp_path / "empty")


def test_what_looks_wrong_is_said(tiles: np.ndarray, tmp_path: Path) -> None:
    grey = np.repeat(tiles[2].mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
    folder = _write(tmp_path / "truth", {"a.png": tiles[0], "b.png": tiles[1], "c.png": grey})
    truth = {**pictures_in(folder)}
    found = score_folder(folder, truth, ["psnr"], NO_FILES, CPU)
    assert (found.count, found.grey) == (2, ["c"])
    assert any("already grey" in note for note in found.notes)
    assert any("its own truth" in note for note in found.notes)
    greyed = {
        f"{n}.png": np.repeat(p[..., :1], 3, axis=2) for n, p in zip("abc", tiles[:3], strict=True)
    }
    found = score_folder(_write(tmp_path / "grey", greyed), truth, ["psnr"], NO_FILES, CPU)
    assert any("was it coloured?" in note for note in found.notes)
    with pytest.raises(InputError, match="already grey"):
        score_folder(folder, {"c": grey, "a": grey, "b": grey}, ["psnr"], NO_FILES, CPU)


def test_a_missing_backbone_is_a_note_unless_nothing_is_left(
    tiles: np.ndarray, tmp_path: Path
) -> None:
    folder = _write(tmp_path / "truth", {"a.png": tiles[0]})
    truth = {**pictures_in(folder)}
    found = score_folder(folder, truth, ["psnr", "lpips"], NO_FILES, CPU)
    assert (set(found.scores["metric"]), set(found.metrics)) == ({"psnr"}, {"psnr"})
    assert any(note.startswith("lpips was not scored") for note in found.notes)
    with pytest.raises(PluginError, match="lpips was not scored"):
        score_folder(folder, truth, ["lpips"], NO_FILES, CPU)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for its memory")
def test_memory_does_not_grow_with_the_number_of_pictures() -> None:
    def megabytes() -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) / 1024

    photo, random = data.astronaut(), np.random.default_rng(0)
    measured = []

    def pictures() -> Iterator[scoring.Painted]:
        for number in range(160):
            measured.append(megabytes())
            side = np.ascontiguousarray(photo[:, : int(random.integers(300, 512))])
            truth = Pictures.from_array(np.concatenate((side, side))[None])
            L, ab = rgb_to_lab(truth.rgb)
            painted = Pictures.from_unit_rgb(lab_to_rgb(L, ab / 2))
            yield scoring.Painted([str(number)], painted, None, truth)

    metrics, _ = scoring.open_metrics(["psnr"], MetricContext(CPU, photo[None]), 300)
    scores = scoring.score_pictures(pictures(), metrics).images
    assert len(scores) == 160
    # One of the pictures takes some 12 MB as float32, and a few of those are alive at a time.
    assert max(measured[40:]) - max(measured[:40]) < 100


@pytest.fixture
def run_copy(finished: Any, tmp_path: Path) -> Path:
    shutil.copytree(finished.out, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.long
def test_a_row_of_another_program(
    run_copy: Path, run_zoo: Any, floors: list[str], tmp_path: Path
) -> None:
    run = open_run(run_copy)
    assert export_test(run, tmp_path / "pictures") == len(truth_of(run))
    with pytest.raises(InputError, match="is there already"):
        export_test(run, tmp_path / "pictures")
    greys = pictures_in(tmp_path / "pictures" / "grey")
    assert greys.keys() == pictures_in(tmp_path / "pictures" / "truth").keys()
    coloured = tmp_path / "coloured"
    for name, file in greys.items():
        with Image.open(file) as image:
            assert image.mode == "L"
            rgb = np.asarray(image.convert("RGB")) * np.array([1, 0.9, 0.8])
        _write(coloured, {f"{name}.png": rgb.round().astype(np.uint8)})
    arguments = ("score", "--pred", str(coloured), "--add-to", str(run_copy), "--json")
    done = run_zoo(*arguments, "--name", "sepia/<b>")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    board = pd.read_csv(run_copy / "leaderboard.csv").set_index("model")
    row = board.loc["sepia/<b>"]
    assert row["psnr"] == pytest.approx(printed["metrics"]["psnr"])
    assert (row["status"], row["stop_reason"]) == ("ok", "external")
    assert "&lt;b&gt;" in (run_copy / "report.html").read_text()
    assert open_run(run_copy).externals[0].predictions() is not None
    assert not list(run_copy.rglob("*.partial*"))
    again = run_zoo(*arguments, "--name", "sepia/<b>")
    assert again.returncode == 2
    assert "has a row 'sepia/<b>' already" in again.stderr
    assert run_zoo(*arguments, "--name", "sepia/<b>", "--overwrite").returncode == 0
    assert run_zoo(*arguments, "--name", floors[0], "--overwrite").returncode == 2


def test_other_test_images_are_refused(run_copy: Path, tmp_path: Path) -> None:
    manifest = json.loads((run_copy / "run.json").read_text())
    manifest["data"]["splits"]["test"]["manifest"] = "0" * 64
    (run_copy / "run.json").write_text(json.dumps(manifest))
    run = open_run(run_copy)
    for act in (
        lambda: export_test(run, tmp_path / "pictures"),
        lambda: add_to_run(run, "x", tmp_path, NO_FILES, CPU, replace=False),
    ):
        with pytest.raises(DataError, match="are not those that"):
            act()
    assert not (tmp_path / "pictures").exists()


@pytest.fixture
def sepia(run_copy: Path, tmp_path: Path) -> Path:
    """The test images of the run, toned."""
    test = truth_of(open_run(run_copy))
    toned = (test.images.mean(3, keepdims=True) * [1, 0.9, 0.8]).round().astype(np.uint8)
    return _write(
        tmp_path / "sepia", {f"{i}.png": each for i, each in zip(test.ids, toned, strict=True)}
    )


def test_a_row_is_there_whole_or_not_at_all(
    run_copy: Path, sepia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(name: str, *, replace: bool = False) -> None:
        add_to_run(open_run(run_copy), name, sepia, NO_FILES, CPU, replace=replace)

    add("a/b")
    add("a b")
    rows = open_run(run_copy).externals
    assert {row.name for row in rows} == {"a/b", "a b"}
    kept, truth = rows[0].predictions(), open_run(run_copy).truth
    assert kept is not None
    assert truth is not None
    assert list(kept.ids) == list(truth.ids)
    for i, picture in zip(kept.ids, kept.images, strict=True):
        np.testing.assert_array_equal(picture, np.asarray(Image.open(sepia / f"{i}.png")))
    facts = [row.facts["time"] for row in rows]
    before = sorted(run_copy.rglob("*"))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(external, "write_pictures", full)
    for name, replace in (("new", False), ("a b", True)):
        with pytest.raises(OSError, match="No space"):
            add(name, replace=replace)
    assert sorted(run_copy.rglob("*")) == before
    assert [row.facts["time"] for row in open_run(run_copy).externals] == facts


def test_a_row_under_conditions_is_of_the_same_images_as_the_run_s(
    run_copy: Path, tiles: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a protocol keeps what is grey already, the row does, too."""
    originals = tiles[:3]
    originals[0] = originals[0].mean(2, keepdims=True).astype(np.uint8)
    test = ImageSet(originals, ["grey", "b", "c"])
    manifest = json.loads((run_copy / "run.json").read_text())
    manifest["metrics"] = {"psnr": 1, "delta_cf": 1}
    manifest["conditions"] = {"clean": 1, "faded": 1}
    manifest["protocol"]["grey_chroma"] = -1.0
    manifest["data"]["splits"]["test"]["count"] = len(test)
    (run_copy / "run.json").write_text(json.dumps(manifest))
    (run_copy / "truth.npz").unlink()
    monkeypatch.setattr(external, "truth_of", lambda _: test)
    for number, condition in enumerate(("clean", "faded")):
        painted = {f"{i}.png": originals[n] // (2 + number) for n, i in enumerate(test.ids)}
        _write(tmp_path / "painted" / condition, painted)
    _, scored = add_to_run(
        open_run(run_copy),
        "them",
        tmp_path / "painted",
        NO_FILES,
        CPU,
        replace=False,
        conditions=["clean", "faded"],
    )
    (row,) = open_run(run_copy).externals
    for each in (row, *row.under.values()):
        assert each.images_scored == len(test)
        assert set(each.scores()["image"]) == set(test.ids)
    run = open_run(run_copy)
    faded = row.under["faded"]
    assert faded.set_scores == scored["faded"].sets
    assert faded.set_halves == scored["faded"].halves
    assert comparable_sets(faded, run) == faded.set_scores
    assert "delta_cf" in faded.set_scores
    run.manifest["data"]["splits"]["test"]["count"] += 1
    assert comparable_sets(faded, run) == {}


@pytest.mark.parametrize("name", ["", " ", ".", "..", ".hidden", "two\nlines"])
def test_names_that_would_lead_out_of_the_run(name: str, run_copy: Path, sepia: Path) -> None:
    before = sorted(run_copy.rglob("*"))
    for replace in (False, True):
        with pytest.raises(InputError, match="cannot name a row"):
            add_to_run(open_run(run_copy), name, sepia, NO_FILES, CPU, replace=replace)
    assert sorted(run_copy.rglob("*")) == before


def test_other_versions_of_a_metric_are_refused(run_copy: Path, sepia: Path) -> None:
    manifest = json.loads((run_copy / "run.json").read_text())
    manifest["metrics"]["psnr"] += 1
    (run_copy / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="version 2 of the metric 'psnr', this zoo has 1"):
        add_to_run(open_run(run_copy), "x", sepia, NO_FILES, CPU, replace=False)
    assert not open_run(run_copy).externals


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "../truth/evil"])
def test_image_names_cannot_lead_out_of_the_exported_folder(
    name: str, tiles: np.ndarray, finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "truth_of", lambda _: ImageSet(tiles[:2], ["good", name]))
    with pytest.raises(DataError, match=r"evil' leads out of"):
        export_test(finished.run, tmp_path / "deep" / "out")
    assert not list(tmp_path.iterdir())
