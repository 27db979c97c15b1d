"""`zoo fit`: weights, tables and pictures; killed and resumed; one line for what cannot be."""

from __future__ import annotations

import csv
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

import zoo as api
from zoo.cli.fit import fit as fit_command
from zoo.colorizer import Colorizer
from zoo.registry import dataset_class
from zoo.training.clock import Clock
from zoo.training.variety import read_crop_scale
from zoo.weights.file import open_weights

MODEL = "zhang_rebalanced"
QUICKLY = ("--size", "32", "--device", "cpu", "--precision", "fp32", "--set", "batch_size=4")
BESIDE = ("-loss.csv", "-loss.png", "-validation.csv", "-samples.png")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def fit(
    photographs: Path, *arguments: str, model: str = MODEL, budget: str = "4steps"
) -> list[str]:
    data = f"folder:{photographs}"
    return ["fit", model, "--data", data, "--budget", budget, *QUICKLY, *arguments]


def test_weights_tables_and_pictures(zoo: Any, photographs: Path) -> None:
    answer = zoo(*fit(photographs, "-o", "w.safetensors", "--metrics", "psnr,colourfulness"))
    assert answer.code == 0, answer.stderr
    here = Path.cwd()
    assert {p.name for p in here.iterdir()} == {"w.safetensors", *(f"w{b}" for b in BESIDE)}
    for file in here.iterdir():
        assert f"written: {file.name}" in answer.stdout
    assert "left grey" in answer.stdout
    assert "--model zhang_rebalanced@w.safetensors" in answer.stdout
    assert "100%" in answer.stderr

    points = rows(here / "w-validation.csv")
    assert {row["metric"] for row in points} >= {"psnr", "colourfulness", "colourfulness_truth"}
    assert float(points[-1]["share"]) == 1
    assert [int(row["steps"]) for row in points if row["metric"] == "psnr"] == [1, 2, 3, 4]
    losses = rows(here / "w-loss.csv")
    assert int(losses[-1]["steps"]) == 4
    with Image.open(here / "w-samples.png") as sheet:
        # The input, four looks, the truth; three held-out images.
        assert sheet.size[0] == 2 * 16 + 6 * 166 - 6
    with Image.open(here / "w-loss.png") as plot:
        assert len(np.unique(np.asarray(plot.convert("RGB")).reshape(-1, 3), axis=0)) > 20

    colorizer = api.load(MODEL, here / "w.safetensors", device="cpu")
    assert colorizer.options.batch_size == 4
    assert colorizer.record.data == "folder"
    assert colorizer.record.input_variety
    assert (colorizer.record.crop_scale, colorizer.record.stored_size) == ([1, 1], 32)
    assert colorizer.record.cost.steps == 4
    assert str(photographs) not in json.dumps(vars(colorizer.record), default=str)


def test_hours_are_counted_beyond_a_day(
    zoo: Any, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "seconds", property(lambda _: 30 * 3600 + 62.9))
    answer = zoo(*fit(photographs, "-o", "w.safetensors", "--metrics", "psnr", budget="1steps"))
    assert answer.code == 0, answer.stderr
    assert "100%  30:01:02  1 steps: psnr " in answer.stderr


def test_the_defaults_of_variety_are_those_of_python() -> None:
    typed, called = (inspect.signature(f).parameters for f in (fit_command, Colorizer.fit))
    for name in ("input_variety", "stored_size"):
        assert typed[name].default == called[name].default
    assert read_crop_scale(typed["crop_scale"].default) == called["crop_scale"].default


def test_json(zoo: Any, photographs: Path) -> None:
    answer = zoo(*fit(photographs, "-o", "w.safetensors", "--metrics", "psnr", "--json"))
    assert answer.code == 0, answer.stderr
    printed = json.loads(answer.stdout)
    assert printed["stop_reason"] == "budget"
    assert 5 < printed["grey"]["psnr"] < 60
    assert [point["steps"] for point in printed["points"]] == [1, 2, 3, 4]
    assert all(Path(file).is_file() for file in printed["files"])


