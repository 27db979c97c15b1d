"""`zoo export` as it is typed, and its file in the other commands."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from skimage import data

from zoo.cli.main import main


@pytest.fixture
def zoo_says(monkeypatch, capsys, tmp_path):
    """`zoo_says(…)`: exit code, stdout and stderr of the command line, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def say(*arguments):
        monkeypatch.setattr(sys, "argv", ["zoo", *arguments])
        code = main()
        return code, *capsys.readouterr()

    return say


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "unknown colorizer 'nobody'"),
        (["unet_tim"], "did you mean 'unet_timm'"),
        (["unet_timm"], "unet_timm needs weights: type --weights FILE.safetensors"),
        (["unet_timm"], "or a name of zoo weights list; unet_timm@release came along\n"),
        (["unet_timm", "--weights", "relase"], "did you mean 'release'"),
        (["unet_timm@release", "--weights", "release"], "weights are named twice"),
        (["unet_timm", "--weights", "gone.safetensors"], "there are no weights at gone"),
        (["grey", "--opset", "11"], "the opset must lie in 18 … 20, got 11"),
        (["grey", "--opset", "x"], "'--opset': 'x' is not a valid int"),
        (["grey", "--precision", "int8"], "is fp32 or fp16, got 'int8'"),
        (["grey", "--size", "0x4"], "--size takes WIDTHxHEIGHT, as 1024x768, got '0x4'"),
        (["grey", "--size", "9000x4"], "must lie in 1 … 4096, got 9000×4"),
        (["grey", "--working-size", "5"], "the working size must lie in"),
        (["grey", "-o", "model.pt"], "exported files end in .onnx; type model.pt.onnx"),
        (["grey", "-o", "there.onnx"], "there.onnx is there already; name another -o, or --over"),
        (["grey", "-o", "folder.onnx"], "folder.onnx is a folder; name another -o"),
        (["onnx"], "onnx needs weights"),
    ],
)
def test_bad_input_is_one_line_before_any_work(zoo_says, tmp_path, arguments, words):
    (tmp_path / "there.onnx").write_text("mine")
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.iterdir())
    out = [] if "-o" in arguments else ["-o", "model.onnx"]
    code, said, error = zoo_says("export", *arguments, *out)
    assert (code, said) == (2, "")
    assert words in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.onnx").read_text() == "mine"


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_without_the_extra_it_says_what_to_type(zoo_says, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    code, _, error = zoo_says("export", "grey", "-o", "grey.onnx")
    assert code == 2
    assert f"ONNX files need {module} " in error
    assert 'type pip install "colorizer-zoo[onnx]"' in error
    assert error.count("\n") == 1


def test_a_method_that_learns_nothing_needs_no_weights(zoo_says, tmp_path):
    code, said, error = zoo_says("export", "grey", "-o", "grey.onnx", "--size", "40x30", "--json")
    assert (code, error) == (0, "")
    told = json.loads(said)
    assert (told["model"], told["size"], told["weights_sha256"]) == ("grey", [30, 40], "")
    assert [each["levels"] for each in told["differences"]] == [0, 0, 0]
    Image.fromarray(data.astronaut()[:30, :40]).save(tmp_path / "a.png")
    code, said, _ = zoo_says("colorize", "a.png", "-o", "out", "--model", "onnx@grey.onnx")
    assert code == 0
    assert "seen by the network at" not in said  # only the file knows
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert np.ptp(np.asarray(image).astype(int), axis=2).max() <= 1  # 8 bits twice
    # Another size than the one that it takes.
    Image.fromarray(data.astronaut()[:31, :40]).save(tmp_path / "b.png")
    code, _, error = zoo_says("colorize", "b.png", "-o", "out", "--model", "onnx@grey.onnx")
    assert code == 1
    assert "b.png: the file takes pictures of 40×30 px alone, got 40×31" in error


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["fit", "onnx", "--data", "photos", "-o", "x.safetensors"], "onnx@FILE"),
        (["check", "onnx"], "onnx@FILE"),
        (["bench", "--models", "grey,onnx"], "onnx@FILE"),
        (["overfit", "onnx", "a.png"], "onnx@FILE"),
        (["bench", "--models", "grey,onnx@a.onnx", "--budget", "none"], "there is no file a.onnx"),
        (["colorize", "a.png", "-o", "b", "--model", "onnx@a.onnx"], "there is no file a.onnx"),
    ],
)
def test_onnx_is_nothing_without_its_file(zoo_says, tmp_path, command, words):
    Image.fromarray(data.astronaut()[:40, :40]).save(tmp_path / "a.png")
    code, _, error = zoo_says(*command)
    assert code == 2
    assert words in error.splitlines()[-1]


def test_the_list_says_that_it_takes_a_file(zoo_says):
    _, said, _ = zoo_says("list")
    assert "onnx@FILE " in said
    assert "\nonnx " not in said
    _, said, _ = zoo_says("list", "--json")
    assert {each["name"]: each["group"] for each in json.loads(said)}["onnx"] == (
        "zoo.file_colorizers"
    )


@pytest.mark.long
def test_what_is_deployed_is_scored_as_what_was_trained(zoo_says, tmp_path):
    code, said, error = zoo_says("export", "unet_timm@release", "-o", "unet.onnx")
    assert (code, error) == (0, "")
    assert "1000×700 px" in said
    code, _, error = zoo_says("export", "onnx@unet.onnx", "-o", "again.onnx")
    assert code == 2
    assert "an exported file already; copy the file" in error
    # In a folder without the plugin's weights, in processes of their own.
    words = ["bench", "--models", "onnx@unet.onnx,unet_timm@release", "--budget", "none"]
    words += ["--metrics", "psnr,colourfulness", "--no-throughput", "--precision", "fp32"]
    done = subprocess.run(
        [sys.executable, "-m", "zoo", *words, "--out", "run"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    rows = {}
    for line in (tmp_path / "run" / "leaderboard.csv").read_text().splitlines()[1:]:
        rows[line.partition(",")[0]] = line
    assert any("onnx@unet.onnx" in row for row in rows.values())
    import pandas as pd

    table = pd.read_csv(tmp_path / "run" / "leaderboard.csv").set_index("model")
    assert table.loc["onnx@unet.onnx", "psnr"] == pytest.approx(
        table.loc["unet_timm@release", "psnr"], abs=0.05
    )
    assert set(table.index) >= {"onnx@unet.onnx", "grey"}
