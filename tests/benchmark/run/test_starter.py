"""What a starter starts is a process of its own, told apart from all others."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zoo_benchmark.run.starter import FORKS, NotStartedError, Process, Starter

PROBE = """
import atexit, json, os, sys, threading, time
from pathlib import Path

def late():
    time.sleep(0.3)
    print("by a thread")

def main(arguments):
    out, *rest = arguments
    import torch
    found = {"threads": torch.get_num_threads(), "left": getattr(torch, "left_behind", None)}
    found |= {"variable": os.environ["OMP_NUM_THREADS"], "input": sys.stdin.read()}
    found |= {"pid": os.getpid(), "group": os.getpgrp(), "parent": os.getppid()}
    torch.left_behind = True
    print("printed")
    if "sleep" in rest:
        Path(out).write_text(json.dumps(found))
        time.sleep(600)
    if "owes" in rest:
        threading.Thread(target=late).start()
        atexit.register(print, "at exit")
    Path(out).write_text(json.dumps(found))
    return int(rest[0]) if rest else 0
"""


@pytest.fixture(params=[pytest.param(True, marks=pytest.mark.skipif(not FORKS, reason="no fork"))])
def starter(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Starter]:
    (tmp_path / "zoo_probe.py").write_text(PROBE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Starter({"OMP_NUM_THREADS": "1"}, fork=request.param) as starter:
        yield starter


both = pytest.mark.parametrize("starter", [True, False], indirect=True, ids=["forked", "fresh"])


def _start(starter: Starter, folder: Path, *arguments: str) -> Process:
    with (folder / "log.txt").open("ab") as log, Path(os.devnull).open("rb") as nothing:
        return starter.start(
            "zoo_probe", [str(folder / "found.json"), *arguments], log, nothing.fileno()
        )


def _sleeping(starter: Starter, folder: Path) -> Process:
    """One that has begun and does not end by itself."""
    process = _start(starter, folder, "sleep")
    deadline = time.monotonic() + 60
    while not (folder / "found.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def _ended(process: Process) -> int:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.returncode is not None
    return process.returncode


def _found(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


@both
def test_a_process_gets_what_it_is_given_and_nothing_of_the_one_before(
    starter: Starter, tmp_path: Path
) -> None:
    pids = set()
    for code in (3, 0):
        process = _start(starter, tmp_path, str(code))
        assert _ended(process) == code
        found = _found(tmp_path)
        assert (found["threads"], found["variable"], found["input"]) == (1, "1", "")
        assert found["pid"] == found["group"] == process.pid
        assert found["left"] is None
        pids.add(process.pid)
    assert len(pids) == 2
    assert (tmp_path / "log.txt").read_text() == "printed\n" * 2


@both
def test_threads_are_waited_for_and_exit_handlers_run(starter: Starter, tmp_path: Path) -> None:
    assert _ended(_start(starter, tmp_path, "0", "owes")) == 0
    assert (tmp_path / "log.txt").read_text() == "printed\nby a thread\nat exit\n"


@both
def test_a_killed_one_says_so(starter: Starter, tmp_path: Path) -> None:
    process = _start(starter, tmp_path)
    process.kill()
    assert _ended(process) in (-signal.SIGKILL, 0)
    process = _sleeping(starter, tmp_path)
    assert process.poll() is None
    process.kill()
    assert _ended(process) == -signal.SIGKILL
    process.kill()


def test_after_the_death_of_a_starter_the_next_start_has_a_new_one(
    starter: Starter, tmp_path: Path
) -> None:
    process = _sleeping(starter, tmp_path)
    first = _found(tmp_path)["parent"]
    starter.kill()
    assert _ended(process) == -signal.SIGKILL
    process.kill()
    assert _ended(_start(starter, tmp_path)) == 0
    assert _found(tmp_path)["parent"] != first


def test_a_starter_that_dies_while_it_imports_starts_nothing(
    starter: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter.launch()
    starter.kill()
    monkeypatch.setattr(starter, "launch", lambda: None)
    with pytest.raises(NotStartedError, match="died"):
        _start(starter, tmp_path)
