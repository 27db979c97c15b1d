"""Runs a trial or a timing in its own process, which dies with this one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoo.files import write_text
from zoo.training.budget import Budget
from zoo_benchmark.run.starter import NotStartedError, Starter
from zoo_benchmark.run.trial_spec import FAILED, LOG, PROGRESS, RESULT, SPEC, Spec, read_json

# Loading, scoring and timing may take this long beside the training budget.
_ALLOWANCE_SECONDS = 1800.0
_LONGEST_SECONDS = 24 * 3600.0
_POLL_SECONDS = 0.1

ProgressState = dict[str, Any]


def default_timeout(budget: Budget) -> float:
    """Seconds after which a trial counts as hanging."""
    if budget.unit == "seconds":
        return 1.5 * budget.amount + _ALLOWANCE_SECONDS
    return _LONGEST_SECONDS


def run_trial(
    spec: Spec,
    folder: Path,
    timeout: float,
    on_progress: Callable[[ProgressState], None] | None = None,
    *,
    starter: Starter,
    cancelled: threading.Event | None = None,
) -> dict[str, Any]:
    """Runs one trial or timing in `folder` and returns its result, a failed one included.

    The child holds the read end of a pipe as standard input and exits when it closes, so it
    never outlives this process, `kill -9` included. What it prints goes to `log.txt`.

    Args:
        spec: what to run.
        folder: where its files go; what an earlier attempt left there is removed.
        timeout: seconds after which it counts as hanging.
        on_progress: called a few times a second with what the child says of itself.
        starter: what starts it.
        cancelled: once set, the child is ended.

    Raises:
        KeyboardInterrupt: it was cancelled.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    spec.write(folder / SPEC)
    deadline = time.monotonic() + timeout
    arguments = [str((folder / SPEC).resolve()), str(folder.resolve()), "--lifeline"]
    theirs, ours = os.pipe()
    with os.fdopen(ours, "wb"):
        try:
            with os.fdopen(theirs, "rb") as lifeline, (folder / LOG).open("wb") as log:
                child = starter.start(spec.module, arguments, log, lifeline.fileno())
        except NotStartedError as error:
            _check_wanted(cancelled)
            return _failure(spec, folder, str(error))
        try:
            while child.poll() is None:
                _check_wanted(cancelled)
                if time.monotonic() > deadline:
                    child.kill()
                    return _failure(spec, folder, f"timeout: no result after {timeout:g} s")
                if on_progress is not None:
                    state = read_json(folder / PROGRESS)
                    if state is not None:
                        on_progress(state)
                time.sleep(_POLL_SECONDS)
        finally:
            child.kill()
            while child.poll() is None:
                time.sleep(_POLL_SECONDS / 10)
    result = read_json(folder / RESULT)
    if result is None:
        _check_wanted(cancelled)
        assert child.returncode is not None
        return _failure(spec, folder, _crash_reason(child.returncode, folder))
    return result


def _check_wanted(cancelled: threading.Event | None) -> None:
    if cancelled is not None and cancelled.is_set():
        raise KeyboardInterrupt


def _failure(spec: Spec, folder: Path, reason: str) -> dict[str, Any]:
    result = {"spec": dataclasses.asdict(spec), "status": FAILED, "error": reason}
    with contextlib.suppress(OSError):
        write_text(folder / RESULT, json.dumps(result, indent=1))
    return result


def _crash_reason(code: int, folder: Path) -> str:
    if code == -signal.SIGKILL:
        return "the process was killed (SIGKILL), most likely for lack of memory"
    if code < 0:
        return f"the process died of {signal.strsignal(-code) or 'a signal'} (signal {-code})"
    with contextlib.suppress(OSError):
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
        last = [line.strip() for line in lines if line.strip()][-1:]
        if last:
            return f"the process exited with code {code} before a result: {last[0][:300]}"
    return f"the process exited with code {code} before a result"
