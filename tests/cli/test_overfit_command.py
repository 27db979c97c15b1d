"""`zoo overfit`: a table and a picture, or one line that says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import color, data

from zoo.images.open import square_tile

QUICKLY = ("--budget", "2steps", "--size", "32", "--device", "cpu", "--precision", "fp32")


@pytest.fixture
def cup(tmp_path: Path) -> str:
    path = tmp_path / "cup.jpg"
    Image.fromarray(data.coffee()).save(path, quality=95)
    return str(path)


def test_a_row_for_each_initialization_and_one_picture(zoo: Any, cup: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "fit.png"
    answer = zoo("overfit", "zhang_rebalanced", cup, "--init", "both", *QUICKLY, "-o", str(out))
    assert answer.code == 0, answer.stderr
    assert answer.stderr == ""
    names = [line.split()[0] for line in answer.stdout.splitlines() if "→" in line]
    assert names[-2:] == ["default", "xavier"]
    assert "of the pixels lie within 3 px of an object edge" in answer.stdout
    assert str(out) in answer.stdout
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        tall = picture.size
    one = zoo("overfit", "zhang_rebalanced", cup, "--init", "xavier", *QUICKLY)
    assert one.code == 0, one.stderr
    with Image.open("overfit-zhang_rebalanced.png") as picture:
        assert picture.width == pytest.approx(tall[0], abs=2)
        assert picture.height < tall[1] - 250


def test_json_for_programs(zoo: Any, cup: str) -> None:
    answer = zoo("overfit", "zhang_classifier", cup, "--init", "both", *QUICKLY, "--json")
    facts = json.loads(answer.stdout)
    assert Path(facts["plot"]).is_file()
    assert [fit["initialization"] for fit in facts["fits"]] == ["default", "xavier"]
    for fit in facts["fits"]:
        assert fit["steps"] == 2
        assert len(fit["losses"]) == 2
        assert fit["ratio"] == pytest.approx(fit["edges"] / fit["elsewhere"])
        mean = fit["share"] * fit["edges"] + (1 - fit["share"]) * fit["elsewhere"]
        assert fit["whole"] == pytest.approx(mean)
    # Both start from other weights.
    assert facts["fits"][0]["losses"][0] != facts["fits"][1]["losses"][0]
    tile = square_tile(np.asarray(Image.open(cup)), 32)
    chroma = np.hypot(*np.moveaxis(color.rgb2lab(tile)[..., 1:], -1, 0))
    assert facts["grey"]["whole"] == pytest.approx(chroma.mean(), abs=0.01)


def test_options_reach_the_model(zoo: Any, cup: str) -> None:
    quick = (*QUICKLY, "--json", "--overwrite")
    losses = set()
    for more in ((), ("--set", "learning_rate=1e-6"), ("--seed", "1"), ("--preset", "paper")):
        answer = zoo("overfit", "fc_generator", cup, *quick, *more)
        assert answer.code == 0, answer.stderr
        losses.add(tuple(json.loads(answer.stdout)["fits"][0]["losses"]))
    assert len(losses) == 4


def test_a_floor_and_an_image_without_edges_are_said(zoo: Any, tmp_path: Path) -> None:
    flat = tmp_path / "flat.png"
    Image.fromarray(np.full((40, 40, 3), (200, 60, 60), np.uint8)).save(flat)
    answer = zoo("overfit", "mean_color", str(flat), *QUICKLY)
    assert answer.code == 0, answer.stderr
    assert "no steps" in answer.stdout
    assert "the image has no object edges" in answer.stdout
    assert "nan" not in answer.stdout.lower()
    facts = json.loads(
        zoo("overfit", "mean_color", str(flat), *QUICKLY, "--json", "-o", "b.png").stdout
    )
    [fit] = facts["fits"]
    assert (fit["losses"], fit["edges"], fit["ratio"], fit["share"]) == (None, None, None, 0)
    assert fit["whole"] == pytest.approx(0, abs=0.01)


def test_what_cannot_be_fitted_is_one_line(zoo: Any, cup: str, tmp_path: Path) -> None:
    grey, text, taken = tmp_path / "grey.png", tmp_path / "text.png", tmp_path / "taken.png"
    Image.fromarray(data.camera()).save(grey)
    text.write_text("no image")
    Image.fromarray(data.coffee()).save(taken)
    before = taken.read_bytes()
    model = "zhang_classifier"
    for arguments, part in (
        (("zhang_clasifier", cup), "did you mean 'zhang_classifier'"),
        ((model, str(grey)), "no colour to learn"),
        ((model, str(text)), "not an image"),
        ((model, str(tmp_path / "none.jpg")), "none.jpg"),
        ((model, str(tmp_path)), str(tmp_path)),
        ((model, cup, "--size", "512"), "600×400 pixels are less than 512×512"),
        ((model, cup, "--size", "60"), "type --size 64"),
        ((model, cup, "--size", "0"), "type --size 8"),
        ((model, cup, "--budget", "soon"), "cannot read the budget 'soon'"),
        ((model, cup, "--budget", "0steps"), "not positive"),
        ((model, cup, "--set", "widht=1"), "did you mean 'width'"),
        ((model, cup, "--set", "width"), "cannot read --set 'width'"),
        ((model, cup, "--set", "width=1", "--set", "width=2"), "sets 'width' twice"),
        ((model, cup, "--preset", "tiny"), "type paper or small"),
        ((model, cup, "--init", "he"), "must be one of xavier, default"),
        ((model, cup, "--init", "both", "--set", "initialization=default"), "leave one out"),
        (("gan_discriminator", cup, "--init", "both"), "zhang_classifier, zhang_rebalanced"),
        (("grey", cup, "--init", "xavier"), "grey has no option 'initialization'"),
        ((model, cup, "-o", "fit.jpg"), "is not a .png; type -o fit.png"),
        ((model, cup, "-o", str(taken)), "is there already"),
        ((model, str(taken), "-o", str(taken), "--overwrite"), "is the image itself"),
        ((model, cup, "--device", "tpu"), "unknown device 'tpu'"),
    ):
        answer = zoo("overfit", *arguments)
        assert answer.code == 2, arguments
        assert part in answer.stderr, arguments
        assert len(answer.stderr.strip().splitlines()) == 1
        assert answer.stdout == ""
    assert not list(Path().iterdir())
    assert taken.read_bytes() == before


def test_a_budget_too_small_for_a_step_leaves_nothing(zoo: Any, cup: str) -> None:
    answer = zoo("overfit", "zhang_rebalanced", cup, "--size", "64", "--budget", "0.000001s")
    assert answer.code == 2
    assert "was spent before the first step" in answer.stderr
    assert not list(Path().iterdir())
