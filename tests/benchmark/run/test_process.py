"""Every cell has a process of its own, told apart from all others, whoever starts it."""

from __future__ import annotations

import importlib
import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zoo_benchmark.run import process
from zoo_benchmark.run.process import METHOD, PRELOADED, run_cell

needs_fork = pytest.mark.skipif(METHOD != "forkserver", reason="no fork server here")
both = pytest.mark.parametrize("method", [pytest.param("forkserver", marks=needs_fork), "spawn"])

PROBE = """
import atexit, json, multiprocessing, os, sys, threading, time
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True)
class Probe:
    does: str = ""
    work = "zoo_probe:look"

    def write(self, path):
        path.write_text(json.dumps(self.does))

    @classmethod
    def read(cls, path):
        return cls(json.loads(path.read_text()))

def late():
    time.sleep(0.3)
    print("by a thread")

def look(spec, out, result, progress):
    import torch
    result |= {"threads": torch.get_num_threads(), "left": getattr(torch, "left_behind", None)}
    result |= {"variables": dict(os.environ), "input": os.read(0, 9).decode() + sys.stdin.read()}
    result |= {"pid": os.getpid(), "group": os.getpgrp(), "parent": os.getppid()}
    result |= {"main": getattr(sys.modules["__main__"], "left_by_main", None)}
    result |= {"method": multiprocessing.get_start_method(allow_none=True)}
    torch.left_behind = True
    print("printed")
    if spec.does == "sleep":
        (out / "found.json").write_text(json.dumps(result))
        time.sleep(600)
    if spec.does.isdigit():
        os._exit(int(spec.does))
    if spec.does == "owes":
        threading.Thread(target=late).start()
        atexit.register(print, "at exit")
    if spec.does == "lingers":
        threading.Thread(target=time.sleep, args=(600,)).start()
"""


@pytest.fixture(scope="module")
def probe_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What `zoo_probe` is imported from, here and in a cell."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "zoo_probe.py").write_text(PROBE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture
def probe(probe_folder: Path) -> Callable[..., Any]:
    """Makes specs of cells that look around."""
    made: Callable[..., Any] = importlib.import_module("zoo_probe").Probe
    return made


@pytest.fixture
def sleeping(
    probe: Callable[..., Any], tmp_path: Path
) -> Iterator[tuple[dict[str, Any], Future[dict[str, Any]], threading.Event]]:
    """What a cell found that does not end by itself, its result to come, and what cancels it."""
    cancelled, out = threading.Event(), tmp_path / "sleeping"
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run_cell, probe("sleep"), out, 600, threads=1, cancelled=cancelled)
        try:
            _wait_for(lambda: (out / "found.json").is_file() or result.done())
            time.sleep(0.1)
            yield json.loads((out / "found.json").read_text()), result, cancelled
        finally:
            cancelled.set()


def _wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _server() -> int:
    pid: int = forkserver._forkserver._forkserver_pid
    return pid


def _lives(pid: int) -> bool:
    """Whether it is a process, and not one that nobody has waited for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


# ---- what a cell gets ------------------------------------------------------------------------


@both
def test_a_cell_gets_what_it_is_given_and_nothing_of_the_one_before(
    method: Any, probe: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = set()
    for threads in (1, 3):
        # The server has begun by now, and this is set all the same.
        monkeypatch.setenv("SET_LATE", str(threads))
        found = run_cell(
            probe(), tmp_path, 60, threads=threads, variables={"MINE": "yes"}, method=method
        )
        assert found["status"] == "ok", found["error"]
        expected = dict(os.environ) | {"OMP_NUM_THREADS": str(threads), "MINE": "yes"}
        ours = found["variables"]
        assert {name: ours.get(name) for name in expected} == expected
        assert ours.keys() - expected.keys() <= {"KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK"}
        assert (found["threads"], found["input"]) == (threads, "")
        assert found["pid"] == found["group"] != os.getpid()
        assert found["left"] is found["main"] is found["method"] is None
        pids.add(found["pid"])
        assert (tmp_path / "log.txt").read_text() == "printed\n"
    assert len(pids) == 2


@both
def test_how_a_process_ended_is_told(
    method: Any, probe: Callable[..., Any], tmp_path: Path
) -> None:
    found = run_cell(probe("3"), tmp_path, 60, threads=1, method=method)
    assert found["status"] == "failed"
    assert found["error"].startswith("the process exited with code 3 before a result")


@both
def test_threads_are_waited_for_and_exit_handlers_run(
    method: Any, probe: Callable[..., Any], tmp_path: Path
) -> None:
    found = run_cell(probe("owes"), tmp_path, 60, threads=1, method=method)
    assert found["status"] == "ok"
    assert (tmp_path / "log.txt").read_text() == "printed\nby a thread\nat exit\n"


@pytest.mark.parametrize(
    ("leave", "leap"),
    [pytest.param(0.1, 0, id="its leave is over"), pytest.param(600, 60, id="it is late")],
)
def test_a_result_counts_although_its_process_does_not_end(
    leave: float,
    leap: float,
    probe: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def clock() -> float:
        """It leaps past the limit once the result is there."""
        return time.monotonic() + leap * (tmp_path / "result.json").is_file()

    monkeypatch.setattr(process, "_EXIT_SECONDS", leave)
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=clock))
    found = run_cell(probe("lingers"), tmp_path, 60, threads=1)
    assert found["status"] == "ok", found["error"]
    assert json.loads((tmp_path / "result.json").read_text()) == found
    assert not _lives(found["pid"])


def test_this_process_stays_as_it_was(probe: Callable[..., Any], tmp_path: Path) -> None:
    main, variables, path = sys.modules["__main__"], dict(os.environ), list(sys.path)
    run_cell(probe(), tmp_path, 60, threads=1)
    assert sys.modules["__main__"] is main
    assert dict(os.environ) == variables
    assert sys.path == path
    assert not multiprocessing.active_children()


# ---- the end of a cell, and of its server ----------------------------------------------------


def test_a_killed_one_says_so(sleeping: Any) -> None:
    found, result, _ = sleeping
    os.kill(found["pid"], signal.SIGKILL)
    assert "killed (SIGKILL)" in result.result(10)["error"]


def test_a_cancelled_one_is_ended(sleeping: Any) -> None:
    found, result, cancelled = sleeping
    cancelled.set()
    with pytest.raises(KeyboardInterrupt):
        result.result(10)
    assert not _lives(found["pid"])


@needs_fork
def test_after_the_death_of_the_server_the_next_start_has_a_new_one(
    sleeping: Any, probe: Callable[..., Any], tmp_path: Path
) -> None:
    found, result, _ = sleeping
    assert found["parent"] == _server()
    os.kill(_server(), signal.SIGKILL)
    assert "what starts processes died" in result.result(10)["error"]
    _wait_for(lambda: not _lives(found["pid"]))
    again = run_cell(probe(), tmp_path / "again", 60, threads=1)
    assert again["status"] == "ok"
    assert again["parent"] == _server() != found["parent"]


@needs_fork
def test_a_server_that_dies_before_it_answers_starts_nothing(
    probe: Callable[..., Any], tmp_path: Path
) -> None:
    process.prepare()
    # As one that still imports, it does not answer.
    os.kill(_server(), signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run_cell, probe(), tmp_path, 60, threads=1)
        time.sleep(0.5)
        assert not result.done()
        os.kill(_server(), signal.SIGKILL)
        assert "no process could be started: " in result.result(10)["error"]


@needs_fork
def test_many_side_by_side_are_not_mixed_up(probe: Callable[..., Any], tmp_path: Path) -> None:
    def run(number: int) -> dict[str, Any]:
        what = str(number) if number % 2 else ""
        return run_cell(probe(what), tmp_path / str(number), 60, threads=1)

    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(run, range(24))):
            expected = f"exited with code {number} " if number % 2 else ""
            assert expected in found["error"]
            assert bool(found["error"]) is bool(expected)


# ---- who starts them -------------------------------------------------------------------------

# No `if __name__ == "__main__"`, as in many a user's script.
SCRIPT = """
import os, sys
from pathlib import Path
with open("ran", "a") as file:
    file.write("once\\n")
