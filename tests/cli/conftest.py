"""The command line in a process of its own, and photographs to give it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def zoo_process(cache: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line in a process of its own."""

    def run(
        *arguments: str, variables: dict[str, str] | None = None, **keywords: object
    ) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k != "ZOO_LPIPS_WEIGHTS"}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment | (variables or {}),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=600,
            check=False,
            **keywords,  # type: ignore[call-overload]
        )

    return run


@pytest.fixture
def photographs(tiles: np.ndarray, tmp_path: Path) -> Path:
    """Six training and three test images in colour, 64 px."""
    root = tmp_path / "photographs"
    for number, tile in enumerate(tiles[::4]):
        folder = root / ("train" if number < 6 else "test")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tile).save(folder / f"{number}.png")
    return root
