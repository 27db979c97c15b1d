"""Files written whole or not at all, room and locks, and the folder for what can be made again."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from zoo.errors import DataError, OutputError

CACHE_VARIABLE = "ZOO_CACHE"

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""The errors of a disk that is full, and of a user whose share of it is."""

NO_WRITING = (*NO_ROOM, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM)
"""The errors of a place that takes no file, or none as large."""

_NAME_BYTES, _SUFFIX_BYTES = 64, 16
_LEFTOVER = re.compile(r"\.[0-9a-f]{8}\.partial[^/]*$")
_DAY = 24 * 3600.0
# Shares that cannot rename, and files that are mounts of their own.
_NO_RENAME = (
    *(errno.EXDEV, errno.EBUSY, errno.ENOSYS, errno.EOPNOTSUPP),
    *(errno.EPERM, errno.EACCES, errno.EINVAL),
)
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def cache_folder() -> Path:
    """The folder that keeps decoded images, downloads and plugin statuses between runs.

    The user's cache folder for `colorizer-zoo`, or the folder named by `ZOO_CACHE`.
    """
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_cache_dir("colorizer-zoo"))


# ---- writing ---------------------------------------------------------------------------------


@contextmanager
def atomic_path(target: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `target`; renames it to `target` if the block succeeds.

    A reader sees the old file or the new one, never half of one, whenever the writer dies. A full
    disk is told of as one that `target` does not fit on.

    Args:
        target: the file; folders are made.
        durable: whether it must outlive a power failure right after, which takes longer.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # A name that is too long is told now, not when the block's work is done.
    with contextlib.suppress(FileNotFoundError):
        target.lstat()
    partial = _partial(target)
    keep = False
    try:
        # The umask and the folder's own rules decide who may read it. Nothing has to be changed
        # afterwards, which some shares refuse.
        partial.touch(exist_ok=False)
        mode = stat.S_IMODE(partial.stat().st_mode)
        yield partial
        if stat.S_IMODE(partial.stat().st_mode) != mode:
            # A library put a private file of its own in its place, as safetensors does.
            with contextlib.suppress(OSError):
                partial.chmod(mode)
        if durable:
            sync(partial)
        try:
            partial.replace(target)
        except OSError as error:
            if error.errno not in _NO_RENAME or target.is_dir():
                raise
            keep = True
            _copy_over(partial, target)
            keep = False
    except OSError as error:
        nameless = error.filename is None and error.errno in (*NO_ROOM, errno.EFBIG, errno.EROFS)
        if nameless or error.filename == os.fspath(partial):
            error.filename, error.filename2 = os.fspath(target), None
        raise
    finally:
        if not keep:
            # A share may let nobody delete, which is no reason to fail.
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def write_text(target: Path, text: str, *, durable: bool = False) -> None:
    """Writes UTF-8 text atomically; bytes of names that are not text are escaped."""
    with atomic_path(target, durable=durable) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def sync(path: Path) -> None:
    """Waits until a file is on the disk, where its file system can tell."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def move_folder(source: Path, target: Path) -> None:
    """Renames a folder; copies it first where `target` is on another disk. It appears whole."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        partial = _partial(target)
        try:
            shutil.copytree(source, partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(source, ignore_errors=True)


def remove_leftovers(targets: Iterable[Path]) -> None:
    """Removes what killed writers of these files left; to be called where nobody writes them."""
    for target in targets:
        with contextlib.suppress(OSError):
            for file in target.parent.glob(f"{_escaped_start(target)}*"):
                if _LEFTOVER.fullmatch(file.name.removeprefix(_start(target))):
                    file.unlink(missing_ok=True)


def remove_old_leftovers(folder: Path) -> None:
    """Removes from a folder what writers left that were killed more than a day ago."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and _LEFTOVER.search(entry.name):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _DAY:
                        Path(entry.path).unlink()


def _start(target: Path) -> str:
    """How the names of a file's temporary ones begin: whole characters, few enough to fit."""
    name = target.name.encode("utf-8", "surrogateescape")[:_NAME_BYTES]
    return f".{name.decode('utf-8', 'ignore')}"


def _escaped_start(target: Path) -> str:
    return re.sub(r"([*?[])", r"[\1]", _start(target))


def _partial(target: Path) -> Path:
    # Writers look at the suffix.
    suffix = target.suffix if len(os.fsencode(target.suffix)) <= _SUFFIX_BYTES else ""
    return target.with_name(f"{_start(target)}.{os.urandom(4).hex()}.partial{suffix}")


def _copy_over(partial: Path, target: Path) -> None:
    """Copies what cannot be renamed.

    Raises:
        OSError: that failed; the message names the file that is whole.
    """
    try:
        shutil.copyfile(partial, target)
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror}; {partial} is whole, move it", os.fspath(target)
        ) from error


# ---- names -----------------------------------------------------------------------------------