def test_the_floor_of_the_table_is_what_grey_scores(zoo: Any, photographs: Path) -> None:
    answer = zoo(
        *fit(photographs, "-o", "w.safetensors", "--metrics", "psnr", "--json", model="mean_color")
    )
    assert answer.code != 0  # it has no batch_size to set
    arguments = ["fit", "grey", "--data", f"folder:{photographs}", "--size", "32"]
    answer = zoo(*arguments, "-o", "g.safetensors", "--metrics", "psnr", "--json")
    assert answer.code == 0, answer.stderr
    printed = json.loads(answer.stdout)
    assert printed["points"][-1]["psnr"] == pytest.approx(printed["grey"]["psnr"], abs=1e-4)


def test_without_lpips_weights_it_says_so_and_goes_on(
    zoo: Any, photographs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    answer = zoo(*fit(photographs, "-o", "w.safetensors", "--metrics", "psnr,lpips"))
    assert answer.code == 0, answer.stderr
    assert "note: lpips is not measured: AlexNet's weights are not here" in answer.stderr
    assert {row["metric"] for row in rows(Path("w-validation.csv"))} == {"psnr"}


def test_fine_tuning(zoo: Any, photographs: Path) -> None:
    first = zoo(*fit(photographs, "-o", "a.safetensors", "--metrics", "psnr"))
    assert first.code == 0, first.stderr
    tuned = zoo(
        *fit(photographs, "-o", "b.safetensors", "--metrics", "psnr", "--init", "a.safetensors"),
        *("--set", "learning_rate=1e-9", "--set", "weight_decay=0", "--no-input-variety"),
        *("--crop-scale", "0.5,1", "--stored-size", "48"),
    )
    assert tuned.code == 0, tuned.stderr
    a, b = (safetensors.torch.load_file(f"{name}.safetensors") for name in "ab")
    for name, tensor in a.items():
        if name.endswith((".weight", ".bias")):
            np.testing.assert_allclose(b[name].numpy(), tensor.numpy(), atol=1e-6)
    record = open_weights(Path("b.safetensors"), type(api.load(MODEL))).record
    assert record is not None
    assert record.initial.startswith("a.safetensors (SHA-256 ")
    assert not record.input_variety
    assert (record.crop_scale, record.stored_size) == ([0.5, 1], 48)


def test_what_cannot_be_is_one_line_before_any_work(
    zoo: Any, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_arguments: Any, **_keywords: Any) -> None:
        raise AssertionError("images were read")

    monkeypatch.setattr(dataset_class("folder"), "open", load)
    Path("table-loss.csv").write_bytes(b"mine")
    Path("there.safetensors").write_bytes(b"mine")
    Path("half-checkpoint.pt").write_bytes(b"?")
    for arguments, part in (
        (["-o", "w.pth"], "w.pth is not a .safetensors; type -o w.safetensors"),
        (["-o", "."], "safetensors"),
        (["-o", "table.safetensors"], "table-loss.csv is there already"),
        (["-o", "there.safetensors/w.safetensors"], "nothing can be written to there.safetensors"),
        (["-o", "there.safetensors"], "there.safetensors is there already"),
        (["-o", "w.safetensors", "--resume"], "nothing to resume: no w-checkpoint.pt"),
        (["-o", "half.safetensors"], "half-checkpoint.pt is an unfinished training"),
        (["-o", "half.safetensors", "--resume"], "no readable checkpoint"),
        (["-o", "half.safetensors", "--resume", "--overwrite"], "no readable checkpoint"),
        (["-o", "w.safetensors", "--size", "0"], "multiple of 8"),
        (["-o", "w.safetensors", "--size", "33"], "multiple of 8"),
        (
            ["-o", "w.safetensors", "--stored-size", "16"],
            "smaller than the crops of 32 px; give 32",
        ),
        (["-o", "w.safetensors", "--crop-scale", "1,0.5"], "crop_scale 1,0.5 is no pair of shares"),
        (["-o", "w.safetensors", "--crop-scale", "0,1"], "in (0, 1], the smaller one first"),
        (["-o", "w.safetensors", "--crop-scale", "half"], "give two shares, as 0.5,1"),
        (["-o", "w.safetensors", "--budget", "soon"], "cannot read the budget 'soon'"),
        (["-o", "w.safetensors", "--lr", "high"], "--lr is options or find"),
        (["-o", "w.safetensors", "--metrics", "psnr,lpip"], "did you mean 'lpips'"),
        (["-o", "w.safetensors", "--set", "widht=1"], "did you mean 'width'"),
        (["-o", "w.safetensors", "--set", "width"], "cannot read --set 'width'"),
        (["-o", "w.safetensors", "--preset", "huge"], "type paper or small"),
        (["-o", "w.safetensors", "--init", "eccv61"], "did you mean 'eccv16'"),
        (["-o", "w.safetensors", "--init", "no.safetensors"], "no weights at no.safetensors"),
        (["-o", "w.safetensors", "--init", "x.pth", "--preset", "small"], "leave --preset small"),
        (["-o", "w.safetensors", "--checkpoint-every", "0"], "must be positive, got 0"),
        (["-o", "w.safetensors", "--data", "folder:none"], "does not exist"),
        (["-o", "w.safetensors", "--data", "fotos"], "did you mean 'photos'"),
    ):
        answer = zoo(*fit(photographs, *arguments))
        assert answer.code == 2, arguments
        assert part in answer.stderr, arguments
        assert len(answer.stderr.strip().splitlines()) == 1, answer.stderr
    assert Path("there.safetensors").read_bytes() == b"mine"
    assert Path("half-checkpoint.pt").read_bytes() == b"?"
    assert sorted(p.name for p in Path.cwd().iterdir()) == [
        "half-checkpoint.pt",
        "table-loss.csv",
        "there.safetensors",
    ]


def test_a_loss_that_explodes_is_one_line(zoo: Any, photographs: Path) -> None:
    answer = zoo(
        *fit(photographs, "-o", "w.safetensors", "--metrics", "psnr", budget="40steps"),
        *("--set", "learning_rate=1e18", "--set", "warm_up=0", "--set", "clip=1e18"),
    )
    assert answer.code == 2
    # Whichever is seen first: the loss, or what the network makes of a held-out image.
    assert "the loss became" in answer.stderr or "gave NaN" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) <= 3
    assert not Path("w.safetensors").exists()


