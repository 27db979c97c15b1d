"""Starts trials and timings from a process that has imported what all of them need.

PyTorch and its companions take seconds to import, and every trial and timing has a process of
its own. A starter imports them once, and then forks: a start takes less than a second.
Plugins are imported in the fork alone, so that one cannot touch the next.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self

FORKS = sys.platform == "linux"
"""Elsewhere system libraries do not survive a fork, and every start is a fresh interpreter."""

# What every cell imports before it trains: itself, torch's optimizers, and LPIPS; some want timm.
_PRELOADED = (
    "zoo_benchmark.run.trial",
    "zoo_benchmark.run.timing",
    "torch._dynamo",
    "lpips",
    "timm",
)


class NotStartedError(Exception):
    """There is no process, and the reason."""


class Process:
    """A trial or timing under way: the leader of a process group of its own.

    Attributes:
        pid: its number.
        returncode: how it ended, as `subprocess` counts; None before that.
    """

    def __init__(self, pid: int, starter: Starter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._starter = starter

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        if self.returncode is None:
            self.returncode = self._starter.poll(self.pid)
        return self.returncode

    def kill(self) -> None:
        """Ends it and whatever it started, such as the workers of a data loader."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            if self.poll() is None:  # it has not come to lead its group yet
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)


class Starter:
    """The process that starts others; it begins with the first of them.

    Args:
        variables: of the environment, such as the number of threads.
        fork: whether to fork, or to run a fresh interpreter every time.
    """

    def __init__(self, variables: Mapping[str, str] | None = None, *, fork: bool = FORKS) -> None:
        self._variables, self._fork = dict(variables or {}), fork
        self._server: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        # Whether the server is dead or dying: that may take it a moment.
        self._lost = False

    def launch(self) -> None:
        """Begins to import what the first start would wait for; does nothing where it has."""
        if self._server is not None and not self._lost and self._server.poll() is None:
            return
        self.close()
        self._lost = False
        self._connection, theirs = Pipe()
        self._server = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [
                sys.executable,
                "-P",  # the folder this was typed in may hold anything, a zoo.py included
                "-m",
                __name__,
                *([] if self._fork else ["--fresh"]),
            ],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self._variables},
            # Ctrl-C reaches the parent alone, which then ends what was started.
            start_new_session=True,
        )
        theirs.close()

    def start(self, module: str, arguments: Sequence[str], log: BinaryIO, lifeline: int) -> Process:
        """Runs `module.main(arguments)`.

        Args:
            module: what has this function.
            arguments: what it gets.
            log: where standard output and error go.
            lifeline: a file descriptor, standard input.

        Raises:
            NotStartedError: the system refused, or the starter was ended.
        """
        self.launch()
        message = {"module": module, "arguments": list(arguments)}
        try:
            answer = self._ask(message, log.fileno(), lifeline)
        except ConnectionError as error:
            raise NotStartedError(str(error)) from error
        if "error" in answer:
            raise NotStartedError(answer["error"])
        return Process(answer["pid"], self)

    def poll(self, pid: int) -> int | None:
        """How a process ended; None while it runs. One whose starter died counts as killed."""
        try:
            code: int | None = self._ask({"poll": pid})["code"]
        except ConnectionError:
            return -signal.SIGKILL
        return code

    def kill(self) -> None:
        """Ends the starter, from any thread; what it has started goes on."""
        if self._server is not None:
            self._lost = True
            self._server.kill()

    def close(self) -> None:
        """Ends the starter, unless it is needed again; what it has started goes on."""
        self.kill()
        if self._connection is not None:
            self._connection.close()
        if self._server is not None:
            self._server.wait()
        self._server = self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, message: Mapping[str, object], *handles: int) -> dict[str, Any]:
        assert self._connection is not None
        assert self._server is not None
        try:
            self._connection.send_bytes(json.dumps(message).encode())
            for handle in handles:
                send_handle(self._connection, handle, self._server.pid)
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            self._lost = True
            raise ConnectionError("the process that starts trials died") from error
        return answer


# ---- in the starter's process ----------------------------------------------------------------


def serve(*, fork: bool) -> int:
    """Starts what standard input, a socket, asks for, until its other end closes.

    Returns:
        An exit code.
    """
    connection = Connection(os.dup(0))
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for module in _PRELOADED if fork else ():
        # What cannot be imported here cannot in a trial either, which says so.
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    # What is here stays: no collection in a fork looks at it, or copies its pages, again.
    gc.freeze()
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return 0
        if "poll" in request:
            answer: dict[str, object] = {"code": _code_of(request["poll"])}
        else:
            log, lifeline = recv_handle(connection), recv_handle(connection)
            try:
                pid = os.fork()
            except OSError as error:
                answer = {"error": f"no process could be started: {error.strerror}"}
            else:
                if not pid:
                    connection.close()
                    _become(request["module"], request["arguments"], log, lifeline, fork)
                answer = {"pid": pid}
            os.close(log)
            os.close(lifeline)
        connection.send_bytes(json.dumps(answer).encode())


def _code_of(pid: int) -> int | None:
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # an earlier starter's, which died: nobody will ever know
        return -signal.SIGKILL
    return os.waitstatus_to_exitcode(status) if ended else None


def _become(module: str, arguments: list[str], log: int, lifeline: int, fork: bool) -> NoReturn:
    """In the child: runs the module under its own name, here or in a fresh interpreter."""
    os.setsid()
    for source, target in ((lifeline, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(lifeline)
    if not fork:
        program = f"import sys; from {module} import main; sys.exit(main(sys.argv[1:]))"
        os.execv(sys.executable, [sys.executable, "-P", "-c", program, *arguments])  # noqa: S606
    _leave(importlib.import_module(module).main(arguments))


def _leave(code: int) -> NoReturn:
    """Ends a fork the way multiprocessing ends its own: with all that an exit owes to others.

    What it spares is to take the heap apart, which copies every page of it: more than a second.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(serve(fork="--fresh" not in sys.argv))
