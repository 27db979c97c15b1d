"""Processes for cells: every trial or timing gets one of its own, which dies with this one.

Python's fork server imports once what all cells need, which takes seconds, and forks them:
a start takes a tenth of a second. Plugins are imported in the fork alone, so that one cannot
touch the next. A JSON spec in, a folder out: `result.json` is written last, so where it stands,
the work is over, and a failing model is a result with its reason.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from zoo.errors import ZooError
from zoo.files import name_text, write_text
from zoo_benchmark.run.trial_spec import FAILED, LOG, OK, PROGRESS, RESULT, SPEC, Spec, read_json

# A fresh interpreter comes here before it has an output of its own: nothing above imports torch.
if TYPE_CHECKING:
    from zoo.training.feed import Feed

Method = Literal["forkserver", "spawn"]
Result = dict[str, Any]
ProgressState = dict[str, Any]

METHOD: Method = "forkserver" if sys.platform == "linux" else "spawn"
"""How cells start: where system libraries do not survive a fork, as new interpreters."""

PRELOADED = (
    "zoo_benchmark.run.trial",
    "zoo_benchmark.run.timing",
    "torch._dynamo",
    "lpips",
    "timm",
)
"""The modules that cells import before they train, so that a fork has them already."""

_POLL_SECONDS = 0.1
# How often the parent is told of progress.
_PROGRESS_SECONDS = 0.25
# A process may take this long after its result for what it owes at exit, such as a log that is
# sent away. A thread that a plugin forgot would hold it for ever.
_EXIT_SECONDS = 10.0
# `multiprocessing` looks at all processes whenever it starts one, and is not meant for threads.
_ONE_AT_A_TIME = threading.Lock()


# ---- in the parent ---------------------------------------------------------------------------


def prepare(method: Method = METHOD) -> None:
    """Begins to import what the first cell would wait for; ends with this process."""
    if method == "forkserver":
        with _ONE_AT_A_TIME, _unseen():
            _launch_server()


def run_cell(
    spec: Spec,
    folder: Path,
    timeout: float,
    on_progress: Callable[[ProgressState], None] | None = None,
    *,
    threads: int,
    variables: Mapping[str, str] | None = None,
    cancelled: threading.Event | None = None,
    method: Method = METHOD,
) -> Result:
    """Runs one trial or timing in `folder` and returns its result, a failed one included.

    Args:
        spec: what to run.
        folder: where its files go; what an earlier attempt left there is removed.
        timeout: seconds after which it counts as hanging.
        on_progress: called a few times a second with what the process says of itself.
        threads: how many the CPU may use.
        variables: environment variables, beside those of this process.
        cancelled: once set, the process is ended.
        method: whether to fork a server that has all imported, or to start an interpreter.

    Raises:
        KeyboardInterrupt: it was cancelled.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    spec.write(folder / SPEC)
    deadline = time.monotonic() + timeout
    try:
        process = _start(spec, folder, threads, variables or {}, method)
    except (OSError, EOFError) as error:
        _check_wanted(cancelled)
        return record_failure(spec, folder, f"no process could be started: {error}")
    late = False
    try:
        while not late and not wait([process.sentinel], _POLL_SECONDS):
            _check_wanted(cancelled)
            late = time.monotonic() > deadline
            if (folder / RESULT).is_file():
                deadline = min(deadline, time.monotonic() + _EXIT_SECONDS)
            if on_progress is not None and (state := read_json(folder / PROGRESS)) is not None:
                on_progress(state)
    finally:
        code = _end(process)
    result = read_json(folder / RESULT)
    if result is not None:
        return result
    if late:
        return record_failure(spec, folder, f"timeout: no result after {timeout:g} s")
    _check_wanted(cancelled)
    return record_failure(spec, folder, _crash_reason(code, folder))


def record_failure(spec: Spec, folder: Path, reason: str) -> Result:
    """The result of what failed without one, written to its folder where that can be."""
    result = {"spec": asdict(spec), "status": FAILED, "error": reason}
    with contextlib.suppress(OSError):
        write_text(folder / RESULT, json.dumps(result, indent=1))
    return result


def _start(
    spec: Spec, folder: Path, threads: int, variables: Mapping[str, str], method: Method
) -> BaseProcess:
    with _ONE_AT_A_TIME:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **variables}
        context: Any = multiprocessing.get_context(method)  # all of them have processes
        process: BaseProcess = context.Process(
            target=do_cell,
            args=(folder.resolve() / SPEC, folder.resolve(), type(spec), threads, environment),
        )
        with _unseen():
            if method == "forkserver":
                _launch_server()
            process.start()
    return process


def _launch_server() -> None:
    """Starts the fork server where there is none, or where it died."""
    forkserver.set_forkserver_preload(["zoo_benchmark.run.preload"])
    forkserver.ensure_running()


