"""The imports of the fork server before the first cell comes; it alone imports this."""

from __future__ import annotations

import contextlib
import gc
import importlib
import signal
import sys
import warnings
from types import TracebackType

from zoo_benchmark.run.process import PRELOADED


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None, /) -> None:
    """Prints an error, unless it says that whoever asked for a process is gone.

    A bench that is killed while it asks leaves half a request. The server, or its fork, ends for
    that, and nobody is left to whom a traceback would say anything.
    """
    if not issubclass(kind, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _tell
# Ctrl-C is the parent's to hear; the server ignores it, too, as soon as it serves.
_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for _module in PRELOADED:
        # Whatever it is, it must not end the server; each cell's log tells what is missing.
        with contextlib.suppress(Exception, SystemExit):
            importlib.import_module(_module)
signal.signal(signal.SIGINT, _interrupt)
# What is here stays: no collection in a fork looks at it, or copies its pages, again.
gc.freeze()
