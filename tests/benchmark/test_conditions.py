"""Conditions change the input alone, the same for everyone; tables tell what each one costs."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.color import lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor, nn

from zoo import registry
from zoo.colorizer import Colorizer, Info
from zoo.data import degradation
from zoo.data.dataset import ImageSet
from zoo.errors import InputError, UnknownNameError
from zoo.metric import Metric, MetricContext, MetricInfo, Pictures, SetMetric
from zoo_benchmark.conditions import CONDITIONS, condition_names, inputs_under
from zoo_benchmark.protocol import FOLDER, ProtocolError, find_protocol
from zoo_benchmark.results.run_folder import open_run
from zoo_benchmark.run.scoring import open_metrics, score
from zoo_benchmark.settings import BenchSettings, choose_protocol

pytestmark = pytest.mark.filterwarnings("ignore:.*negative Z values")

NAMES = [
    *("clean", "jpeg50", "jpeg75", "jpeg95", "noise2", "noise5"),
    *("grain", "blur", "resampled", "faded", "dusty"),
]


def seen(name: str, images: np.ndarray) -> np.ndarray:
    return CONDITIONS[name].seen(Pictures.from_array(images))[:, 0].double().numpy()


def lightness(images: np.ndarray) -> np.ndarray:
    return rgb2lab(images)[..., 0]


# ---- what they do ---------------------------------------------------------------------------


def test_all_of_them_are_there_and_say_what_they_do() -> None:
    assert list(CONDITIONS) == NAMES
    assert all(each.title and each.version == 1 for each in CONDITIONS.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_is_the_same_for_an_image_whoever_stands_beside_it(
    name: str, tiles: np.ndarray
) -> None:
    together = seen(name, tiles[:3])
    assert together.min() >= 0
    assert together.max() <= 100
    assert np.array_equal(together[[2]], seen(name, tiles[2:3]))
    assert np.array_equal(together[::-1], seen(name, tiles[:3][::-1]))


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_is_what_pillow_writes(quality: int, tiles: np.ndarray) -> None:
    linear = np.where((y := (lightness(tiles[:4]) + 16) / 116) > 6 / 29, y**3, (y - 4 / 29) / 7.787)
    gamma = np.where(
        linear > 0.0031308, 1.055 * linear.clip(0) ** (1 / 2.4) - 0.055, linear * 12.92
    )
    expected = []
    for grey in (gamma.clip(0, 1) * 255).round().astype(np.uint8):
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(stream))
        expected.append(lightness(np.repeat(decoded[..., None], 3, axis=2)))
    found = seen(f"jpeg{quality}", tiles[:4])
    # A grey value rounded the other way, or another libjpeg, moves a few blocks by a level.
    assert np.abs(found - np.stack(expected)).mean() < 0.05


@pytest.mark.parametrize("quality", [50, 75])
def test_jpeg_is_the_training_feed_s_but_for_rounding(quality: int, tiles: np.ndarray) -> None:
    L = torch.from_numpy(lightness(tiles[:4])).float()[:, None].clamp(0, 100)
    expected = degradation.jpeg(L, torch.full((4,), float(quality)))[:, 0].numpy()
    assert np.abs(seen(f"jpeg{quality}", tiles[:4]) - expected).mean() < 0.3


@pytest.mark.parametrize(("name", "sigma"), [("noise2", 2), ("noise5", 5), ("grain", 5)])
def test_noise_has_its_strength(name: str, sigma: float) -> None:
    grey = np.full((4, 96, 96, 3), 119, np.uint8)  # L = 50
    noise = seen(name, grey) - 50.0
    assert noise.std() == pytest.approx(sigma, rel=0.03)
    neighbours = np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]
    # Gaussian grains of σ = 1 correlate with exp(−1/4) at a pixel's distance.
    assert neighbours == pytest.approx(np.exp(-0.25) if name == "grain" else 0, abs=0.05)


def test_images_have_noise_of_their_own(tiles: np.ndarray) -> None:
    noise = seen("noise5", tiles[:2]) - lightness(tiles[:2])
    inside = ((lightness(tiles[:2]) > 20) & (lightness(tiles[:2]) < 80)).all(axis=0)
    assert abs(np.corrcoef(noise[0][inside], noise[1][inside])[0, 1]) < 0.1


def test_blur_is_scipy_s(tiles: np.ndarray) -> None:
    expected = np.stack([gaussian_filter(L, 1, truncate=8) for L in lightness(tiles[:2])])
    assert np.abs(seen("blur", tiles[:2]) - expected)[:, 6:-6, 6:-6].max() < 0.02


def test_resampled_is_pillow_s_way_there_and_back(tiles: np.ndarray) -> None:
    found = seen("resampled", tiles[:2])
    for ours, L in zip(found, lightness(tiles[:2]), strict=True):
        image = Image.fromarray(L.astype(np.float32))
        small = image.resize((32, 32), Image.Resampling.BILINEAR)
        expected = np.asarray(small.resize((64, 64), Image.Resampling.BILINEAR))
        assert np.abs(ours - expected)[4:-4, 4:-4].max() < 0.05


def test_faded_is_a_line(tiles: np.ndarray) -> None:
    assert np.abs(seen("faded", tiles[:2]) - (20 + 0.6 * lightness(tiles[:2]))).max() < 0.02


def test_dust_covers_a_little_with_white_and_black() -> None:
    grey = np.full((1, 128, 128, 3), 119, np.uint8)
    grey = np.concatenate([grey + shade for shade in range(8)]).astype(np.uint8)
    moved = seen("dusty", grey) - lightness(grey)
    share = (np.abs(moved) > 5).mean(axis=(1, 2))
    assert (share > 0.002).all()
    assert (share < 0.12).all()
    assert moved.max() > 30
    assert moved.min() < -30


def test_inputs_are_grey_pictures_by_condition(tiles: np.ndarray) -> None:
    found = inputs_under(["clean", "faded"], ImageSet(tiles[:3], ["a", "b", "c"]), 2)
    assert found.ids == ["clean/a", "clean/b", "faded/a", "faded/b"]
    back = lightness(np.asarray(found.images[:2]))
    assert np.abs(back - lightness(tiles[:2])).max() < 0.5


# ---- how they are scored --------------------------------------------------------------------


class _Sees(Colorizer):
    """Chroma that follows the lightness."""

    info = Info(name="sees", title="", paper="none", license="MIT")

    def build(self) -> nn.Module:
        return nn.Identity()

    def train(self, feed: Any) -> None:
        pass

    def forward(self, L: Tensor) -> Tensor:
        return torch.cat([L / 4, L / 8], dim=1)


class _Paints(_Sees):
    """Paints RGB of another lightness than its input's."""

    info = dataclasses.replace(_Sees.info, name="paints", output="rgb")

    def forward(self, L: Tensor) -> Tensor:
        return (L / 100 * torch.tensor([0.9, 0.5, 0.4]).view(1, 3, 1, 1)).clamp(0, 1)


