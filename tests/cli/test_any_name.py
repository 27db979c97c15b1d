"""Names of files and folders are bytes: every command takes any that the file system can hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ODD = os.fsdecode(b"o[d]$x_$ %d\xdf")  # Latin-1, brackets, what matplotlib takes for formulas
NAMES = ["-a", "a,b", "n\nl", "[x]", "$x_$", "ü" * 125, "NA", os.fsdecode(b"Gro\xdfmutter")]
HOW = ("--size", "32", "--metrics", "psnr", "--device", "cpu", "--budget", "2steps")


@pytest.fixture
def album(tiles: np.ndarray, tmp_path: Path) -> Path:
    folder = tmp_path / ODD
    folder.mkdir()
    for name, tile in zip(NAMES, tiles, strict=False):
        Image.fromarray(tile).save(folder / f"{name}.png")
    return folder


@pytest.mark.long
def test_every_command_takes_any_name(zoo: Any, album: Path) -> None:
    weights = f"{ODD}{'x' * 220}.safetensors"

    def works(*arguments: str) -> None:
        answer = zoo(*arguments)
        assert answer.code == 0, (arguments, answer.stderr)

    using = ("--model", "mean_color", "--weights", weights, "--device", "cpu")
    data = f"folder:{album}"
    works("fit", "mean_color", "--data", data, *HOW, "-o", weights)
    works("colorize", str(album), "-o", f"out{ODD}", *using)
    assert {path.stem for path in Path(f"out{ODD}").iterdir()} == set(NAMES)
    works("colorize", str(album), "-o", "longer", "--format", "jpeg", *using)
    assert len(list(Path("longer").iterdir())) == len(NAMES)
    works("colorize", f"{album}/*a*.png", "-o", "some", *using)
    works("score", "--pred", f"out{ODD}", "--truth", str(album), "--metrics", "psnr", "--out", ODD)
    works("prior", data, "--size", "32", "-o", f"p{ODD}.csv")
    picture = f"{album}/$x_$.png"
    works("overfit", "mean_color", picture, "--size", "32", "-o", f"o{ODD}.png")
    bench = ("bench", "--dataset", data, *HOW, "--no-throughput", "--no-references")
    rows = "zhang_rebalanced:width=0.0625,zhang_rebalanced:width=0.125"
    named = ("--set", f"zhang_rebalanced.prior=p{ODD}.csv")
    works(*bench, "--models", rows, *named, "--out", f"b{ODD}")
    works("export-test", f"b{ODD}", "-o", f"e{ODD}")
    works("colorize", f"e{ODD}/grey", "-o", f"c{ODD}", *using)
    works("score", "--pred", f"c{ODD}", "--add-to", f"b{ODD}", "--device", "cpu")
    works("report", f"b{ODD}")
    works("compare", f"b{ODD}", f"b{ODD}")


def test_weights_under_a_name_that_is_no_utf8(zoo: Any, album: Path) -> None:
    weights = f"{ODD}.safetensors"
    answer = zoo("fit", "mean_color", "--data", f"folder:{album}", *HOW, "-o", weights)
    assert answer.code == 0, answer.stderr
    arguments = ("--model", "mean_color", "--weights", weights, "--device", "cpu")
    answer = zoo("colorize", str(album), "-o", "out", *arguments)
    assert answer.code == 0, answer.stderr
    assert {path.stem for path in Path("out").iterdir()} == set(NAMES)
