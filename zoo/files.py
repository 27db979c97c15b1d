"""Files written whole or not at all, and the folder for what can be made again."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "ZOO_CACHE"
_NAME_BYTES, _SUFFIX = 64, 16


def cache_folder() -> Path:
    """The folder that keeps decoded images, downloads and plugin statuses between runs.

    The user's cache folder for `colorizer-zoo`, or the folder named by `ZOO_CACHE`.
    """
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_cache_dir("colorizer-zoo"))


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target`; renames it to `target` if the block succeeds.

    A reader sees the old file or the new one, never half of one, whenever the writer dies.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Its own name may be as long as the file system allows, in bytes; writers look at the suffix.
    # Whole characters alone: some file systems refuse a name that ends within one.
    start = os.fsencode(target.name)[:_NAME_BYTES].decode(errors="ignore")
    descriptor, name = tempfile.mkstemp(
        dir=target.parent, prefix=f".{start}.", suffix=".partial" + target.suffix[-_SUFFIX:]
    )
    os.close(descriptor)
    partial = Path(name)
    try:
        yield partial
        # mkstemp makes files private to their owner; the result gets what the umask allows.
        umask = os.umask(0)
        os.umask(umask)
        # A share may refuse to change permissions, which is no reason to lose the file.
        with contextlib.suppress(OSError):
            partial.chmod(0o666 & ~umask)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_path(target) as partial:
        partial.write_text(text, encoding="utf-8")
