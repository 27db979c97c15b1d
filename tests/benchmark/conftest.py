"""What the harness' tests share: a small folder of images, misbehaving plugins, one real run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from stevedore import ExtensionManager

from zoo import plugins, registry
from zoo_benchmark.results.run_folder import Run, open_run

RunZoo = Callable[..., subprocess.CompletedProcess[str]]

NAUGHTY = '''
"""Colorizers that do whatever a stranger's code may do."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from zoo.colorizer import Colorizer, Info, TrainingOptions


def describe(name):
    return Info(name=name, title=name, paper="none", license="MIT")


class Good(Colorizer):
    info = describe("good")

    def build(self):
        return nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, L):
        return self.net(L / 100)

    def loss(self, L, ab):
        return (self.forward(L) - ab).square().mean()


class Raises(Good):
    info = describe("raises")

    def loss(self, L, ab):
        raise RuntimeError("the sky\\nis falling")


class NotANumber(Good):
    info = describe("not_a_number")

    def loss(self, L, ab):
        return super().loss(L, ab) * float("nan")


class PaintsNaN(Good):
    info = describe("paints_nan")

    def forward(self, L):
        return super().forward(L) * (1 if self.net.training else float("nan"))


class WrongShape(Good):
    info = describe("wrong_shape")

    def forward(self, L):
        return super().forward(L)[:, :1]

    def loss(self, L, ab):
        return super().forward(L).square().mean()


class Leaves(Good):
    info = describe("leaves")

    def loss(self, L, ab):
        print("leaving now", flush=True)
        os._exit(3)


class Killed(Good):
    info = describe("killed")

    def loss(self, L, ab):
        os.kill(os.getpid(), signal.SIGKILL)


class Exits(Good):
    info = describe("exits")

    def train(self, feed):
        sys.exit("goodbye")


class Talks(Good):
    info = describe("talks")

    def train(self, feed):
        print("a lot\\n" * 20_000)
        print("read", repr(sys.stdin.read()), file=sys.stderr)
        super().train(feed)


class Vanishes(Good):
    """Takes the images away while it is trained."""

    info = describe("vanishes")

    def loss(self, L, ab):
        Path(os.environ["NAUGHTY_FILE"]).rename(os.environ["NAUGHTY_FILE"] + ".gone")
        return super().loss(L, ab)


class Unbuilt(Good):
    info = describe("unbuilt")

    def __init__(self, *args, **keywords):
        raise RuntimeError("no constructor today")


class Hangs(Good):
    """Waits for ever, and so does a process that it has started."""

    info = describe("hangs")

    def loss(self, L, ab):
        helper = subprocess.Popen(["sleep", "600"])
        Path(os.environ["NAUGHTY_FILE"]).write_text(f"{os.getpid()} {helper.pid}")
        time.sleep(600)


class Sticks(Good):
    """Waits for ever inside C code, where no other thread of the process can run."""

    info = describe("sticks")

    def loss(self, L, ab):
        Path(os.environ["NAUGHTY_FILE"]).write_text(f"{os.getpid()}")
        re.match("(a+)+$", "a" * 64 + "b")


@dataclass(frozen=True)
class TwoAtATime(TrainingOptions):
    batch_size: int = 2


@dataclass(frozen=True)
class FourAtATime(TrainingOptions):
    batch_size: int = 4


class PeeksTwo(Good):
    """Keeps the batches it was given."""

    info = describe("peeks_two")
    Options = TwoAtATime

    def train(self, feed):
        torch.manual_seed(sum(map(ord, self.info.name)))
        seen = [torch.cat(batch, dim=1) for batch in feed]
        torch.save(torch.cat(seen), Path(os.environ["NAUGHTY_FILE"] + self.info.name))


class PeeksFour(PeeksTwo):
    info = describe("peeks_four")
    Options = FourAtATime
