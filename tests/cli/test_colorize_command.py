"""`zoo colorize` as it is typed."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image
from skimage import data

import zoo.pipeline.run
from zoo.cli.main import main
from zoo.registry import colorizer_class

MODEL, PLAIN = "zhang_rebalanced", "mean_color"


@pytest.fixture(scope="module")
def weights(_tiles, tmp_path_factory):
    """A file of weights, trained for a step or two, for each of the two models."""
    folder = tmp_path_factory.mktemp("weights")
    for name in (MODEL, PLAIN):
        cls = colorizer_class(name)
        options = cls.preset("small")
        if name == MODEL:
            options = cls.Options(width=0.0625, batch_size=2)
        colorizer = cls(options, device="cpu", precision="fp32")
        colorizer.fit(_tiles, budget="2steps", size=32).save(folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def zoo_says(monkeypatch, capsys, tmp_path):
    """`zoo_says("colorize", …)`: the exit code, stdout and stderr; runs in a fresh folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["zoo", *map(str, arguments)])
        code = main()
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def colorize(zoo_says, weights):
    def run(*arguments, model=PLAIN):
        path = weights / f"{model}.safetensors"
        return zoo_says("colorize", *arguments, "--model", model, "--weights", path)

    return run


@pytest.fixture
def scans(tmp_path):
    grey = data.camera()[::4, ::4]
    (tmp_path / "scans" / "1927").mkdir(parents=True)
    Image.fromarray(grey).save(tmp_path / "scans" / "a.jpg")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "scans" / "1927" / "b.png")
    return tmp_path / "scans"


def test_a_folder(colorize, scans, tmp_path):
    code, out, err = colorize("scans", "-o", "colour")
    assert (code, err) == (0, "")
    assert out.startswith("2 photographs coloured in ")
    assert "images/s): colour" in out
    assert Image.open(tmp_path / "colour" / "a.jpg").mode == "RGB"
    assert (tmp_path / "colour" / "1927" / "b.png").read_bytes()[24:26] == b"\x10\x02"  # 16-bit RGB

    code, out, err = colorize("scans", "-o", "colour")
    assert (code, out) == (2, "")
    assert err == (
        "error: colour/1927/b.png and 1 more exist already; type --overwrite, or another -o\n"
    )
    assert colorize("scans", "-o", "colour", "--overwrite")[0] == 0


def test_one_file_with_every_option(colorize, scans, tmp_path):
    options = (
        *("--working-size", 64, "--temperature", 0.1, "--saturation", 1.5, "--compare"),
        *("--batch-size", 2, "--workers", 1, "--device", "cpu", "--precision", "fp32"),
    )
    code, out, err = colorize("scans/a.jpg", "-o", "a.png", *options, model=MODEL)
    assert (code, err) == (0, "")
    assert out.startswith("1 photograph coloured")
    assert Image.open(tmp_path / "a.png").size == (256, 128)


def test_temperature_turns_the_decoder(colorize, scans, tmp_path):
    pictures = []
    for temperature in ("0", "1"):
        name = f"{temperature}.png"
        colorize("scans/a.jpg", "-o", name, "--temperature", temperature, model=MODEL)
        pictures.append(np.asarray(Image.open(tmp_path / name)).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() > 5
    code, _, err = colorize("scans/a.jpg", "-o", "x.png", "--temperature", "0.3")
    assert code == 2
    assert err.startswith("error: mean_color has no temperature")
    code, _, err = colorize("scans/a.jpg", "-o", "x.png", "--temperature", "7", model=MODEL)
    assert code == 2
    assert "temperature must lie in [0, 1], got 7" in err


def test_format_and_patterns(colorize, scans, tmp_path):
    code, *_ = colorize("scans/**/*.*", "-o", "out", "--format", "tif")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "b.tif"]


def test_bad_files_are_named_and_the_exit_code_is_1(colorize, scans, tmp_path):
    (scans / "bad.jpg").write_text("no image")
    code, out, err = colorize("scans", "-o", "out")
    assert code == 1
    assert err == "error: scans/bad.jpg: not an image of a format that is read here\n"
    assert out.startswith("2 of 3 photographs coloured in")
    assert ", 1 failed: out" in out


def test_json(colorize, scans):
    (scans / "bad.jpg").write_text("no image")
    code, out, _ = colorize("scans", "-o", "out", "--json")
    assert code == 1
    rows = json.loads(out)
    assert [row["status"] for row in rows] == ["done", "done", "failed"]
    assert rows[0] == {"input": "scans/1927/b.png", "output": "out/1927/b.png", "status": "done"}
    assert rows[2]["reason"] == "not an image of a format that is read here"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "-o", "out"], "nowhere: there is no such file or folder"),
        (["scans/*.xyz", "-o", "out"], "there are no images in scans/*.xyz"),
        (["scans/a.jpg", "-o", "scans"], "is the input scans/a.jpg itself"),
        (["scans", "-o", "out", "--format", "gif"], "the format 'gif' is not written"),
        (["scans", "-o", "out", "--saturation", "9"], "saturation must be above 0 and at most 3"),
        (["scans", "-o", "out", "--batch-size", "x"], "must be auto or a number, got 'x'"),
        (
            ["scans", "-o", "out", "--working-size", "x"],
            "auto, full or a number of pixels, got 'x'",
        ),
        (["scans", "-o", "out", "--working-size", "7"], "must lie in 8 … 4096 px"),
        (["scans/a.jpg", "scans/1927/../a.jpg", "-o", "a.png"], None),
        (["scans/a.jpg", "scans/1927/b.png", "-o", "scans/a.jpg"], "scans/a.jpg is a file"),
    ],
)
def test_mistakes_are_one_line_before_any_work(colorize, scans, tmp_path, arguments, message):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = colorize(*arguments)
    if message is None:  # one file, given twice, into a folder of that name
        assert code == 0
        return
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_weights_are_asked_for(zoo_says, scans, tmp_path):
    code, _, err = zoo_says("colorize", "scans", "-o", "out", "--model", "grey")
    assert code == 2
    assert err.startswith("error: grey needs weights: type --model grey@FILE.safetensors,")
    assert "zoo fit" in err
    assert "zoo bench" in err
    assert "zoo weights list" in err
    code, _, err = zoo_says(
        "colorize", "scans", "-o", "out", "--model", "grey", "--weights", "no.safetensors"
    )
    assert (code, err) == (2, "error: there are no weights at no.safetensors; check the path\n")
    assert not (tmp_path / "out").exists()


