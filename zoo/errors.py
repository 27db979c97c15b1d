"""Every error a user can meet: what was wrong, the value, and what to type instead.

All derive from `ZooError`, so that the command line can print one line and exit, and a
program can catch one class. Those that describe a bad argument are `ValueError`s too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ZooError(Exception):
    """The base of all errors raised on purpose by the zoo."""


class UnknownNameError(ZooError, ValueError):
    """A name (of a colorizer, dataset, metric, option, …) that nothing answers to."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        close = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5)
        if close:
            instead = f"did you mean {' or '.join(repr(c) for c in close)}?"
        elif self.known:
            instead = f"known are {', '.join(self.known)}."
        else:
            instead = "there are none."
        super().__init__(f"unknown {kind} {name!r}: {instead}{' ' + hint if hint else ''}")


class OptionError(ZooError, ValueError):
    """An option that a colorizer does not have, or a value it cannot take."""


class InputError(ZooError, ValueError):
    """Images, arrays or tensors of the wrong kind, shape or range; unreadable files."""


class PassingInputError(InputError):
    """A file that cannot be read for a reason that may pass: no memory, too many open files."""


class OutputError(ZooError):
    """Results that cannot be written: the place is full, or read-only."""


class BudgetError(ZooError, ValueError):
    """A training budget that cannot be read or that nothing could be done within."""


class DataError(ZooError):
    """A dataset that is missing, empty, corrupt, or could not be downloaded."""


class NotFittedError(ZooError):
    """`predict` or `save` on a colorizer that is neither fitted nor loaded."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} has no weights yet: train it with .fit(images, budget='10min'), "
            f"or load some with zoo.load({name!r}, weights='FILE.safetensors'), or a published "
            "name of zoo weights list"
        )


class WeightsError(ZooError):
    """Weights that are missing, could not be had, or do not fit the model."""


class DownloadError(WeightsError):
    """A file that no server delivered whole and with the right hash."""


class ExportError(ZooError):
    """A colorizer that cannot be exported, or whose exported file gives other colours."""


class PageError(ZooError):
    """A page that cannot be written or served."""


class PluginError(ZooError):
    """A plugin that cannot be imported or does not keep the interface's promises."""


class TrainingError(ZooError):
    """Training that went wrong: the loss is NaN or infinite, or the loop stalled."""


class DeviceError(ZooError, ValueError):
    """A device or precision that this machine does not have."""
