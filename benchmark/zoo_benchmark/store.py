"""The store of finished cells, each under the key of all that its results depend on.

A cell is made in a folder of its own and moved here in one rename when it is complete: a
reader finds all of it or nothing, whenever its writer dies. What is here is never rewritten.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zoo
import zoo_benchmark
from zoo.colorizer import Colorizer
from zoo.files import move_folder, write_text
from zoo_benchmark.results.cell_folder import CHECKSUMS, file_checksum, read_cell
from zoo_benchmark.results.checked import DamagedError
from zoo_benchmark.run.trial_spec import PROGRESS, slug

_FORMAT = 1
# What of the two packages decides how a model is trained and scored; plugins, metrics and
# images have entries of their own in the key.
_TRAINING_CODE = (
    "run/given.py",
    "run/trial.py",
    "run/scoring.py",
    "run/learning_curve.py",
)


def key_of(name: str, facts: Mapping[str, Any]) -> str:
    """The folder's name for a cell: readable in front, the hash of the facts behind."""
    text = json.dumps({"format": _FORMAT, **facts}, sort_keys=True, default=str)
    return f"{slug(name)}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def sources_digest(colorizer: Colorizer) -> str:
    """SHA-256 of every source file that a colorizer's results can depend on.

    These are the whole packages of its class, of the classes it derives from and of the
    colorizers it holds (an extension's generator), and the zoo's own training code. A helper
    module that was edited makes another key.
    """
    held = [value for value in vars(colorizer).values() if isinstance(value, Colorizer)]
    classes = {cls for each in (colorizer, *held) for cls in type(each).__mro__}
    modules = {
        cls.__module__.partition(".")[0]
        for cls in classes
        if issubclass(cls, Colorizer) and cls is not Colorizer
    }
    package = Path(zoo.__file__).parent
    core = [file for file in package.rglob("*.py") if file.parent.name != "cli"]
    bench = [Path(zoo_benchmark.__file__).parent / name for name in _TRAINING_CODE]
    digest = hashlib.sha256()
    for root, files in [
        ("zoo", core),
        ("zoo_benchmark", bench),
        *((module, _sources(module)) for module in sorted(modules)),
    ]:
        for file in sorted(files):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{root}/{file.name}:{content}\n".encode())
    return digest.hexdigest()


def _sources(module: str) -> list[Path]:
    """The Python files of a top-level package, or of a lone module and those installed with it."""
    loaded = sys.modules[module]
    if folders := getattr(loaded, "__path__", None):
        return [file for folder in folders for file in Path(folder).rglob("*.py")]
    if loaded.__file__ is None:
        return []
    file = Path(loaded.__file__)
    owners = importlib.metadata.packages_distributions().get(module, [])
    recorded = [
        Path(str(found.locate()))
        for owner in owners
        for found in importlib.metadata.files(owner) or ()
        if found.suffix == ".py"
    ]
    # An editable installation records no sources: what lies beside the module counts then.
    return recorded if file in recorded else list(file.parent.glob("*.py"))


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
