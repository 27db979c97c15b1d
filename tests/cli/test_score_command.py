"""`zoo score` as it is typed: what is printed, written and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

Zoo = Callable[..., Any]


@pytest.fixture
def sepia(photographs: Path, tmp_path: Path) -> Path:
    """The three test photographs, toned."""
    folder = tmp_path / "sepia"
    folder.mkdir()
    for file in (photographs / "test").iterdir():
        toned = np.asarray(Image.open(file)).mean(2, keepdims=True) * [1, 0.9, 0.8]
        Image.fromarray(toned.round().astype(np.uint8)).save(folder / file.name)
    return folder


def _expected(sepia: Path, truth: Path) -> dict[str, float]:
    return {
        file.stem: peak_signal_noise_ratio(
            np.asarray(Image.open(truth / file.name)), np.asarray(Image.open(file))
        )
        for file in sepia.iterdir()
    }


def test_the_table_and_its_file(zoo: Zoo, sepia: Path, photographs: Path, tmp_path: Path) -> None:
    truth, out = photographs / "test", tmp_path / "out"
    arguments = ("score", "--pred", str(sepia), "--truth", str(truth), "--metrics", "psnr, psnr")
    answer = zoo(*arguments, "--out", str(out), "--name", "theirs")
    assert answer.code == 0, answer.stderr
    expected = _expected(sepia, truth)
    assert "theirs: 3 pictures" in answer.stdout
    assert f"{np.mean(list(expected.values())):.4f}" in answer.stdout
    assert "psnr_l_copied" in answer.stdout
    table = pd.read_csv(out / "scores.csv", dtype={"image": str})
    assert list(table.columns) == ["image", "metric", "value"]
    psnr = table[table["metric"] == "psnr"].set_index("image")["value"].to_dict()
    assert psnr == pytest.approx(expected, abs=1e-4)
    before = (out / "scores.csv").read_bytes()
    again = zoo(*arguments, "--out", str(out))
    assert (again.code, again.stdout) == (2, "")
    assert "is there already" in again.stderr
    assert (out / "scores.csv").read_bytes() == before
    assert zoo(*arguments, "--out", str(out), "--overwrite").code == 0


def test_json_for_programs(zoo: Zoo, sepia: Path, photographs: Path) -> None:
    truth = photographs / "test"
    arguments = ("score", "--truth", str(truth), "--metrics", "psnr", "--json", "--pred")
    printed = json.loads(zoo(*arguments, str(sepia)).stdout)
    assert (printed["name"], printed["count"], printed["versions"]) == ("sepia", 3, {"psnr": 1})
    expected = float(np.mean(list(_expected(sepia, truth).values())))
    assert printed["metrics"]["psnr"] == pytest.approx(expected, abs=1e-4)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    # Each picture is its own truth: infinitely many decibels.
    same = json.loads(zoo(*arguments, str(truth)).stdout, parse_constant=refuse)
    assert same["metrics"] == {"psnr": None}
    assert "is its own truth" in " ".join(same["notes"])


def test_misuse_is_one_line(zoo: Zoo, sepia: Path, photographs: Path, tmp_path: Path) -> None:
    truth = photographs / "test"
    shutil.copytree(truth, tmp_path / "more")
    shutil.copy(truth / "6.png", tmp_path / "more" / "seven.png")
    for arguments, part in (
        ((), "give either --truth DIR or --add-to RUN"),
        (("--truth", str(truth), "--add-to", "run"), "give either --truth DIR or --add-to RUN"),
        (("--truth", str(truth), "--metrics", "pnsr"), "did you mean 'psnr'"),
        (("--truth", str(truth), "--metrics", ""), "unknown metric ''"),
        (("--truth", "nowhere", "--metrics", "psnr"), "nowhere is not a folder"),
        (("--truth", str(tmp_path / "more"), "--metrics", "psnr"), "missing: seven"),
        (("--add-to", str(tmp_path)), "is not the folder of a run"),
        (("--add-to", str(tmp_path), "--metrics", "psnr"), "leave --metrics out"),
    ):
        answer = zoo("score", "--pred", str(sepia), *arguments)
        assert (answer.code, answer.stdout) == (2, ""), arguments
        assert part in answer.stderr
        assert len(answer.stderr.strip().splitlines()) == 1


def test_folders_are_looked_at_before_a_backbone_is_fetched(
    zoo: Zoo, sepia: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object, **__: object) -> None:
        pytest.fail("the backbone was looked for")

    monkeypatch.setattr("zoo_benchmark.metrics.weights_files.find_metric_files", fetch)
    answer = zoo("score", "--pred", "nowhere", "--truth", str(photographs / "test"))
    assert (answer.code, "nowhere is not a folder" in answer.stderr) == (2, True)
    answer = zoo("score", "--pred", str(sepia), "--truth", "nowhere")
    assert (answer.code, "nowhere is not a folder" in answer.stderr) == (2, True)