class _Count(SetMetric):
    info: ClassVar[MetricInfo] = MetricInfo(
        name="count", title="Count", unit="", direction="higher", version=1, per="set"
    )

    def update(self, state: Any, predicted: Pictures, truth: Pictures) -> Any:
        return (state or 0) + len(predicted)

    def compute(self, state: Any) -> float:
        return float(state)


def scores_of(colorizer: Colorizer, images: ImageSet, condition: str | None) -> Any:
    colorizer.fit(np.asarray(images.images), budget="1steps")
    context = MetricContext(torch.device("cpu"), np.asarray(images.images))
    metrics, _ = open_metrics(["psnr"], context, images.size)
    under = None if condition is None else CONDITIONS[condition]
    return score(colorizer, images, [*metrics, _Count(context)], under)


@pytest.fixture
def four(tiles: np.ndarray) -> ImageSet:
    return ImageSet(tiles[:4], list("abcd"))


@pytest.mark.parametrize("condition", ["jpeg50", "noise5", "faded"])
def test_chroma_of_the_changed_input_joins_the_clean_lightness(
    condition: str, four: ImageSet
) -> None:
    found = scores_of(_Sees(device="cpu"), four, condition)
    values = found.images.set_index("image")["value"]
    changed = seen(condition, np.asarray(four.images))
    for name, truth, L in zip(four.ids, np.asarray(four.images), changed, strict=True):
        lab = np.dstack([lightness(truth), L / 4, L / 8])
        picture = np.round(lab2rgb(lab) * 255).clip(0, 255).astype(np.uint8)
        assert values[name] == pytest.approx(peak_signal_noise_ratio(truth, picture), abs=5e-3)
    assert found.sets == {"count": 4.0}


def test_the_clean_condition_is_what_was_scored_before(four: ImageSet) -> None:
    before, clean = (scores_of(_Sees(device="cpu"), four, c).images for c in (None, "clean"))
    assert np.abs(before["value"] - clean["value"]).max() < 1e-4


