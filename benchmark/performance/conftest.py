"""The performance suite's photographs and seed, and the table of ratios at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from zoo.arrays import UInt8Array

_RATIOS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def tiles() -> UInt8Array:
    """64 tiles of 64×64 of the astronaut: N×H×W×3 uint8."""
    torch.manual_seed(0)
    image: UInt8Array = data.astronaut()  # type: ignore[no-untyped-call]
    grid = image.reshape(8, 64, 8, 64, 3).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(64, 64, 64, 3))


def pytest_benchmark_update_json(config: pytest.Config, output_json: Mapping[str, Any]) -> None:
    """Keeps the table of ratios for the end of the output."""
    config.stash[_RATIOS] = ratios(output_json["benchmarks"])


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Prints the table of ratios."""
    lines = config.stash.get(_RATIOS, [])
    if lines:
        terminalreporter.section("plain against fast")
        for line in lines:
            terminalreporter.write_line(line)


def ratios(benchmarks: Sequence[Mapping[str, Any]]) -> list[str]:
    """A Markdown table of medians in ms: each group's plain version beside each fast one.

    Where they say so, a second row has the peak of their processes' memory in MB.
    """
    rows = ["| group | plain | fast | ratio |", "| --- | --- | --- | --- |"]
    medians: dict[str, dict[str, float]] = {}
    for each in benchmarks:
        params = each["params"] or {}
        version = params.get("version") or params.get("precision", "")
        medians.setdefault(each["group"], {})[version] = 1e3 * each["stats"]["median"]
        if peak := each["extra_info"].get("peak_mb"):
            medians.setdefault(f"{each['group']}: peak MB", {})[version] = peak
    for group, versions in medians.items():
        plain = [ms for name, ms in versions.items() if name.startswith(("plain", "fp32"))]
        for name, fast in versions.items():
            if plain and name.startswith(("fast", "auto")):
                what = f"{fast:,.1f} ({name.partition(': ')[2] or name})"
                rows.append(f"| {group} | {plain[0]:,.1f} | {what} | {plain[0] / fast:.2f} |")
    return rows
