"""Weights that a long training ends with, saved wherever there is room for them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from zoo.errors import OutputError
from zoo.files import cache_folder


def save_somewhere(
    save: Callable[[Path], None],
    path: Path,
    wait: Callable[[str], bool] = lambda _: False,
) -> tuple[Path, str]:
    """Saves to `path`, or where that cannot be written, to a folder for temporary files.

    Args:
        save: writes the file.
        path: the file.
        wait: told why `path` cannot be written; True to try again, as where a person has made
            room.

    Returns:
        The file that was written, and why it is another; empty where it is not.

    Raises:
        OutputError: there is no room anywhere.
    """
    while True:
        try:
            save(path)
        except OutputError as error:
            reason = str(error)
        else:
            return path, ""
        if not wait(reason):
            break
    places = (tempfile.gettempdir, lambda: os.fspath(cache_folder()), os.getcwd)
    for place in places:
        with contextlib.suppress(OutputError, OSError):
            other = Path(tempfile.mkdtemp(prefix="zoo-", dir=place())) / path.name
            save(other)
            return other, reason
    raise OutputError(f"{reason}; nor could they be written to any folder for temporary files")
