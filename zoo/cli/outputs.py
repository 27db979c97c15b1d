"""Checks of the files that a command is going to write, made before any work."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zoo.errors import InputError
from zoo.files import check_writable


def output_paths(path: Path, *suffixes: str, overwrite: bool = False) -> list[Path]:
    """The files that `-o path` stands for: itself with the first suffix, the others beside it.

    Raises:
        InputError: `path` has another suffix, or a file is there already and may not be replaced.
        OutputError: nothing can be written there.
    """
    if path.suffix.lower() != suffixes[0]:
        better = path.with_suffix(suffixes[0]) if path.name else f"FILE{suffixes[0]}"
        raise InputError(f"-o {path} is not a {suffixes[0]}; type -o {better}")
    files = [path, *(path.with_suffix(suffix) for suffix in suffixes[1:])]
    check_outputs(files, overwrite=overwrite)
    check_writable(files)
    return files


def check_outputs(files: Iterable[Path], *, overwrite: bool) -> None:
    """Checks that these files may be written.

    Raises:
        InputError: one is there already and may not be replaced, or is a folder.
    """
    for file in files:
        if file.is_dir():
            raise InputError(f"{file} is a folder; name a file with -o")
        if file.exists() and not overwrite:
            raise InputError(f"{file} is there already; name another with -o, or type --overwrite")
