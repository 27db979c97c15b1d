"""Calling the command line: in this process where that is enough, else in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.cli.main import main


@dataclass(frozen=True)
class Answer:
    """What a command left."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def zoo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Answer]:
    """The command line in this process, typed in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("ZOO_LPIPS_WEIGHTS", raising=False)

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["zoo", *arguments])
        capsys.readouterr()
        code = main()
        stdout, stderr = capsys.readouterr()
        return Answer(code, stdout, stderr)

    return run


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
