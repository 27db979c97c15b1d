"""How a trial or a timing runs as a process of its own: `python -m MODULE SPEC OUT`.

A JSON spec in, a folder out. `result.json` is written last: where it stands, the work is
over. A failing model is a result with its reason, and exit code 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from zoo.errors import ZooError
from zoo.files import write_text
from zoo.training.feed import Feed
from zoo_benchmark.run.trial_spec import FAILED, OK, PROGRESS, RESULT, Spec

# How often the parent is told of progress, in seconds.
_PROGRESS_EVERY = 0.25

AnySpec = TypeVar("AnySpec", bound=Spec)
Result = dict[str, Any]


class Progress:
    """Writes what the process is doing to `progress.json`, a few times a second.

    Attributes:
        seconds: how long each stage that is over took.
    """

    def __init__(self, folder: Path) -> None:
        self.seconds: dict[str, float] = {}
        self._path = folder / PROGRESS
        self._last = 0.0
        self._current: tuple[str, float] | None = None

    def stage(self, name: str) -> None:
        """A new stage begins."""
        self.end()
        self._current = name, time.monotonic()
        self._write({"stage": name, "share": 0.0})

    def end(self) -> None:
        """The stage under way is over."""
        if self._current is not None:
            name, start = self._current
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
            self._current = None

    def step(self, feed: Feed) -> None:
        """Training has made a step."""
        if time.monotonic() - self._last > _PROGRESS_EVERY:
            loss = feed.curve.points[-1]["loss"] if feed.curve.points else None
            self._write({"stage": "training", "share": feed.progress, "loss": loss})

    def _write(self, state: dict[str, Any]) -> None:
        write_text(self._path, json.dumps(state))
        self._last = time.monotonic()


Work = Callable[[AnySpec, Path, Result, Progress], None]
"""Does what a spec says, leaves its files in a folder, and fills in the result."""


def run(spec: AnySpec, out: Path, work: Work[AnySpec]) -> Result:
    """Does the work, which fills in the result; returns and writes it, a failure included."""
    out.mkdir(parents=True, exist_ok=True)
    result: Result = {"spec": asdict(spec), "status": OK, "error": ""}
    progress = Progress(out)
    try:
        work(spec, out, result, progress)
    except KeyboardInterrupt:
        raise
    except (Exception, SystemExit) as error:
        result["status"], result["error"] = FAILED, _one_line(error)
        result["traceback"] = traceback.format_exc()
        traceback.print_exc()
    progress.end()
    result["seconds"] = progress.seconds
    write_text(out / RESULT, json.dumps(result, indent=1))
    return result


def main(kind: type[AnySpec], work: Work[AnySpec], arguments: list[str]) -> int:
    """Runs a spec file; 0 if it succeeded, 1 if the model failed, 2 for misuse."""
    lifeline = "--lifeline" in arguments
    paths = [Path(a) for a in arguments if a != "--lifeline"]
    if len(paths) != 2:
        sys.stderr.write(f"usage: python -m {kind.module} SPEC OUT [--lifeline]\n")
        return 2
    if lifeline:
        _tie_to_lifeline()
    spec = kind.read(paths[0])
    assert isinstance(spec, kind)
    return 0 if run(spec, paths[1], work)["status"] == OK else 1


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ZooError):
        return text
    return f"{type(error).__name__}: {text}"


def _tie_to_lifeline() -> None:
    """Ends this process, and what it started, when the parent's end of stdin closes.

    The pipe closes however the parent died. A process beside this one waits for that: a thread
    could not run while a plugin is stuck in C code. Standard input itself is empty from here
    on, so that no plugin reads from the pipe.
    """
    alone = os.getpgrp() != os.getpid()
    target = str(os.getpid()) if alone else f"-{os.getpid()}"
    subprocess.Popen(  # noqa: S603 - fixed arguments
        ["/bin/sh", "-c", 'cat > /dev/null; kill -s KILL -- "$1"', "lifeline", target],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
