"""The command line: what is quick, what is said, and how mistakes are answered."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from zoo import __version__, plugins, registry

Zoo = Callable[..., Any]

QUICKLY = (
    *("--budget", "1steps", "--metrics", "psnr", "--device", "cpu"),
    *("--no-throughput", "--no-references"),
)


@pytest.fixture
def floor() -> str:
    """The name of a colorizer that takes no time."""
    return next(
        p.name
        for p in plugins.installed(plugins.COLORIZERS)
        if p.distribution == "colorizer-zoo" and registry.colorizer_class(p.name).info.floor
    )


# ---- without torch --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "--json"],
        ["datasets"],
        ["bench", "--help"],
        ["weights", "list"],
    ],
    ids=" ".join,
)
def test_light_commands_do_not_import_torch(zoo_process: Zoo, arguments: list[str]) -> None:
    program = (
        "import sys; from zoo.cli.main import main; code = main();"
        "sys.stdout.flush();"
        "print(sorted({'torch', 'numpy', 'pandas', 'stevedore', 'timm'} & set(sys.modules)),"
        "file=sys.stderr); sys.exit(code)"
    )
    done = zoo_process("-c", program, *arguments)
    assert done.returncode == 0
    assert done.stdout
    assert done.stderr.strip() == "[]"


def test_importing_the_package_does_not_import_torch(zoo_process: Zoo) -> None:
    done = zoo_process("-c", "import sys, zoo; assert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_light_commands_answer_at_once(zoo_process: Zoo) -> None:
    zoo_process("-m", "zoo", "list")
    times = []
    for _ in range(3):
        start = time.perf_counter()
        zoo_process("-m", "zoo", "list")
        times.append(time.perf_counter() - start)
    # A quarter of a second on a quiet machine; importing torch alone takes longer than this.
    assert min(times) < 2


@pytest.mark.parametrize("arguments", [["--version"], ["list"], ["--help"]], ids=" ".join)
def test_as_a_module(zoo_process: Zoo, zoo: Zoo, arguments: list[str]) -> None:
    done = zoo_process("-m", "zoo", *arguments)
    assert done.returncode == 0
    assert done.stderr == ""
    if arguments != ["--help"]:
        assert done.stdout == zoo(*arguments).stdout


# ---- what is printed ------------------------------------------------------------------------


def test_version(zoo: Zoo) -> None:
    assert zoo("--version").stdout == f"colorizer-zoo {__version__}\n"


def test_help_names_every_command(zoo: Zoo) -> None:
    answer = zoo("--help")
    assert all(command in answer.stdout for command in ("list", "info", "datasets", "bench"))


def test_no_command_is_answered_with_help(zoo: Zoo) -> None:
    answer = zoo()
    assert answer.code == 2
    assert "Usage: zoo" in answer.stderr
    assert "bench" in answer.stderr


def test_list(zoo: Zoo) -> None:
    answer = zoo("list")
    assert answer.code == 0
    assert all(name in answer.stdout for name in registry.list_colorizers())
    listed = json.loads(zoo("list", "--json").stdout)
    names = [*registry.list_colorizers(), *registry.list_file_colorizers()]
    assert [plugin["name"] for plugin in listed] == names
    assert all(plugin["distribution"] for plugin in listed)


def test_list_has_no_column_of_titles_that_nothing_is_known_of(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "fresh"))
    heading, _, *lines = zoo("list").stdout.splitlines()
    assert heading.split()[::2] == ["name", "distribution", "status"]
    assert all(line.count("│") == 2 for line in lines if "@" not in line and "│" in line)
    plugins.load_class.cache_clear()
    assert zoo("info", "grey").code == 0  # which imports it
    heading, _, *lines = zoo("list").stdout.splitlines()
    assert heading.split()[::2] == ["name", "distribution", "status", "title"]
    (grey,) = [line for line in lines if line.startswith("grey ")]
    assert registry.colorizer_class("grey").info.title in grey


def test_datasets(zoo: Zoo) -> None:
    listed = json.loads(zoo("datasets", "--json").stdout)
    assert [plugin["name"] for plugin in listed] == plugins.names(plugins.DATASETS)
    assert "photos" in zoo("datasets").stdout


@pytest.mark.parametrize("name", registry.list_colorizers())
def test_info(zoo: Zoo, name: str) -> None:
    info = registry.colorizer_class(name).info
    answer = zoo("info", name)
    assert answer.code == 0
    assert info.title in answer.stdout
    assert info.license in answer.stdout
    described = json.loads(zoo("info", name, "--json").stdout)
    assert described["name"] == name
    for option in described["options"]:
        assert option["name"] in answer.stdout
        assert option.keys() == {"name", "type", "paper", "small", "range", "meaning"}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("zhang_rebalanced", "sides    multiples of 8 px, for which the zoo pads"),
        ("gan_discriminator", "sides    multiples of 8 px from 32 on, for which the zoo pads"),
        ("grey", "checks   known to fail in zoo check: one_image (it paints no colour), "),
    ],
)
def test_info_in_words(zoo: Zoo, name: str, line: str) -> None:
    assert line in zoo("info", name).stdout


def test_info_says_nothing_of_sides_where_any_will_do(zoo: Zoo) -> None:
    assert "sides" not in zoo("info", "grey").stdout


def test_output_survives_an_old_encoding(zoo_process: Zoo) -> None:
    done = zoo_process("-m", "zoo", "list", variables={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_reader_that_leaves_is_no_error(zoo_process: Zoo) -> None:
    program = f"{sys.executable} -m zoo datasets --json | head -n 1"
    done = zoo_process("-c", f"import subprocess; subprocess.run({program!r}, shell=True)")
    assert "Traceback" not in done.stderr


# ---- mistakes -------------------------------------------------------------------------------


def _is_one_line(answer: Any, *parts: str, code: int = 2) -> None:
    assert answer.code == code, answer
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part.lower() in line.lower()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nosuch"], ["nosuch", "zoo --help"]),
        (["lst"], ["did you mean 'list'"]),
        (["list", "--verbos"], ["--verbose"]),
        (["info"], ["missing", "zoo info --help"]),
        (["info", "gery"], ["did you mean 'grey'"]),
        (["info", "grey", "more"], ["more"]),
        (["bench", "--budgt", "1s"], ["--budget"]),
        (["bench", "--size", "abc"], ["--size"]),
        (["bench", "--seeds", "two"], ["--seeds"]),
        (["bench", "--out"], ["--out"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_commands(zoo: Zoo, arguments: list[str], says: list[str]) -> None:
    _is_one_line(zoo(*arguments), *says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--models", "gray"], ["gray", "did you mean 'grey'"]),
        (["--models", "nothing_like_it"], ["nothing_like_it", "zhang_rebalanced"]),
        (["--models", ""], ["empty"]),
        (["--models", "grey,grey"], ["twice"]),
        (["--models", "all,grey"], ["twice"]),
        (["--models", "grey:x=1"], ["x"]),
        (["--models", "zhang_rebalanced:widht=0.5"], ["did you mean 'width'"]),
        (["--models", "zhang_rebalanced:width=wide"], ["width", "float", "wide"]),
        (["--models", "zhang_rebalanced:width=-1"], ["width", "-1"]),
        (["--models", "zhang_rebalanced:learning_rate=nan"], ["learning_rate"]),
        (["--models", "fc_generator:batch_size=0"], ["batch_size", "0"]),
        (["--models", "fc_generator:batch_size=2.5"], ["batch_size", "2.5"]),
        (["--models", "fc_generator:hidden=8,fc_generator:hidden=08"], ["same row"]),
        (["--models", "gan_discriminator:generator=grey"], ["grey", "generator="]),
        (["--models", "gan_discriminator:generator=zhang_clasifier"], ["zhang_classifier"]),
        (["--set", "zhang_rebalanced"], ["NAME.option=value"]),
        (["--models", "grey", "--set", "zhang_rebalanced.width=1"], ["zhang_rebalanced"]),
        (["--set", "zhang_rebalanced.widht=1"], ["did you mean 'width'"]),
        (["--dataset", "photo"], ["did you mean 'photos'"]),
        (["--dataset", "photos:x"], ["photos", "x"]),
        (["--dataset", "folder"], ["folder:PATH"]),
        (["--dataset", "folder:not/there"], ["not/there"]),
        (["--budget", "0s"], ["0s", "20s"]),
        (["--budget", "-5s"], ["-5s"]),
        (["--budget", "banana"], ["banana", "20s"]),
        (["--budget", "20"], ["20", "20s"]),
        (["--budget", "0.5steps"], ["0.5steps"]),
        (["--budget", "9999999h"], ["9999999h"]),
        (["--size", "16"], ["16", "32"]),
        (["--size", "0"], ["32"]),
        (["--size", "-64"], ["32"]),
        (["--size", "65"], ["65", "multiple"]),
        (["--seeds", "0"], ["--seeds"]),
        (["--seeds", "-1"], ["--seeds"]),
        (["--preset", "huge"], ["huge", "small", "paper"]),
        (["--device", "gpu"], ["gpu", "cuda"]),
        (["--device", "cuda:99"], ["cuda:99"]),
        (["--precision", "fp8"], ["fp8", "bf16"]),
        (["--metrics", "pnsr"], ["did you mean 'psnr'"]),
        (["--timeout", "0"], ["--timeout"]),
        (["--timeout", "nan"], ["--timeout"]),
        (["--lpips-weights", "not/there.pth"], ["not/there.pth", "--lpips-weights"]),
        (["--lpips-weights", __file__], [Path(__file__).name]),
        (["--out", __file__], [Path(__file__).name]),
        (["--out", f"{__file__}/below"], ["is a file"]),
        (["--out", str(Path(__file__).parent)], ["neither an empty folder nor a run"]),
    ],
    ids=lambda value: " ".join(value)[-60:].replace("/", "|"),
)
def test_wrong_benches(zoo: Zoo, arguments: list[str], says: list[str]) -> None:
    _is_one_line(zoo("bench", *arguments), *says)
    # Nothing was begun: not even a folder is left.
    assert not list(Path.cwd().iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_one(zoo: Zoo) -> None:
    _is_one_line(zoo("bench", "--device", "cuda"), "cuda", "--device cpu")


def test_an_empty_folder(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _is_one_line(zoo("bench", "--dataset", f"folder:{tmp_path / 'empty'}"), "holds no images")
    assert not list(Path.cwd().iterdir())


def test_a_folder_of_spoilt_files(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "spoilt").mkdir()
    for number in range(3):
        (tmp_path / "spoilt" / f"{number}.jpg").write_bytes(b"no image at all")
    _is_one_line(zoo("bench", "--dataset", f"folder:{tmp_path / 'spoilt'}"), "3", "0.jpg")
    assert not list(Path.cwd().iterdir())


def test_a_folder_of_grey_images(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "grey").mkdir()
    for number in range(4):
        Image.new("RGB", (64, 64), (40 * number,) * 3).save(tmp_path / "grey" / f"{number}.png")
    answer = zoo("bench", "--dataset", f"folder:{tmp_path / 'grey'}", "--metrics", "psnr")
    _is_one_line(answer, "no colour images")
    assert not list(Path.cwd().iterdir())


def test_weights_of_something_else(zoo: Zoo, tmp_path: Path, photographs: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, file)
    answer = zoo("bench", "--lpips-weights", str(file), "--dataset", f"folder:{photographs}")
    _is_one_line(answer, "other.pth")
    assert not list(Path.cwd().iterdir())


# ---- runs -----------------------------------------------------------------------------------


def test_a_spoilt_file_is_named_and_counted_and_the_rest_goes_on(
    zoo: Zoo, floor: str, photographs: Path
) -> None:
    (photographs / "train" / "spoilt.jpg").write_bytes(b"no image at all")
    answer = zoo(
        *("bench", "--models", floor, "--dataset", f"folder:{photographs}", "--json", *QUICKLY)
    )
    assert answer.code == 0, answer.stderr
    printed = json.loads(answer.stdout)
    (note,) = [note for note in printed["notes"] if "unreadable" in note]
    assert "train: 1 " in note
    assert "spoilt.jpg" in note
    assert [row["model"] for row in printed["rows"]] == [floor]
    assert printed["rows"][0]["status"] == "ok"
    # The default folder is runs/<time>, and cells are kept beside it for all runs.
    (out,) = (folder for folder in Path("runs").iterdir() if folder.name != ".cells")
    assert printed["out"] == str(out)


def test_a_full_disk_is_one_line_and_keeps_what_is_finished(
    zoo_process: Zoo, floor: str, photographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = zoo_process(
        *("-c", FILLS_UP, str(out), "bench", "--models", floor, "--seeds", "3"),
        *("--dataset", f"folder:{photographs}", *QUICKLY, "--out", str(out)),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    (error,) = errors
    assert f"cannot write to {out}" in error
    assert "1 of 3 cells are finished" in error or "2 of 3 cells are finished" in error
    with (out / "leaderboard.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["status"] in ("1 of 3 seeds run", "2 of 3 seeds run")
    assert float(row["psnr"]) > 0
    assert not list(out.glob("*.partial*"))


# Ends the parent's room to write, and not its children's, once the second trial is done: what was
# written after the first one would still fit, and has grown.
FILLS_UP = """
import resource, signal, sys
from pathlib import Path
from zoo_benchmark.run import executor
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run_cell = executor.run_cell
def run_and_fill(*arguments, **keywords):
    result = run_cell(*arguments, **keywords)
    if arguments[0].repetition:
        limit = max(table.stat().st_size for table in out.glob("*.csv")) + 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    return result
executor.run_cell = run_and_fill
out = Path(sys.argv.pop(1))
from zoo.cli.main import main
sys.exit(main())
"""
