"""The clock of a budget in time."""

from __future__ import annotations

import time


class Clock:
    """Seconds of training; stands still while paused (evaluation does not count)."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._running_since: float | None = None

    def start(self) -> None:
        """Starts or resumes; does nothing if it runs."""
        if self._running_since is None:
            self._running_since = time.perf_counter()

    def stop(self) -> None:
        """Stops; does nothing if it stands."""
        if self._running_since is not None:
            self._elapsed += time.perf_counter() - self._running_since
            self._running_since = None

    def set(self, seconds: float) -> None:
        """Makes the clock show so many seconds; it runs or stands as before."""
        self._elapsed = seconds
        if self._running_since is not None:
            self._running_since = time.perf_counter()

    @property
    def seconds(self) -> float:
        """The time run so far."""
        running = time.perf_counter() - self._running_since if self._running_since else 0.0
        return self._elapsed + running
