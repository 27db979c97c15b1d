"""Signals that end a command: Ctrl-C, `kill`, and a terminal that goes away."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
ENDING = (signal.SIGTERM, *([HANGUP] if HANGUP is not None else []))
"""The signals that end a process at once, with half a file left, where nobody listens."""


@contextlib.contextmanager
def handled(handle: Callable[[int], None], *others: signal.Signals) -> Iterator[None]:
    """A block in which `handle` is called for `ENDING` and other signals, with their numbers.

    What is ignored stays so: `nohup zoo fit …` outlives its terminal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminals = [fd for fd in (1, 2) if os.isatty(fd)]

    def listen(number: int, _frame: object) -> None:
        if number == HANGUP:
            _write_nowhere(terminals)
        handle(number)

    before = {
        number: signal.signal(number, listen)
        for number in (*ENDING, *others)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_nowhere(descriptors: list[int]) -> None:
    """Points the output to nothing: a terminal that is gone makes an error of every line."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nothing, descriptor)
    os.close(nothing)
