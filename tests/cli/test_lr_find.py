"""`zoo lr-find`: a picture, a table and a suggestion, or one line that says why not."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

from zoo.registry import colorizer_class

QUICKLY = ("--steps", "24", "--from", "1e-5", "--to", "1e-2", "--device", "cpu")


def test_a_suggestion_a_picture_and_a_table(zoo: Any, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "lr.png"
    answer = zoo("lr-find", "fc_generator", *QUICKLY, "-o", str(out), "--json")
    assert answer.code == 0, answer.stderr
    printed = json.loads(answer.stdout)
    assert 1e-5 < printed["suggestion"] < 1e-2
    with Image.open(out) as picture:
        assert picture.size[0] > 600
    with out.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == printed["steps"] <= 24
    assert float(rows[0]["learning_rate"]) > 0
    again = zoo("lr-find", "fc_generator", *QUICKLY, "-o", str(out))
    assert again.code == 2
    assert "is there already" in again.stderr


@pytest.mark.parametrize(("asked", "side"), [((), 64), (("--size", "48"), 48)])
def test_crops_have_the_side_that_was_asked_for_or_the_dataset_s_own(
    zoo: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[str, ...],
    side: int,
) -> None:
    """Images are stored with a margin, which is no part of a crop."""
    for name in ("coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()).save(tmp_path / f"{name}.png")
    cls = colorizer_class("fc_generator")
    seen, loss = set(), cls.loss

    def watched(self: Any, L: Any, ab: Any) -> Any:
        seen.add((*L.shape[2:], *ab.shape[2:]))
        return loss(self, L, ab)

    monkeypatch.setattr(cls, "loss", watched)
    there = ("--dataset", f"folder:{tmp_path}", *asked, "-o", "lr.png")
    answer = zoo("lr-find", "fc_generator", *QUICKLY, *there)
    assert answer.code == 0, answer.stderr
    assert seen == {(side,) * 4}


def test_what_cannot_be_swept_is_one_line(zoo: Any, tmp_path: Path) -> None:
    out = ("-o", str(tmp_path / "lr.png"))
    grey = tmp_path / "grey"
    grey.mkdir()
    for level in (90, 160):
        Image.new("L", (80, 80), level).save(grey / f"{level}.png")
    for arguments, part in (
        (("grey", *out), "grey is not trained by gradient descent"),
        (("fc_generatr", *out), "did you mean 'fc_generator'"),
        (("fc_generator", "--from", "1", "--to", "0.1", *out), "does not rise"),
        (("fc_generator", "--steps", "3", *out), "at least 20 steps, got 3"),
        (("fc_generator", "--set", "widht=2", *out), "unknown"),
        (("fc_generator", "--set", "width", *out), "cannot read --set 'width'"),
        (("fc_generator", "-o", str(tmp_path / "lr.jpg")), "is not a .png"),
        # Told before the images, which are all grey, are decoded.
        (("unet_timm", "--size", "50", "--dataset", f"folder:{grey}", *out), "crops of 50 px"),
    ):
        answer = zoo("lr-find", *arguments)
        assert answer.code == 2, arguments
        assert part in answer.stderr
        assert len(answer.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("lr*"))
    assert not list(Path.cwd().iterdir())
