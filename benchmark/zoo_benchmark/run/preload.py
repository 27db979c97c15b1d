"""The imports of the fork server before the first cell comes; it alone imports this."""

from __future__ import annotations

import contextlib
import gc
import importlib
import signal
import warnings

from zoo_benchmark.run.process import PRELOADED

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
