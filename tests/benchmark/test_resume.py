"""Finished cells are taken, failed ones retried, and nothing finished is ever lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo.errors import InputError, OptionError
from zoo.sources import sources_digest
from zoo_benchmark.metrics.weights_files import MetricFiles
from zoo_benchmark.plan import plan_cells
from zoo_benchmark.protocol import find_protocol
from zoo_benchmark.requests import parse_models
from zoo_benchmark.results.run_folder import open_run
from zoo_benchmark.run import executor as executors
from zoo_benchmark.run.executor import LocalExecutor, Task
from zoo_benchmark.run.trial_spec import TimingSpec
from zoo_benchmark.settings import BenchSettings, check_models
from zoo_benchmark.store import Store, key_of

QUICKLY = (
    *("--budget", "1steps", "--metrics", "psnr", "--device", "cpu"),
    *("--no-throughput", "--no-references"),
)
MEETING = '''
import os
import time
from pathlib import Path

from torch import nn

from zoo.colorizer import Colorizer, Info


class Meets(Colorizer):
    """Trains only if its partner is trained at the same time."""

    info = Info(name="meets", title="Meets", paper="none", license="MIT")
    partner = "waits"

    def build(self):
        return nn.Conv2d(1, 2, 1)

    def forward(self, L):
        return self.net(L / 100)

    def loss(self, L, ab):
        folder = Path(os.environ["MEETING"])
        (folder / self.info.name).touch()
        deadline = time.monotonic() + 60
        while not (folder / self.partner).exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.partner} never came")
            time.sleep(0.05)
        assert os.environ["OMP_NUM_THREADS"] == "1"
        return (self.forward(L) - ab).square().mean()


class Waits(Meets):
    info = Info(name="waits", title="Waits", paper="none", license="MIT")
    partner = "meets"
'''


def _stamps(out: Path) -> dict[str, int]:
    cells = open_run(out).cells
    return {
        cell.label: (cell.folder / "result.json").stat().st_mtime_ns for cell in cells if cell.ok
    }


# ---- the command again ----------------------------------------------------------------------


@dataclass(frozen=True)
class Before:
    """A run of models that work and that fail, and how to run it again.

    Attributes:
        out: its folder, a copy for one test.
        stamps: when the results of those that work were written.
        zoo: the command line.
        images: the images.
    """

    out: Path
    stamps: dict[str, int]
    zoo: Any
    images: Path

    def again(self, models: str, *more: str) -> Any:
        return self.zoo(
            *("bench", "--models", models, "--dataset", f"folder:{self.images}"),
            *("--budget", "2steps", "--metrics", "psnr,colourfulness", "--no-throughput"),
            *("--no-references", "--device", "cpu", "--out", str(self.out), *more),
        )


@pytest.fixture
def before(wreck: Any, zoo: Any, naughty_here: None, small_folder: Path, tmp_path: Path) -> Before:
    out = tmp_path / "before"
    shutil.copytree(wreck.out, out)
    return Before(out, _stamps(out), zoo, small_folder)


def test_finished_cells_are_taken_and_failed_ones_retried_in_any_order(before: Before) -> None:
    kept = sorted(path.name for path in (before.out / "cells").iterdir())
    done = before.again("raises,good")
    assert done.code == 1
    assert "good: finished before, taken from" in done.stderr
    assert "raises: FAILED: RuntimeError: the sky is falling" in done.stderr
    assert _stamps(before.out)["good"] == before.stamps["good"]
    assert [cell.label for cell in open_run(before.out).cells] == ["raises", "good"]
    assert sorted(path.name for path in (before.out / "cells").iterdir()) == kept


def test_collect_only_trains_nothing(before: Before) -> None:
    done = before.again("good,hangs", "--collect-only")
    assert done.code == 0, done.stderr
    assert "FAILED" not in done.stderr
    rows = {cell.label: cell.result["status"] for cell in open_run(before.out).cells}
    assert rows == {"good": "ok", "hangs": "not run"}
    assert "1 of 2 cells have not been run" in done.stdout
    assert _stamps(before.out)["good"] == before.stamps["good"]


def test_a_damaged_cell_is_named_and_made_again(before: Before) -> None:
    (cell,) = (c for c in open_run(before.out).cells if c.label == "good")
    scores = (cell.folder / "scores.csv").read_text()
    (cell.folder / "scores.csv").write_text(scores[: len(scores) // 2])
    done = before.again("good")
    assert done.code == 0, done.stderr
    assert f"{cell.key} is damaged (scores.csv was changed); it is made again" in done.stderr
    assert (cell.folder / "scores.csv").read_text() == scores


@pytest.mark.long
def test_force_makes_a_finished_cell_again(before: Before) -> None:
    count = len(list((before.out / "cells").iterdir()))
    done = before.again("good", "--force", "good")
    assert done.code == 0, done.stderr
    assert _stamps(before.out)["good"] > before.stamps["good"]
    assert len(list((before.out / "cells").iterdir())) == count
    done = before.again("good", "--force", "goood")
    assert done.code == 2
    assert "did you mean 'good'" in done.stderr


def test_another_protocol_needs_another_folder(before: Before) -> None:
    done = before.again("good", "--budget", "1steps")
    assert done.code == 2
    assert "holds a run of other rules or images" in done.stderr
    assert _stamps(before.out) == before.stamps


def test_two_benches_do_not_write_to_one_folder(before: Before) -> None:
    from filelock import FileLock

    with FileLock(before.out / ".lock"):
        done = before.again("good")
    assert done.code == 2
    assert f"another zoo bench is writing to --out {before.out}" in done.stderr


@pytest.mark.long
def test_without_out_all_runs_share_their_cells(
    offline: dict[str, str], cache: Path, naughty: Path, small_folder: Path, tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "zoo", "bench", "--models", "good"),
        *("--dataset", f"folder:{small_folder}", *QUICKLY),
    ]
    variables = offline | {"ZOO_CACHE": str(cache), "PYTHONPATH": str(naughty)}
    for number in range(2):
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True
        )
        assert ("finished before" in done.stderr) is (number == 1)
        time.sleep(1.1)  # the folder's name is the second it began in
    runs = [folder for folder in (tmp_path / "runs").iterdir() if folder.name != ".cells"]
    assert len(runs) == 2
    assert {open_run(run).cells[0].key for run in runs} == {
        folder.name for folder in (tmp_path / "runs" / ".cells").iterdir()
    }


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("when", ["in the next cell", "between cells", "before it is put away"])
def test_nothing_finished_is_lost_to_a_kill(
    when: str,
    number: signal.Signals,
    zoo: Any,
    naughty_here: None,
    small_folder: Path,
    tmp_path: Path,
) -> None:
    out, pids = tmp_path / "out", tmp_path / "pids"
    command = ["bench", "--dataset", f"folder:{small_folder}", *QUICKLY, "--out", str(out)]
    bench = subprocess.Popen(
        [sys.executable, "-m", "zoo", *command, "--models", "good,hangs"],
        env=os.environ | {"NAUGHTY_FILE": str(pids)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    pattern = {
        "in the next cell": "pids",
        "between cells": "out/cells/*/result.json",
        "before it is put away": "out/attempts/good-*/result.json",
    }[when]
    while not list(tmp_path.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.001)
    bench.send_signal(number)
    _, told = bench.communicate()
    assert "Traceback" not in told
    assert bench.returncode == (143 if number == signal.SIGTERM else -9)
    run = open_run(out)
    assert {cell.label: cell.result["status"] for cell in run.cells} == {
        "good": "ok",
        "hangs": "not run",
    }
    stamps = _stamps(out)
    done = zoo(*command, "--models", "good")
    assert done.code == 0, done.stderr
    assert "good: finished before, taken from" in done.stderr
    assert _stamps(out) == stamps


def test_a_cell_whose_bench_was_killed_before_it_was_put_away_is_taken(before: Before) -> None:
    (cell,) = (c for c in open_run(before.out).cells if c.label == "good")
    attempt = before.out / "attempts" / cell.key
    shutil.rmtree(attempt, ignore_errors=True)
    cell.folder.rename(attempt)
    (attempt / "files.json").unlink()
    done = before.again("good")
    assert done.code == 0, done.stderr
    assert "good: finished before, taken from" in done.stderr
    assert _stamps(before.out)["good"] == before.stamps["good"]
    assert not attempt.exists()


# ---- side by side ---------------------------------------------------------------------------


@pytest.mark.long
def test_jobs_run_side_by_side_with_their_share_of_threads(
    run_zoo: Any, small_folder: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "plugin"
    info = plugin / "meeting-1.0.dist-info"
    info.mkdir(parents=True)
    (plugin / "meeting.py").write_text(MEETING)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: meeting\nVersion: 1.0\n")
    entries = "[zoo.colorizers]\nmeets = meeting:Meets\nwaits = meeting:Waits\n"
    (info / "entry_points.txt").write_text(entries)
    done = run_zoo(
        *("bench", "--models", "meets,waits", "--dataset", f"folder:{small_folder}", *QUICKLY),
        *("--jobs", "2", "--out", str(tmp_path / "out")),
        PYTHONPATH=str(plugin),
        MEETING=str(tmp_path),
        OMP_NUM_THREADS="2",
    )
    assert done.returncode == 0, done.stderr


def test_timings_never_overlap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def slow(*_: Any, **__: Any) -> dict[str, Any]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.1)
        with lock:
            running -= 1
        return {"status": "ok"}

    monkeypatch.setattr(executors, "run_cell", slow)
    spec = TimingSpec(model="m", label="m", repetition=0, weights="w", dataset="photos", size=64)
    tasks = [Task(spec, tmp_path / str(n), str(n)) for n in range(4)]
    local = LocalExecutor(torch.device("cpu"), jobs=4)
    for alone, expected in ((False, 4), (True, 1)):
        most = 0
        done = list(local.run(tasks, 60, lambda *_: None, alone=alone))
        assert {task.key for task, _ in done} == {"0", "1", "2", "3"}
        assert most == expected


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("cuda", None, {"0", "1"}),
        ("cuda", "4,7", {"4", "7"}),
        ("cuda:1", None, {None}),
        ("cuda:0", "4,7", {None}),
        ("cpu", None, {None}),
    ],
)
def test_jobs_share_out_the_gpus_unless_one_is_named(
    device: str,
    visible: str | None,
    expected: set[str | None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    both, seen = threading.Barrier(2), set()

    def look(*_: Any, variables: dict[str, str], **__: Any) -> dict[str, Any]:
        both.wait(60)
        seen.add(variables.get("CUDA_VISIBLE_DEVICES"))
        return {"status": "ok"}

    monkeypatch.setattr(executors, "run_cell", look)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    spec = TimingSpec(model="m", label="m", repetition=0, weights="w", dataset="photos", size=64)
    tasks = [Task(spec, tmp_path / str(n), str(n)) for n in range(2)]
    assert len(list(LocalExecutor(torch.device(device), jobs=2).run(tasks, 60, print))) == 2
    assert seen == expected


def test_one_gpu_of_a_cluster_cannot_be_named() -> None:
    with pytest.raises(InputError, match=r"--device cuda:1 names one GPU, .*; type --device cuda$"):
        BenchSettings("grey", device="cuda:1", executor="ray=head:6379")
    BenchSettings("grey", device="cuda", executor="ray")
    BenchSettings("grey", device="cuda:1")


# ---- keys -----------------------------------------------------------------------------------


def _keys(hardware: str = "this", **changes: Any) -> dict[str, tuple[str, str]]:
    protocol = replace(find_protocol("quick-steps@1"), **changes.pop("protocol", {}))
    settings = BenchSettings(models=changes.pop("models", "all"), device="cpu", **changes)
    requests = parse_models(settings.models, settings.settings)
    models = check_models(requests, protocol, settings)
    manifests = changes.get("manifests", {"train": "a", "test": "b"})
    store, files = Store(Path("nowhere")), MetricFiles()
    names = (hardware, hardware)
    cells = plan_cells(models, protocol, settings, store, manifests, files, names)
    return {f"{c.spec.label} {c.spec.repetition}": (c.key, c.timing[1]) for c in cells}


def test_a_key_changes_with_all_that_a_result_depends_on() -> None:
    same = _keys()
    assert _keys() == same
    assert len(set(same.values())) == len(same)
    changed = [
        {"protocol": {"size": 96}},
        {"protocol": {"budget": "7steps"}},
        {"protocol": {"seed": 1}},
        {"protocol": {"version": 2}},
        {"protocol": {"learning_rate": "find"}},
        {"protocol": {"input_variety": True}},
        {"protocol": {"crop_scale": (0.5, 1.0)}},
        {"protocol": {"stored_size": 128}},
        {"protocol": {"metrics": {"psnr": 1}}},
        {"precision": "fp32" if zoo.load("grey", device="cpu").precision == "bf16" else "bf16"},
    ]
    for change in changed:
        other = _keys(**change)
        assert other.keys() == same.keys()
        assert not set(other.values()) & set(same.values()), change
    # What else is compared, how often, and where it is written make no difference.
    first = next(iter(same))
    assert _keys(models=first.split()[0])[first] == same[first]
    assert _keys(protocol={"seeds": 2})[first] == same[first]


def test_options_make_another_key() -> None:
    plain = _keys(models="zhang_classifier")
    wide = _keys(models="zhang_classifier:width=0.5")
    assert plain != wide


def test_what_is_in_a_file_that_an_option_names_makes_another_key(tmp_path: Path) -> None:
    path = tmp_path / "prior.csv"
    keys = []
    for content in ("one", "another", "one"):
        path.write_text(content)
        keys.append(_keys(models=f"zhang_rebalanced:prior={path}"))
    assert keys[0] == keys[2] != keys[1]


def test_the_name_of_a_file_that_an_option_names_is_in_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prior.csv").write_text("one")
    shutil.copy(tmp_path / "prior.csv", tmp_path / "moved.csv")
    monkeypatch.chdir(tmp_path)
    named, *others = (
        _keys(models=f"zhang_rebalanced:prior={path}")["zhang_rebalanced 0"]
        for path in ("prior.csv", "moved.csv", tmp_path / "prior.csv")
    )
    assert others == [named, named]
    # Side by side, two of one key would be in each other's way.
    with pytest.raises(OptionError, match="are the same row"):
        _keys(models="zhang_rebalanced:prior=prior.csv,zhang_rebalanced:prior=moved.csv")


def test_hardware_is_in_the_key_of_seconds_alone_and_of_every_timing() -> None:
    for budget, alike in (("20s", False), ("5steps", True), ("1GFLOP", True)):
        here, there = (_keys(h, protocol={"budget": budget}) for h in ("this", "another"))
        for label in here:
            assert (here[label][0] == there[label][0]) is alike
            assert here[label][1] != there[label][1]


def test_an_edited_helper_module_makes_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "helpful"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "__init__.py").write_text("")
    (package / "deep" / "helper.py").write_text("WIDTH = 3\n")
    (package / "model.py").write_text(
        "from torch import nn\n"
        "from zoo.colorizer import Colorizer, Info\n"
        "class Helped(Colorizer):\n"
        "    info = Info(name='helped', title='', paper='none', license='MIT')\n"
        "    def build(self): return nn.Conv2d(1, 2, 1)\n"
        "    def forward(self, L): return self.net(L)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from helpful.model import Helped

    def held() -> Any:
        holder = zoo.load("grey", device="cpu")
        holder.generator = Helped(device="cpu")
        return holder

    before, around = sources_digest(Helped(device="cpu")), sources_digest(held())
    assert sources_digest(Helped(device="cpu")) == before
    (package / "deep" / "helper.py").write_text("WIDTH = 4\n")
    assert sources_digest(Helped(device="cpu")) != before
    # An extension depends on what it wraps.
    assert sources_digest(held()) != around


def test_the_store_takes_a_cell_whole_and_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for content in ("first", "second"):
        attempt = tmp_path / "attempt"
        (attempt / "deep").mkdir(parents=True)
        (attempt / "deep" / "file").write_text(content)
        (attempt / "result.json").write_text(
            json.dumps({"status": "ok", "error": "", "throughput": []})
        )
        store.commit(attempt, "key")
        assert not attempt.exists()
    assert (store.path("key") / "deep" / "file").read_text() == "first"
    assert store.flaw("key") is None
    assert store.flaw("another") is None
    (store.path("key") / "deep" / "file").unlink()
    assert "file" in str(store.flaw("key"))
    (store.path("key") / "files.json").write_text("[")
    assert store.flaw("key") is not None
    for _ in range(2):  # what is not there needs no place
        store.set_aside("key", tmp_path / "attempts")
        assert not store.path("key").exists()


def test_keys_are_file_names() -> None:
    key = key_of("../a:b", {"x": 1})
    assert "/" not in key
    assert key != key_of("../a:b", {"x": 2})
    assert Path(key).name == key
