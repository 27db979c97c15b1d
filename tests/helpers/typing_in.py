"""Typing the commands of a document, one after the other, as a reader would in an empty folder."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from documents import DOCUMENTS, lines_to_type, run
from PIL import Image
from release import release
from skimage import data

import zoo

SHORTER = [
    (r"--lr find --budget \S+", "--lr find --budget 250steps --models fc_generator"),
    # A cluster of its own: `ray` alone would join one that was left behind.
    (r"--executor ray=\S+", "--executor ray=local --models grey --seeds 1"),
    (r"--at \S+", "--at 2steps"),
    (r"^(zoo fit .*--budget) \S+", r"\1 30steps"),
    (r"^(zoo (?:bench|overfit) .*--budget) (?!250|none)\S+", r"\1 3steps"),
    (r"^zoo (bench|overfit) (?!.*--budget)", r"zoo \1 --budget 3steps "),
    (r"^zoo bench (?!.*--no-throughput)", "zoo bench --no-throughput "),
    (r"^zoo lr-find ", "zoo lr-find --steps 20 "),
    (r"/data/tiny", "tiny-imagenet-20k"),
]
"""What is long in a document, and what a test takes in its place; later options win."""

NOT_TYPED = {
    "make": "it installs from the network; test_docs.py compares the targets with the Makefile",
    "pip": "test_strangers_plugin.py builds and installs the same distributions, with no network",
    "git": "there is no server",
    "hf": "there is no hub; test_hub.py has one of its own",
    "python3": "test_strangers_plugin.py makes an environment",
    "source": "test_strangers_plugin.py makes an environment",
    "python": "test_docs_typed.py runs what makes the pictures",
    "eccv16": "it is downloaded; test_downloads.py has a server of its own",
}
"""Lines with one of these words are not typed, and why."""


def is_typed(words: list[str]) -> bool:
    """Whether a line of a shell block is a command of the zoo that needs no network."""
    named = {part for word in words for part in re.split("[:@,]", word)}
    return words[0] == "zoo" and "eccv16" not in named


def shorter(line: str) -> str:
    """A line as a test can wait for it."""
    for long, short in SHORTER:
        line = re.sub(long, short, line)
    return line


def type_in(document: str, folder: Path, plugin: Path | None = None) -> dict[str, str]:
    """Types the commands of a document in `folder`; gives back what each printed.

    What a line presumes is put there first (`PRESUMED`). A training that is resumed was
    interrupted before.
    """
    printed = {}
    for words in filter(is_typed, lines_to_type(DOCUMENTS[document])):
        line = shorter(shlex.join(words))
        for name, make in PRESUMED.items():
            if re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w-])", line):
                _presume(folder, name, make, words)
        runs = sorted(path.name for path in folder.glob("runs/[!.]*"))
        words = [word.replace("<time>", runs[0] if runs else "") for word in shlex.split(line)]
        if "-o" in words and "--resume" not in words:
            _clear(folder / words[words.index("-o") + 1])
        if "--resume" in words:
            _interrupt([word for word in words if word != "--resume"], folder)
        printed[line] = run(["-m", *words], folder, plugin)
    return printed


def _presume(folder: Path, name: str, make: Callable[[Path], None], words: list[str]) -> None:
    """Puts what a line reads in its place; what the line itself is to write, it must write."""
    written = "-o" in words and words[words.index("-o") + 1] == name
    if not written and not (folder / name).exists():
        make(folder / name)


def _clear(output: Path) -> None:
    """Takes the weights of an earlier command, and what was written with them, away."""
    if output.suffix == ".safetensors":
        for path in output.parent.glob(f"{output.stem}*"):
            path.unlink()


def _interrupt(words: list[str], folder: Path) -> None:
    """Starts a training and presses Ctrl-C when its first line of scores is there."""
    _clear(folder / words[words.index("-o") + 1])
    with subprocess.Popen(
        [sys.executable, "-u", "-m", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as training:
        assert training.stderr is not None
        for said in training.stderr:
            if "steps:" in said:
                break
        training.send_signal(signal.SIGINT)
        rest = training.stderr.read()
    assert training.returncode == 130, rest


# ---- what a reader is presumed to have ------------------------------------------------------


def _photographs(folder: Path) -> None:
    """Photographs in colour, and in `test.txt` the names of some."""
    folder.mkdir(parents=True)
    for number, photo in enumerate((data.astronaut(), data.coffee(), data.chelsea())):
        for left in range(0, 300, 50):
            tile = Image.fromarray(photo[:256, left : left + 150])
            tile.save(folder / f"{number}-{left}.png")
    (folder / "test.txt").write_text("0-0.png\n1-50.png\n2-100.png\n", encoding="utf-8")


def _divided(folder: Path) -> None:
    for split in ("train", "val"):
        _photographs(folder / split)


def _scans(folder: Path) -> None:
    folder.mkdir()
    for number, photo in enumerate((data.astronaut(), data.coffee(), data.chelsea())):
        Image.fromarray(photo).convert("L").save(folder / f"{number}.jpg")


def _photograph(path: Path) -> None:
    Image.fromarray(data.astronaut()).save(path)


def _grey_photograph(path: Path) -> None:
    Image.fromarray(data.camera()).save(path)


def _weights(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = zoo.load("zhang_rebalanced", width=0.25, batch_size=2, device="cpu")
    small.fit([data.astronaut()], budget="1steps", size=64).save(path)


def _weights_of_a_run(path: Path) -> None:
    _weights(path.parent.parent.parent / "earlier" / "weights" / path.name)


def _copy_of(given: str) -> Callable[[Path], None]:
    """What another program made: here, the pictures that it was given."""
    return lambda folder: shutil.copytree(folder.parent / given, folder) and None


PRESUMED: Mapping[str, Callable[[Path], None]] = {
    "holiday": _photographs,
    "tiny-imagenet-20k": _divided,
    "tiny-imagenet-100k": _divided,
    "scans": _scans,
    "photos": _photographs,
    "photo.jpg": _photograph,
    "astronaut.png": _photograph,
    "old.jpg": _grey_photograph,
    "mine.safetensors": _weights,
    "runs/<time>/weights/zhang_rebalanced.safetensors": _weights_of_a_run,
    "colorization_release_v2-9b330a0b.pth": lambda path: torch.save(release(width=0.25), path),
    "coloured": _copy_of("to_colour"),
    "painted": _copy_of("pictures/grey"),
    "originals": _copy_of("pictures/truth"),
}
"""Files and folders that documents name and a reader has, each with what makes one."""
