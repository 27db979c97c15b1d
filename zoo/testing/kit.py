"""Checks, their failures in plain English, and known failures told from new ones.

A check takes a `Subject` and returns, or raises a `Finding` (the promise is broken), or
`Skipped` (it says nothing of this colorizer on this machine, and why).
"""

from __future__ import annotations

import traceback
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo.testing.global_state import global_state_kept
from zoo.testing.subject import Subject
from zoo.text import docstring

Status = Literal["ok", "failed", "skipped", "known failure"]


class CheckFailed(AssertionError):  # noqa: N818 - it reads as what it is
    """A broken promise: which one, what was seen, and what to change in the plugin.

    Attributes:
        check: the check's id.
        promise: what was promised.
        seen: what was seen instead.
        change: what to do about it.
    """

    def __init__(self, name: str, check: Check, finding: Finding) -> None:
        self.check, self.promise = check.id, check.promise
        self.seen, self.change = finding.seen, finding.change
        super().__init__(
            f"{name} fails {check.id}. The promise: {self.promise} "
            f"Seen: {self.seen} What to do: {self.change}"
        )


# pytest and unittest both report a SkipTest as skipped, with its text as the reason.
class Skipped(unittest.SkipTest):
    """The check says nothing of this colorizer, or not on this machine; the text says why."""


class KnownFailure(Skipped):
    """The check fails, and the plugin says so in `Info.known_failures`."""


class Finding(Exception):  # noqa: N818 - raised by checks only, and always turned into another
    """A finding: what a check saw, and what to change; two sentences."""

    def __init__(self, seen: str, change: str) -> None:
        super().__init__(seen)
        self.seen, self.change = seen, change


@dataclass(frozen=True)
class Check:
    """A check: one promise, and how it is tried.

    Attributes:
        id: a short name, for `--only` and `known_failures`.
        promise: the promise, one sentence.
        function: raises `Finding` where the promise is broken, `Skipped` where it is none.
    """

    id: str
    promise: str
    function: Callable[[Subject], None]

    def run(self, subject: Subject) -> None:
        """Checks the subject; global state is put back whatever the plugin does to it.

        Raises:
            CheckFailed: the promise is broken, or it is kept although it is declared broken.
            KnownFailure: it is broken, as declared.
            Skipped: it does not apply.
        """
        declared = subject.known_failures.get(self.id)
        try:
            with global_state_kept(), attempt(subject, "running it"):
                self.function(subject)
        except Finding as finding:
            if declared is not None:
                raise KnownFailure(f"known failure: {declared}") from finding
            raise CheckFailed(subject.name, self, finding) from finding.__cause__
        if declared is not None:
            passes = Finding(
                f"info.known_failures declares it broken ({declared!r}), but it passes.",
                f"take {self.id!r} out of known_failures.",
            )
            raise CheckFailed(subject.name, self, passes)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a check.

    Attributes:
        check: the check's id.
        promise: the promise that it is about.
        status: `ok`, `failed`, `skipped` or `known failure`.
        reason: why; empty where it is `ok`.
    """

    check: str
    promise: str
    status: Status
    reason: str = ""


def check(function: Callable[[Subject], None]) -> Check:
    """Makes a `Check` of a function: its name is the id, its docstring's first line the promise."""
    promise = docstring(function).splitlines()[0]
    return Check(function.__name__, promise, function)


def outcome_of(check: Check, subject: Subject) -> Outcome:
    """Runs a check; never raises for what the plugin does."""
    status: Status = "ok"
    reason = ""
    try:
        check.run(subject)
    except CheckFailed as failure:
        status, reason = "failed", f"Seen: {failure.seen} What to do: {failure.change}"
    except Skipped as skipped:
        status = "known failure" if isinstance(skipped, KnownFailure) else "skipped"
        reason = str(skipped).removeprefix("known failure: ")
    return Outcome(check.id, check.promise, status, reason)


@contextmanager
def attempt(subject: Subject, what: str) -> Iterator[None]:
    """A block in which an error of the plugin is a finding that says what was tried, and where."""
    try:
        yield
    except (Finding, Skipped):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise Finding(
            f"{what} raised {type(error).__name__}: {text.rstrip('.')}.",
            f"look at {_where(error, subject)}.",
        ) from error


def _where(error: Exception, subject: Subject) -> str:
    """The innermost line of the plugin's own module that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename) == subject.source]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"