'''
# Those that come to an end by themselves, and those that write down who or what they saw.
ENDING = {
    "good": "Good",
    "raises": "Raises",
    "not_a_number": "NotANumber",
    "paints_nan": "PaintsNaN",
    "wrong_shape": "WrongShape",
    "leaves": "Leaves",
    "killed": "Killed",
    "exits": "Exits",
    "unbuilt": "Unbuilt",
    "talks": "Talks",
}
WRITING = {
    "vanishes": "Vanishes",
    "hangs": "Hangs",
    "sticks": "Sticks",
    "peeks_two": "PeeksTwo",
    "peeks_four": "PeeksFour",
}


@pytest.fixture(scope="session")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which LPIPS finds no backbone and no network."""
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment.pop("ZOO_LPIPS_WEIGHTS", None)
    # Nothing listens there: a connection is refused at once.
    nowhere = "http://127.0.0.1:9"
    environment |= {"https_proxy": nowhere, "http_proxy": nowhere}
    return environment | {"TORCH_HOME": str(tmp_path_factory.mktemp("torch_home"))}


@pytest.fixture(scope="session")
def run_zoo(
    cache: Path, offline: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> RunZoo:
    """Runs the command line in a process of its own, away from the source tree."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "zoo", *arguments],
            cwd=elsewhere,
            env=offline | {"ZOO_CACHE": str(cache)} | variables,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def small_folder(_tiles: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and four test images of 64 px in colour: trials on it are short."""
    import numpy as np

    root = tmp_path_factory.mktemp("images")
    for number, tile in enumerate(np.asarray(_tiles)[::3]):
        folder = root / ("train" if number < 8 else "test")
        folder.mkdir(exist_ok=True)
        Image.fromarray(tile).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def naughty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with a distribution of misbehaving colorizers."""
    folder = tmp_path_factory.mktemp("naughty")
    (folder / "naughty.py").write_text(NAUGHTY)
    info = folder / "naughty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: naughty\nVersion: 1.0\n")
    lines = [f"{name} = naughty:{cls}" for name, cls in (ENDING | WRITING).items()]
    (info / "entry_points.txt").write_text("\n".join(["[zoo.colorizers]", *lines, ""]))
    return folder


@pytest.fixture
def naughty_here(naughty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The misbehaving colorizers in this process, and in those that it starts."""
    monkeypatch.syspath_prepend(naughty)
    monkeypatch.setenv("PYTHONPATH", str(naughty))
    # stevedore lists the entry points of a process once.
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})


@pytest.fixture(scope="session")
def wreck(
    run_zoo: RunZoo, naughty: Path, small_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> FinishedBench:
    """One bench of all misbehaving colorizers that come to an end; tests must not change it."""
    out = tmp_path_factory.mktemp("wreck") / "out"
    done = run_zoo(
        *("bench", "--models", ",".join(ENDING), "--dataset", f"folder:{small_folder}"),
        *("--budget", "2steps", "--metrics", "psnr,colourfulness", "--no-throughput"),
        *("--no-references", "--jobs", "2", "--device", "cpu", "--json", "--out", str(out)),
        PYTHONPATH=str(naughty),
    )
    return FinishedBench([*ENDING], out, done)


@pytest.fixture(scope="session")
def floors() -> list[str]:
    """The names of the built-in reference rows."""
    return [name for name in _built_in() if registry.colorizer_class(name).info.floor]


@pytest.fixture(scope="session")
def painter() -> str:
    """The first built-in colorizer that is trained and paints RGB."""
    for name in _built_in():
        info = registry.colorizer_class(name).info
        if not info.floor and info.output == "rgb":
            return name
    pytest.fail("no colorizer paints RGB")


def _built_in() -> Sequence[str]:
    listed = plugins.installed(plugins.COLORIZERS)
    return [plugin.name for plugin in listed if plugin.distribution == "colorizer-zoo"]


@dataclass(frozen=True)
class FinishedBench:
    """One real run of `zoo bench`."""

    models: list[str]
    out: Path
    done: subprocess.CompletedProcess[str]

    @property
    def run(self) -> Run:
        return open_run(self.out)

    def folder(self, model: str) -> Path:
        """Of the model's first cell."""
        return next(cell.folder for cell in self.run.cells if cell.label == model)

    def results(self) -> Iterator[dict[str, object]]:
        for cell in self.run.cells:
            yield cell.result


@pytest.fixture(scope="session")
def finished(
    run_zoo: RunZoo, floors: list[str], painter: str, tmp_path_factory: pytest.TempPathFactory
) -> FinishedBench:
    """The floors and one trained model on the embedded photographs, without LPIPS' backbone."""
    out = tmp_path_factory.mktemp("bench") / "out"
    models = [*floors, painter]
    done = run_zoo(
        *("bench", "--models", ",".join(models), "--budget", "2steps"),
        *("--no-throughput", "--no-references", "--jobs", "2", "--device", "cpu"),
        *("--out", str(out)),
    )
    assert done.returncode == 0, done.stderr
    return FinishedBench(models, out, done)