def test_painted_pictures_get_the_truth_s_lightness(four: ImageSet) -> None:
    painter = _Paints(device="cpu")
    before = scores_of(painter, four, None).images
    clean = scores_of(painter, four, "clean").images
    assert list(clean["metric"].unique()) == ["psnr"]
    copied = before[before["metric"] == "psnr_l_copied"]["value"].to_numpy()
    assert np.abs(copied - clean["value"].to_numpy()).max() < 1e-3
    painted = before[before["metric"] == "psnr"]["value"].to_numpy()
    assert np.abs(painted - copied).min() > 0.1


# ---- what can be asked for ------------------------------------------------------------------


def test_names_of_a_list() -> None:
    assert condition_names("all") == NAMES
    assert condition_names("noise2, jpeg75") == ["clean", "jpeg75", "noise2"]
    with pytest.raises(UnknownNameError, match=r"'jpg75'.*jpeg75"):
        condition_names("clean,jpg75")


def test_protocols_keep_their_content_and_may_fix_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    quick = find_protocol("quick@1")
    assert "conditions" not in quick.to_dict()
    text = (FOLDER / "tiny@1.toml").read_text().replace('name = "tiny"', 'name = "mine"')
    file = tmp_path / "mine.toml"
    file.write_text(f"{text}\n[conditions]\njpeg75 = 1\n")
    asked = BenchSettings("all", protocol=str(file), dataset=f"folder:{tmp_path}")
    named, in_force = choose_protocol(asked)
    assert in_force.conditions == {"clean": 1, "jpeg75": 1}
    assert named.departures(in_force) == []
    _, without = choose_protocol(dataclasses.replace(asked, conditions="clean"))
    assert without.conditions == {}
    assert named.departures(without) == ["without jpeg75"]
    file.write_text(f"{text}\n[conditions]\njpeg75 = 2\n".replace("version = 1", "version = 7"))
    with pytest.raises(ProtocolError, match="wants version 2 of the condition 'jpeg75'"):
        choose_protocol(asked)
    file.write_text(f"{text}\n[conditions]\njpg75 = 1\n".replace("version = 1", "version = 8"))
    with pytest.raises(UnknownNameError, match="jpeg75"):
        choose_protocol(asked)


def test_a_metric_that_takes_no_conditions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class CleanOnly(Metric):
        info = dataclasses.replace(registry.metric_class("psnr").info, conditions=False)

        def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
            raise NotImplementedError

    usual = registry.metric_class
    monkeypatch.setattr(
        registry, "metric_class", lambda name: CleanOnly if name == "psnr" else usual(name)
    )
    asked = BenchSettings("all", metrics="psnr,ssim", conditions="blur")
    with pytest.raises(InputError, match=r"'psnr' cannot be measured.*--metrics ssim"):
        choose_protocol(asked)
    choose_protocol(dataclasses.replace(asked, conditions="clean"))


def test_the_command_lists_and_writes(zoo: Any, tiles: np.ndarray, tmp_path: Path) -> None:
    listed = json.loads(zoo("conditions", "--json").stdout)
    assert [each["name"] for each in listed] == NAMES
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, tile in enumerate(tiles[:2]):
        Image.fromarray(tile).save(photos / f"{number}.png")
    out = tmp_path / "inputs"
    arguments = ("conditions", str(photos), "-o", str(out), "--conditions", "faded")
    done = zoo(*arguments)
    assert done.code == 0, done.stderr
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png")) == [
        *("clean/0.png", "clean/1.png", "faded/0.png", "faded/1.png")
    ]
    grey = np.asarray(Image.open(out / "faded" / "1.png"))
    expected = 20 + 0.6 * lightness(tiles[1])
    assert np.abs(lightness(np.repeat(grey[..., None], 3, axis=2)) - expected).max() < 0.5
    assert "is there already" in zoo(*arguments).stderr
    for wrong, told in (
        (("conditions", "--conditions", "jpg75"), "did you mean"),
        (("conditions", "-o", str(out)), "needs photographs"),
        (("conditions", str(photos)), "give a new folder"),
        (("bench", "--conditions", "jpg75"), "did you mean"),
        (("score", "--pred", str(out), "--truth", str(photos), "--conditions", "blur"), "'blur'"),
    ):
        done = zoo(*wrong)
        assert done.code == 2
        assert len(done.stderr.splitlines()) == 1
        assert told in done.stderr.lower()


