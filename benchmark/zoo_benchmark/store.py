"""The store of finished cells, each under the key of all that its results depend on.

A cell is made in a folder of its own and moved here in one rename when it is complete: a
reader finds all of it or nothing, whenever its writer dies. What is here is never rewritten.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.files import move_folder, write_text
from zoo_benchmark.results.cell_folder import CHECKSUMS, file_checksum, read_cell
from zoo_benchmark.results.checked import DamagedError
from zoo_benchmark.run.trial_spec import PROGRESS, slug

_FORMAT = 1


def key_of(name: str, facts: Mapping[str, Any]) -> str:
    """The folder's name for a cell: readable in front, the hash of the facts behind."""
    text = json.dumps({"format": _FORMAT, **facts}, sort_keys=True, default=str)
    return f"{slug(name)}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


class Store:
    """The store: a folder of finished cells.

    Args:
        folder: where the cells are; made when the first one comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """The folder of a cell, which need not be there."""
        return self.folder / key

    def flaw(self, key: str) -> str | None:
        """The flaw of a stored cell; None where it is whole, or not there."""
        try:
            read_cell(self.path(key), sealed=True)
        except DamagedError as error:
            return str(error)
        return None

    def commit(self, attempt: Path, key: str) -> None:
        """Moves a complete cell here; keeps the one that is here already."""
        (attempt / PROGRESS).unlink(missing_ok=True)
        files = sorted(file for file in attempt.rglob("*") if file.is_file())
        checksums = {file.relative_to(attempt).as_posix(): file_checksum(file) for file in files}
        write_text(attempt / CHECKSUMS, json.dumps(checksums, indent=1))
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            move_folder(attempt, self.path(key))
        except OSError:
            if not self.path(key).is_dir():
                raise
            shutil.rmtree(attempt)

    def set_aside(self, key: str, attempts: Path) -> None:
        """Moves a cell, if it is there, out of the store, to be made again."""
        if not self.path(key).is_dir():
            return
        aside = attempts / f"{key}.{os.getpid()}.old"
        aside.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        move_folder(self.path(key), aside)
        shutil.rmtree(aside, ignore_errors=True)