left_by_main = True
sys.path.append(os.environ["PROBE"])
from zoo_benchmark.run import process
from zoo_probe import Probe
for method in ("spawn", process.METHOD):
    found = process.run_cell(Probe(), Path(method), 60, threads=1, method=method)
    assert found["status"] == "ok", found["error"]
    assert found["main"] is None
print(found["parent"])
"""


@pytest.mark.parametrize(
    "way",
    ["script", *(pytest.param(way, marks=pytest.mark.long) for way in ("-c", "-m"))],
)
def test_the_main_module_needs_no_guard(way: str, probe_folder: Path, tmp_path: Path) -> None:
    here, scripts = tmp_path / "here", tmp_path / "scripts"
    here.mkdir()
    scripts.mkdir()
    (scripts / "script.py").write_text(SCRIPT)
    variables = os.environ | {"PROBE": str(probe_folder)}
    if way == "script":
        # The folder that it is typed in may hold anything.
        for name in ("zoo", "torch", "timm", "lpips", "typing", "selectors"):
            (here / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    else:
        variables["PYTHONPATH"] = str(scripts)
    arguments = {"script": [str(scripts / "script.py")], "-c": ["-c", SCRIPT]}
    done = subprocess.run(
        [sys.executable, *arguments.get(way, ["-m", "script"])],
        cwd=here,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (here / "ran").read_text() == "once\n"
    # The server has an end with its parent.
    _wait_for(lambda: not _lives(int(done.stdout)), 10)
    assert (here / METHOD / "log.txt").read_text() == "printed\n"


@needs_fork
def test_what_the_server_could_not_import_is_said(probe_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    # Anything but an ImportError would end Python's own fork server.
    (broken / "lpips.py").write_text("raise RuntimeError('no lpips today')")
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PROBE": str(probe_folder), "PYTHONPATH": str(broken)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "forkserver" / "log.txt").read_text()
    assert log == "not imported ahead, which costs time: lpips\nprinted\n"


def test_what_is_preloaded_exists() -> None:
    for name in PRELOADED:
        assert importlib.util.find_spec(name) is not None


@pytest.mark.long
@needs_fork
@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(
            "socket.socket(socket.AF_UNIX).connect(server._forkserver_address);"
            "os.waitpid(server._forkserver_pid, 0)",  # or it would see the end before this
            id="nothing sent",
        ),
        pytest.param("server.connect_to_new_process([])", id="no work sent"),
    ],
)
def test_the_server_ends_without_a_word_when_its_bench_dies_as_it_asks(
    asked: str, tmp_path: Path
) -> None:
    program = (
        "import os, socket; from multiprocessing import forkserver;"
        "from zoo_benchmark.run import process; process.prepare();"
        f"server = forkserver._forkserver; {asked}; os._exit(7)"
    )
    # Its standard error stays open until the server and its forks have ended, too.
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 7
    assert done.stderr == ""


@needs_fork
def test_ctrl_c_while_the_server_imports_is_the_parents_alone(tmp_path: Path) -> None:
    program = (
        "import time; from zoo_benchmark.run import process; process.prepare();"
        "print('prepared', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "prepared\n"
    time.sleep(0.5)
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
    _, stderr = parent.communicate(timeout=60)
    # A traceback, and not two.
    assert stderr.count("KeyboardInterrupt") == 1
