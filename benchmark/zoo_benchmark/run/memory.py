"""The largest memory that training took, whatever happens in its pauses."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Tracks the peak between `resume` and `pause`.

    On a GPU it is what tensors took at most, on a CPU the process's largest resident size.
    Where the system cannot forget a former peak, what was taken in pauses counts as well.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._peak = 0.0

    def resume(self) -> None:
        """Forgets the peak of the pause."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            with contextlib.suppress(OSError):
                _CLEAR.write_text("5", encoding="ascii")

    def pause(self) -> float:
        """Takes note of the peak so far; returns it in MiB."""
        self._peak = max(self._peak, _peak_mb(self._device))
        return self._peak


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if _STATUS.is_file():
        # getrusage would start from the size of the process that started this one.
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
