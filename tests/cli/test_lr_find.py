"""`zoo lr-find`: a picture, a table and a suggestion, or one line that says why not."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from PIL import Image

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


def test_what_cannot_be_swept_is_one_line(zoo: Any, tmp_path: Path) -> None:
    out = ("-o", str(tmp_path / "lr.png"))
    for arguments, part in (
        (("grey", *out), "grey is not trained by gradient descent"),
        (("fc_generatr", *out), "did you mean 'fc_generator'"),
        (("fc_generator", "--from", "1", "--to", "0.1", *out), "does not rise"),
        (("fc_generator", "--steps", "3", *out), "at least 20 steps, got 3"),
        (("fc_generator", "--set", "widht=2", *out), "unknown"),
        (("fc_generator", "--set", "width", *out), "cannot read --set 'width'"),
        (("fc_generator", "-o", str(tmp_path / "lr.jpg")), "is not a .png"),
    ):
        answer = zoo("lr-find", *arguments)
        assert answer.code == 2, arguments
        assert part in answer.stderr
        assert len(answer.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("lr*"))
    assert not list(Path.cwd().iterdir())
