"""Downloads by torchvision, with a lock, a time limit, and no half folders."""

from __future__ import annotations

import contextlib
import http.client
import json
import pickle
import shutil
import socket
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from zoo.files import locked, write_text

CONNECT_TIMEOUT = 10.0
"""Seconds without an answer after which a download is given up."""

FAILURES = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    tarfile.TarError,
    pickle.UnpicklingError,
    http.client.HTTPException,
)
"""The errors that torchvision lets through when it downloads, verifies, unpacks or reads."""


@contextlib.contextmanager
def downloading(root: Path) -> Iterator[None]:
    """A block in which torchvision may fill `root`: one process at a time, stdout kept free."""
    with (
        locked(root / ".lock"),
        _whole_folders(root),
        _patience(),
        contextlib.redirect_stdout(sys.stderr),
    ):
        yield


@contextlib.contextmanager
def _whole_folders(root: Path) -> Iterator[None]:
    """Removes what an interrupted block unpacked; if the process was killed, at the next start.

    To torchvision, a folder that exists is complete.
    """
    mark = root / ".unfinished.json"

    def remove_new(before: list[str]) -> None:
        for folder in root.iterdir():
            if folder.is_dir() and folder.name not in before:
                shutil.rmtree(folder)
        mark.unlink(missing_ok=True)

    with contextlib.suppress(FileNotFoundError):
        remove_new(json.loads(mark.read_text(encoding="utf-8")))
    before = [folder.name for folder in root.iterdir() if folder.is_dir()]
    write_text(mark, json.dumps(before))
    try:
        yield
    except BaseException:
        remove_new(before)
        raise
    mark.unlink()


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
