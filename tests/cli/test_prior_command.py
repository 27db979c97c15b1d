"""`zoo prior`: a table, a plot and the class weights, or one line that says why not."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree
from skimage import color

from zoo.color.bins import bin_centres
from zoo.color.prior import class_weights, read_prior


def test_a_table_a_plot_and_the_class_weights(zoo: Any, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "mine.csv"
    answer = zoo("prior", f"folder:{photographs}", "-o", str(out))
    assert answer.code == 0, answer.stderr
    assert answer.stderr == ""
    # By the plain formula, over the pictures in train/ alone.
    files = sorted((photographs / "train").iterdir())
    ab = color.rgb2lab(np.stack([np.asarray(Image.open(file)) for file in files]))[..., 1:]
    grid = ab.reshape(len(files), 16, 4, 16, 4, 2).mean((2, 4)).reshape(-1, 2)
    distance, nearest = cKDTree(bin_centres().double().numpy()).query(grid, k=5)
    kernel = np.exp(-(distance**2) / 50)
    expected = np.zeros(313)
    np.add.at(expected, nearest, kernel / kernel.sum(1, keepdims=True) / len(grid))
    prior = read_prior(out)
    assert np.abs(prior.numpy() - expected).sum() < 1e-3
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.width > 1000

    assert f"{len(files)} training images of 64 px" in answer.stdout
    weights = class_weights(torch.from_numpy(expected), 0.5)
    shown = re.search(r"class weights at λ = 0.5: ([\d.]+) … ([\d.]+)", answer.stdout)
    assert float(shown[1]) == pytest.approx(weights.min().item(), rel=1e-2)
    assert float(shown[2]) == pytest.approx(weights.max().item(), rel=1e-2)


@pytest.mark.long
def test_the_line_to_type_next_trains_with_it(zoo: Any, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "a prior.csv"
    first = zoo("prior", f"folder:{photographs}", "-o", str(out))
    line = next(line for line in first.stdout.splitlines() if ": zoo bench" in line)
    _, *arguments = shlex.split(line.partition(": ")[2])
    model, _, _ = arguments[-1].partition(".")
    quick = ("--budget", "1steps", "--size", "32", "--no-throughput", "--metrics", "psnr")
    answer = zoo(*arguments, "--models", model, "--no-references", *quick, "--out", "run")
    assert answer.code == 0, answer.stderr
    runs = pd.read_csv("run/runs.csv")
    assert json.loads(runs.loc[0, "options"])["prior"] == str(out)


def test_json_for_programs(zoo: Any, photographs: Path) -> None:
    answer = zoo("prior", f"folder:{photographs}", "--size", "32", "--sigma", "2", "--json")
    facts = json.loads(answer.stdout)
    prior = read_prior("prior.csv")
    assert (facts["table"], facts["plot"]) == ("prior.csv", "prior.png")
    assert Path(facts["plot"]).is_file()
    assert (facts["images"], facts["size"]) == (6, 32)
    assert facts["bins"] == int((prior > 0).sum())
    assert facts["largest"] == prior.max().item()
    assert facts["weights"] == [f(class_weights(prior, 0.5)).item() for f in (torch.min, torch.max)]


def test_what_exists_is_kept_unless_told_otherwise(zoo: Any, photographs: Path) -> None:
    command = ("prior", f"folder:{photographs}")
    for taken in ("prior.csv", "prior.png"):
        Path(taken).write_text("mine")
        answer = zoo(*command)
        assert answer.code == 2
        assert f"{taken} is there already" in answer.stderr
        assert [each.name for each in Path().iterdir()] == [taken]
        assert zoo(*command, "--overwrite").code == 0
        assert read_prior("prior.csv").sum().item() == pytest.approx(1)
        for each in Path().iterdir():
            each.unlink()


def test_what_cannot_be_counted_is_one_line(zoo: Any, photographs: Path, tmp_path: Path) -> None:
    data = f"folder:{photographs}"
    (tmp_path / "folder.csv").mkdir()
    for arguments, part in (
        (("phtos",), "did you mean 'photos'"),
        ((str(photographs),), f"type folder:{photographs}"),
        (("folder:nowhere",), "nowhere"),
        ((data, "--size", "30"), "type --size 28"),
        ((data, "--size", "0"), "type --size 4"),
        ((data, "--neighbours", "0"), "neighbours must lie in"),
        ((data, "--sigma", "-1"), "sigma must be positive"),
        ((data, "-o", "prior.txt"), "-o prior.txt is not a .csv; type -o prior.csv"),
        ((data, "-o", "."), "is not a .csv; type -o FILE.csv"),
        ((data, "-o", str(tmp_path / "folder.csv")), "is a folder"),
    ):
        answer = zoo("prior", *arguments)
        assert answer.code == 2, arguments
        assert part in answer.stderr
        assert len(answer.stderr.strip().splitlines()) == 1
        assert answer.stdout == ""
    assert not list(Path().iterdir())