def beside(path: Path, ending: str) -> Path:
    """The path of a file beside another, named after it: its name without suffix, and `ending`.

    A name that would be longer than file systems allow is cut, and told apart by a hash.
    """
    return path.parent / longest_name(path.stem, ending)


def longest_name(stem: str, ending: str) -> str:
    """The name `stem` + `ending`; where file systems have no room for it, cut and with a hash."""
    import hashlib

    room = 255 - len(os.fsencode(ending))
    name = stem.encode("utf-8", "surrogateescape")
    if len(name) <= room:
        return stem + ending
    mark = f"~{hashlib.sha256(name).hexdigest()[:8]}"
    return name[: room - len(mark)].decode("utf-8", "ignore") + mark + ending


def name_text(name: str) -> str:
    """A file's name as text that every table and font can hold.

    Bytes that are not UTF-8 become a backslash, an x and two digits; all other names stay.
    """
    if name.isascii():
        return name
    return re.sub("[\ud800-\udfff]", _escape, name)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    # How Python decodes the bytes 0x80 … 0xff of such names.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def name_texts(names: Sequence[str]) -> list[str]:
    """`name_text` of each; they stay different from each other."""
    texts = [name_text(name) for name in names]
    if texts == list(names):
        return texts
    taken = {text for text, name in zip(texts, names, strict=True) if text == name}
    for place, name in enumerate(names):
        if texts[place] != name:
            while texts[place] in taken:
                texts[place] += "'"
            taken.add(texts[place])
    return texts


# ---- room, permission and locks --------------------------------------------------------------


def free_bytes(path: Path) -> int | None:
    """The room where `path` is, or will be; None where the file system does not tell."""
    try:
        usage = shutil.disk_usage(_existing(path))
    except OSError:
        return None
    return usage.free if usage.total else None


def check_room(path: Path, needed: int, what: str, option: str = "-o") -> None:
    """Checks that there is room for `needed` bytes where `path` is to be.

    Raises:
        OutputError: there is not; `what` says what they are, `option` names another place.
    """
    free = free_bytes(path)
    if free is not None and free < needed:
        raise OutputError(
            f"{what} needs {megabytes(needed)}, and {_existing(path.parent)} has "
            f"{megabytes(free)} free; make room there, or type another {option}"
        )


def megabytes(count: int) -> str:
    """Bytes for people: `12.3 MB`."""
    return f"{count / 1e6:,.1f} MB"


def check_writable(targets: Iterable[Path], option: str = "-o") -> None:
    """Tries to write where the folders of these files are, or will be.

    Raises:
        OutputError: nothing can be written there; `option` names another place.
    """
    for place in sorted({_existing(target.parent) for target in targets}):
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise OutputError(
                f"nothing can be written to {place}: {error.strerror}; type another {option}"
            ) from error


def _existing(path: Path) -> Path:
    place = path
    while not os.path.lexists(place):
        place = place.parent
    return place


@contextmanager
def locked(
    path: Path, timeout: float = -1, on_missing: Callable[[str], None] | None = None
) -> Iterator[None]:
    """A block that one process at a time runs; where the file system has no locks, all may.

    Args:
        path: the lock's file; folders are made.
        timeout: seconds to wait for it; for ever where negative.
        on_missing: told where there are no locks.

    Raises:
        filelock.Timeout: another process has it.
        OSError: the file cannot be made.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(path, timeout=timeout))
        except Timeout:
            raise
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                error.filename = error.filename or os.fspath(path)
                raise
            if on_missing is not None:
                on_missing(
                    f"{path.parent} has no locks ({getattr(error, 'strerror', None) or error}); "
                    "see to it that nothing else writes the same files meanwhile"
                )
        yield


@contextmanager
def cache_errors(what: str) -> Iterator[None]:
    """A block that writes to the cache folder, and says where that is if it cannot.

    Raises:
        DataError: it could not; `what` says what was to be kept there.
    """
    try:
        yield
    except TimeoutError:  # of a lock
        raise
    except OSError as error:
        where = error.filename or cache_folder()
        raise DataError(
            f"cannot keep {what} in {where}: {error.strerror or error}; {cache_advice()}"
        ) from error


def cache_advice() -> str:
    """What to do where the cache folder cannot be used."""
    return f"free some space, or name another folder: export {CACHE_VARIABLE}=/path/to/folder"


def way_out(error: OSError) -> str:
    """What to do about an error of the system, by the place it is about; or nothing."""
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error.strerror):
        return temporary_advice()
    if not isinstance(error.filename, str | bytes):
        return ""
    place = Path(os.fsdecode(error.filename)).absolute()
    if place.is_relative_to(cache_folder().absolute()):
        return cache_advice()
    with contextlib.suppress(OSError):
        if place.is_relative_to(tempfile.gettempdir()):
            return temporary_advice()
    return ""


def temporary_advice() -> str:
    """What to do where the folder for temporary files cannot be used."""
    return "free some space, or name another folder: export TMPDIR=/path/to/folder"