def test_interrupted(colorize, scans, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo.pipeline.run._Pipeline, "_predict", interrupt)
    code, _, err = colorize("scans", "-o", "out")
    assert code == 130
    assert err == "interrupted: the files that were finished are whole\n"
    assert not list(tmp_path.rglob("*.partial*"))


@pytest.mark.parametrize("options", ["ro", "size=256k"])
def test_disks_that_are_full_or_read_only(options, weights, scans, tmp_path):
    own_mounts = ["unshare", "--map-root-user", "--mount"]
    try:
        subprocess.run([*own_mounts, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a disk is not allowed here")
    photograph = (scans / "a.jpg").read_bytes()
    for i in range(60):
        (scans / f"{i:05d}.jpg").write_bytes(photograph)
    (tmp_path / "out").mkdir()
    script = f'mount -t tmpfs -o {options} none out && "$@"; code=$?; ls -A out; exit $code'
    command = [sys.executable, "-m", "zoo", "colorize", "scans", "-o", "out", "--model", PLAIN]
    command += ["--weights", str(weights / f"{PLAIN}.safetensors"), "--device", "cpu"]
    result = subprocess.run(
        [*own_mounts, "sh", "-c", script, "sh", *command],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    told, *names = result.stdout.splitlines() or [""]
    if options == "ro":
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == (
            "error: nothing can be written to out: Read-only file system; type another -o\n"
        )
        return
    assert result.returncode == 1
    assert "No space left on device\nnothing more can be written to out" in result.stderr
    assert result.stderr.count("\n") == 2
    assert 0 < len(names) < 62
    assert told.startswith((f"{len(names)} of 62 photographs", f"{len(names) - 1} of 62"))
    assert not [name for name in names if name.startswith(".")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_leaves_no_half_file(colorize, scans, monkeypatch, tmp_path, number):
    before, once = signal.getsignal(number), threading.Lock()

    def half(path, *_):
        path.write_bytes(b"half")
        if once.acquire(blocking=False):
            os.kill(os.getpid(), number)
        time.sleep(0.5)
        raise OSError(errno.EIO, "not written to its end")

    monkeypatch.setattr("zoo.pipeline.run.write_picture", half)
    code, _, err = colorize("scans", "-o", "out")
    assert code == 128 + number
    assert "interrupted: the files that were finished are whole" in err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert signal.getsignal(number) is before


def test_what_cannot_be_read_stops_nothing_else_and_is_said(colorize, scans, tmp_path):
    (scans / "x.jfif").write_bytes((scans / "a.jpg").read_bytes())
    (scans / "IMG.JPG_original").write_bytes((scans / "a.jpg").read_bytes())
    (scans / "gone.jpg").symlink_to(scans / "nothing")
    (scans / "notes.txt").write_text("the album of 1953")
    os.mkfifo(scans / "pipe.jpg")
    code, _, err = colorize("scans", "-o", "out")
    assert code == 0, err
    names = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names >= {"a.jpg", "x.jfif", "IMG.JPG_original"}
    assert Image.open(tmp_path / "out" / "IMG.JPG_original").format == "JPEG"
    [line] = [line for line in err.splitlines() if "passed over" in line]
    assert line == (
        "note: passed over: 1 symbolic link (scans/gone.jpg), 1 pipe, socket or device "
        "(scans/pipe.jpg), 1 file of a kind that is not read (scans/notes.txt)"
    )
    # As a shell writes scans/*: what is there and cannot be read is told, and the rest is done.
    given = sorted(f"scans/{path.name}" for path in scans.iterdir() if path.is_file())
    code, _, err = colorize(*given, "scans/gone.jpg", "scans/pipe.jpg", "-o", "again")
    assert code == 1
    assert "2 entries that cannot be read (such as scans/gone.jpg: No such file" in err
    assert (tmp_path / "again" / "a.jpg").exists()


def test_ctrl_c_in_a_terminal(weights, scans, tmp_path):
    photograph = (scans / "a.jpg").read_bytes()
    for i in range(3000):
        (scans / f"{i:05d}.jpg").write_bytes(photograph)
    command = [sys.executable, "-m", "zoo", "colorize", "scans", "-o", "out", "--model", PLAIN]
    process = subprocess.Popen(
        [*command, "--weights", str(weights / f"{PLAIN}.safetensors"), "--device", "cpu"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # Started in the background, as CI may be, this process ignores SIGINT and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "00020.jpg").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted: the files that were finished are whole\n"
    written = list((tmp_path / "out").rglob("*.*"))
    assert 0 < len(written) < 3000
    assert not [path.name for path in written if path.name.startswith(".")]
    for path in written:
        Image.open(path).load()


def test_progress_bar_on_a_terminal(colorize, scans, monkeypatch):
    (scans / "bad.jpg").write_text("no image")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    code, out, err = colorize("scans", "-o", "out")
    assert code == 1
    assert "3/3" in err
    assert "images/s" in err
    assert "error: scans/bad.jpg: not an image of a format that is read here" in err
    assert out.startswith("2 of 3 photographs")