def test_strangers_pictures_are_scored_by_colour_alone(
    zoo: Any, tiles: np.ndarray, tmp_path: Path
) -> None:
    truth, pred, out = (tmp_path / name for name in ("truth", "pred", "out"))
    faded = lab2rgb(np.dstack([20 + 0.6 * lightness(tiles[0]), 0.3 * rgb2lab(tiles[0])[..., 1:]]))
    for folder, picture in (
        (truth, tiles[0]),
        (pred / "clean", tiles[0]),
        (pred / "faded", (faded * 255).round().astype(np.uint8)),
    ):
        folder.mkdir(parents=True)
        Image.fromarray(picture).save(folder / "a.png")
    done = zoo(
        *("score", "--pred", str(pred), "--truth", str(truth), "--conditions", "faded"),
        *("--metrics", "psnr", "--out", str(out)),
    )
    assert done.code == 0, done.stderr
    values = pd.read_csv(out / "scores.csv").set_index("condition")["value"]
    lab = rgb2lab(tiles[0]) * np.array([1, 0.3, 0.3])
    picture = (lab2rgb(lab) * 255).round().astype(np.uint8)
    expected = peak_signal_noise_ratio(tiles[0], picture)
    assert values["faded"] == pytest.approx(expected, abs=0.05)
    assert values["clean"] > 45  # its own truth, but for rounding by way of Lab


# ---- a whole run ----------------------------------------------------------------------------


@pytest.mark.long
def test_a_finished_run_is_scored_under_conditions_without_training(
    run_zoo: Any, painter: str, small_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"

    def bench(*more: str) -> Any:
        done = run_zoo(
            *("bench", "--models", f"unet_timm,{painter}", "--dataset", f"folder:{small_folder}"),
            *("--budget", "2steps", "--metrics", "psnr,colourfulness", "--device", "cpu"),
            *("--no-throughput", "--out", str(out), *more),
        )
        assert done.returncode == 0, done.stderr
        return done

    bench()
    stamps = {c.label: (c.folder / "result.json").stat().st_mtime_ns for c in open_run(out).cells}
    plain = pd.read_csv(out / "leaderboard.csv").set_index("model")
    assert not (out / "conditions.csv").exists()
    assert "psnr_worst" not in plain

    done = bench("--conditions", "jpeg50,faded")
    run = open_run(out)
    assert stamps == {c.label: (c.folder / "result.json").stat().st_mtime_ns for c in run.cells}
    table = pd.read_csv(out / "conditions.csv")
    assert set(table["condition"]) == {"clean", "jpeg50", "faded"}
    board = pd.read_csv(out / "leaderboard.csv").set_index("model")
    pd.testing.assert_frame_equal(board[plain.columns], plain)
    psnr = table[table["metric"] == "psnr"].set_index(["model", "condition"])
    for model in board.index:
        values = psnr["mean"].loc[model]
        assert board.loc[model, "psnr_worst"] == pytest.approx(values.min())
        assert board.loc[model, "psnr_worst_condition"] == values.idxmin()
        assert np.allclose(psnr["loss"].loc[model], values["clean"] - values)
    assert psnr["mean"].loc[("unet_timm", "clean")] == plain.loc["unet_timm", "psnr"]
    copied = plain.loc[painter, "psnr_l_copied"]
    assert psnr["mean"].loc[(painter, "clean")] == pytest.approx(copied, abs=1e-3)
    grey = psnr["mean"].loc["grey"]
    assert np.allclose(grey, grey["clean"], atol=1e-3)  # it does not look at its input
    assert "jpeg50" in done.stdout
    assert "## Conditions" in (out / "report.md").read_text()
    assert 'id="condition-plot"' in (out / "report.html").read_text()

    pictures, truth = tmp_path / "pictures", tmp_path / "test"
    assert run_zoo("export-test", str(out), "-o", str(truth)).returncode == 0
    written = run_zoo(
        *("conditions", str(truth / "truth"), "-o", str(pictures)),
        *("--conditions", "jpeg50,faded"),
    )
    assert written.returncode == 0, written.stderr
    added = run_zoo(
        *("score", "--pred", str(pictures), "--add-to", str(out), "--name", "nobody"),
        *("--conditions", "jpeg50,faded"),
    )
    assert added.returncode == 0, added.stderr
    table = pd.read_csv(out / "conditions.csv")
    psnr = table[table["metric"] == "psnr"].set_index(["model", "condition"])["mean"]
    # Nobody has coloured anything: as good as grey, whatever was done to the lightness.
    assert np.allclose(psnr.loc["nobody"], psnr.loc["grey"], atol=0.02)
    refused = run_zoo(
        *("score", "--pred", str(pictures), "--add-to", str(out), "--name", "else"),
        *("--conditions", "blur"),
    )
    assert refused.returncode == 2
    assert "has no folder 'blur'" in refused.stderr
