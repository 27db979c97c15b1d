"""The source files behind a colorizer, as a hash: what other code made is not taken for its own."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path

from zoo.colorizer import Colorizer


def sources_digest(colorizer: Colorizer, more: Iterable[Path] = ()) -> str:
    """SHA-256 of every source file that a colorizer's results can depend on.

    These are the whole packages of its class, of the classes it derives from and of the
    colorizers it holds (an extension's generator), the zoo's own, and those in `more`. A helper
    module that was edited makes another hash.
    """
    held = [value for value in vars(colorizer).values() if isinstance(value, Colorizer)]
    classes = {cls for each in (colorizer, *held) for cls in type(each).__mro__}
    modules = {
        cls.__module__.partition(".")[0]
        for cls in classes
        if issubclass(cls, Colorizer) and cls is not Colorizer
    }
    core = [file for file in Path(__file__).parent.rglob("*.py") if file.parent.name != "cli"]
    digest = hashlib.sha256()
    for root, files in [
        ("zoo", core),
        ("more", more),
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