def test_existing_weights_stay_until_the_new_ones_are_whole(
    zoo: Any, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path.cwd()
    Path("w.safetensors").write_bytes(b"mine")

    def full(*_arguments: Any, **_keywords: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    command = fit(photographs, "-o", "w.safetensors", "--overwrite", "--metrics", "psnr")
    answer = zoo(*command)
    assert answer.code == 2
    assert "No space left on device" in answer.stderr
    assert Path("w.safetensors").read_bytes() == b"mine"
    # And what was trained is not lost: the same command goes on where there is room.
    monkeypatch.undo()
    monkeypatch.chdir(here)
    before = rows(Path("w-validation.csv"))
    answer = zoo(*command, "--resume", "--json")
    assert answer.code == 0, answer.stderr
    assert "resumed after 4 steps" in answer.stderr
    assert [point["steps"] for point in json.loads(answer.stdout)["points"]] == [1, 2, 3, 4]
    after = rows(Path("w-validation.csv"))
    assert after[: len(before)] == before
    with Image.open("w-samples.png") as sheet:
        assert sheet.size[0] == 2 * 16 + 6 * 166 - 6
    assert not Path("w-checkpoint.pt").exists()


def test_a_full_disk_does_not_end_training(
    zoo: Any, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.touch

    def full(path: Path, **keywords: Any) -> None:
        if path.name.startswith(".w-"):
            raise OSError(28, "No space left on device")
        make(path, **keywords)

    monkeypatch.setattr(Path, "touch", full)
    answer = zoo(*fit(photographs, "-o", "w.safetensors", "--metrics", "psnr"))
    assert answer.code == 0, answer.stderr
    assert "note: .: No space left on device; training goes on" in answer.stderr
    assert "note: the checkpoint w-checkpoint.pt could not be written: No space" in answer.stderr
    assert [path.name for path in Path.cwd().iterdir()] == ["w.safetensors"]
    assert [line for line in answer.stdout.splitlines() if "written: " in line] == [
        "written: w.safetensors"
    ]


def test_without_room_nothing_is_trained(
    zoo: Any, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "zoo.files.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000)
    )
    answer = zoo(*fit(photographs, "-o", "w.safetensors", "--metrics", "psnr"))
    assert answer.code == 2
    assert "error: what is trained needs " in answer.stderr
    assert ". has 0.0 MB free; make room there, or type another -o" in answer.stderr
    assert not list(Path.cwd().iterdir())


def test_where_neither_weights_nor_checkpoint_fit_the_training_is_kept_elsewhere(
    zoo: Any, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, here = Path.touch, Path.cwd()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))

    def full(path: Path, **keywords: Any) -> None:
        if path.name.startswith((".w.", ".w-checkpoint")) and path.absolute().parent == here:
            raise OSError(28, "No space left on device")
        make(path, **keywords)

    monkeypatch.setattr(Path, "touch", full)
    answer = zoo(*fit(photographs, "-o", "w.safetensors", "--metrics", "psnr"))
    assert answer.code == 1
    [saved] = (tmp_path / "elsewhere").glob("zoo-*/w.safetensors")
    assert f"; the weights are in {saved}: move them" in answer.stderr
    assert "w.safetensors could not be written: No space left on device (it needs " in answer.stderr
    assert f"written: {saved}" in answer.stdout
    assert api.load(MODEL, saved, device="cpu").record.cost.steps == 4
    assert not list(here.glob("*.safetensors"))


def test_a_person_is_asked_to_make_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from zoo.cli.fit import _ask_for_room

    assert not _ask_for_room("full")  # nobody is there
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: "")
    assert _ask_for_room("full")
    assert "error: full\nmake room there and press Enter" in capsys.readouterr().err

    def interrupted() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        return ""

    monkeypatch.setattr("builtins.input", interrupted)
    assert not _ask_for_room("full")


def test_two_at_once_do_not_share_their_files(
    zoo: Any, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = fit(photographs, "-o", "w.safetensors", "--metrics", "psnr")
    second: list[tuple[int, str]] = []
    save = api.colorizer.Colorizer.save

    def meanwhile(*arguments: Any) -> None:
        code = subprocess.run(
            [sys.executable, "-m", "zoo", *command, "--overwrite"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        second.append((code.returncode, code.stderr))
        save(*arguments)

    monkeypatch.setattr(api.colorizer.Colorizer, "save", meanwhile)
    answer = zoo(*command)
    assert answer.code == 0, answer.stderr
    assert second[0][0] == 2
    assert "w.safetensors is being trained by another process" in second[0][1]


def test_other_held_out_images_are_refused_where_training_goes_on(
    zoo: Any, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any, **_keywords: Any) -> None:
        raise OSError(28, "No space left on device")

    command = fit(photographs, "-o", "w.safetensors", "--metrics", "psnr")
    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        assert zoo(*command).code == 2
    photo = next((photographs / "test").iterdir())
    (photographs / "test" / "another.png").write_bytes(
        next((photographs / "train").iterdir()).read_bytes()
    )
    answer = zoo(*command, "--resume")
    assert answer.code == 2
    assert "the held-out images are not those" in answer.stderr
    assert photo.exists()
    assert Path("w-checkpoint.pt").exists()


# ---- stopped --------------------------------------------------------------------------------


def start(arguments: list[str], cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "zoo", *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    while not file.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_stopped_and_resumed_is_never_stopped(
    number: signal.Signals, photographs: Path, tmp_path: Path
) -> None:
    def command(name: str) -> list[str]:
        return fit(photographs, "-o", name, "--metrics", "psnr", budget="60steps")

    straight = start(command("straight.safetensors"), tmp_path)
    assert finish(straight)[0] == 0

    stopped = start([*command("w.safetensors"), "--checkpoint-every", "0.05"], tmp_path)
    checkpoint = tmp_path / "w-checkpoint.pt"
    wait_for(checkpoint, stopped)
    stopped.send_signal(number)
    code, _, stderr = finish(stopped)
    if number == signal.SIGKILL:
        assert code == -9
    else:
        assert code == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        assert "w-checkpoint.pt is kept; type the same command with --resume" in stderr
        assert "Traceback" not in stderr
    assert checkpoint.exists()
    assert not (tmp_path / "w.safetensors").exists()

    code, _, stderr = finish(start([*command("w.safetensors"), "--resume"], tmp_path))
    assert code == 0, stderr
    assert "resumed after" in stderr
    assert not checkpoint.exists()
    ours, theirs = (
        safetensors.torch.load_file(tmp_path / f"{name}.safetensors") for name in ("w", "straight")
    )
    assert all(ours[name].numpy().tobytes() == theirs[name].numpy().tobytes() for name in theirs)
    # The tables and pictures do not begin anew either.
    steps = [int(row["steps"]) for row in rows(tmp_path / "w-validation.csv")]
    assert steps == sorted(set(steps))
    assert steps[0] < 5
    assert steps[-1] == 60
    assert int(rows(tmp_path / "w-loss.csv")[0]["steps"]) == 1