@contextmanager
def _unseen() -> Iterator[None]:
    """Keeps from what is started meanwhile what `multiprocessing` would tell of this process.

    That is the main module, which it runs again, and the folder that a command was typed in,
    which may hold anything, a `zoo.py` included.
    """
    main, safe = sys.modules["__main__"], os.environ.get("PYTHONSAFEPATH")
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        del os.environ["PYTHONSAFEPATH"]
        if safe is not None:
            os.environ["PYTHONSAFEPATH"] = safe


def _end(process: BaseProcess) -> int:
    """Ends a process with whatever it started, such as the workers of a data loader.

    Returns:
        How it ended, as `subprocess` counts.
    """
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it ended, or does not lead its group yet
        process.kill()
    with _ONE_AT_A_TIME:
        process.join()
        code = process.exitcode
        process.close()
    assert code is not None
    return code


def _check_wanted(cancelled: threading.Event | None) -> None:
    if cancelled is not None and cancelled.is_set():
        raise KeyboardInterrupt


def _crash_reason(code: int, folder: Path) -> str:
    if code == -signal.SIGKILL:
        return "the process was killed (SIGKILL), most likely for lack of memory"
    if code == 255:  # `multiprocessing` tells of nothing else then
        return "the process exited with code 255, or what starts processes died, before a result"
    if code < 0:
        return f"the process died of {signal.strsignal(-code) or 'a signal'} (signal {-code})"
    with contextlib.suppress(OSError):
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
        last = [line.strip() for line in lines if line.strip()][-1:]
        if last:
            return f"the process exited with code {code} before a result: {last[0][:300]}"
    return f"the process exited with code {code} before a result"


# ---- in the cell's process -------------------------------------------------------------------


class Progress:
    """The progress of a cell's process, written to `progress.json` a few times a second.

    Attributes:
        seconds: how long each stage that is over took.
    """

    def __init__(self, folder: Path) -> None:
        self.seconds: dict[str, float] = {}
        self._path = folder / PROGRESS
        self._last = 0.0
        self._current: tuple[str, float] | None = None

    def stage(self, name: str) -> None:
        """Begins a new stage."""
        self.end()
        self._current = name, time.monotonic()
        self._write({"stage": name, "share": 0.0})

    def end(self) -> None:
        """Ends the stage under way."""
        if self._current is not None:
            name, start = self._current
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
            self._current = None

    def step(self, feed: Feed) -> None:
        """Takes note of a training step."""
        if time.monotonic() - self._last > _PROGRESS_SECONDS:
            loss = feed.curve.points[-1]["loss"] if feed.curve.points else None
            self._write({"stage": "training", "share": feed.progress, "loss": loss})

    def _write(self, state: ProgressState) -> None:
        write_text(self._path, json.dumps(state))
        self._last = time.monotonic()


def do_cell(
    spec_file: Path, folder: Path, kind: type[Spec], threads: int, environment: Mapping[str, str]
) -> None:
    """Does what a spec says, and leaves the result, a failed one included, in the folder."""
    _set_apart(folder, environment)
    import torch

    torch.set_num_threads(threads)
    spec = kind.read(spec_file)
    result: Result = {"spec": asdict(spec), "status": OK, "error": ""}
    progress = Progress(folder)
    try:
        pkgutil.resolve_name(spec.work)(spec, folder, result, progress)
    except (Exception, SystemExit) as error:
        result["status"], result["error"] = FAILED, _one_line(error)
        result["traceback"] = traceback.format_exc()
        traceback.print_exc()
    progress.end()
    result["seconds"] = progress.seconds
    write_text(folder / RESULT, json.dumps(result, indent=1))
    # What an exit owes to others, and a fork would leave out.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()


def _set_apart(folder: Path, environment: Mapping[str, str]) -> None:
    """Gives this process its group, input, output, environment, and an end with its parent's."""
    os.setsid()
    with Path(os.devnull).open("rb") as nothing, (folder / LOG).open("ab") as log:
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source.fileno(), target)
    forked = multiprocessing.get_start_method() == "forkserver"
    if forked and (missing := [name for name in PRELOADED if name not in sys.modules]):
        sys.stderr.write(f"not imported ahead, which costs time: {', '.join(missing)}\n")
    os.environ.clear()
    os.environ.update(environment)
    # What a plugin starts is started as anywhere else.
    multiprocessing.set_start_method(None, force=True)
    parent = multiprocessing.parent_process()
    assert parent is not None
    # This closes however the parent died. A process beside this one waits for that: a thread
    # could not run while a plugin is stuck in C code.
    subprocess.Popen(  # noqa: S603 - fixed arguments
        ["/bin/sh", "-c", 'cat > /dev/null; kill -s KILL -- "-$1"', "lifeline", str(os.getpid())],
        stdin=parent.sentinel,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _one_line(error: BaseException) -> str:
    text = name_text(" ".join(str(error).split())) or type(error).__name__
    if isinstance(error, ZooError):
        return text
    return f"{type(error).__name__}: {text}"
