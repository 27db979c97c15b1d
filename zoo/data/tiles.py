"""Decoded tiles kept on disk by the content of their sources, and memory-mapped.

Two kinds of file lie in the cache folder's `images/`. A *listing*, named after the paths,
sizes and times of a list of files, remembers each file's SHA-256, so that a second start reads
none of them. An *array* of tiles (`.npy`, with its `.json`), named after those hashes, the
tiles' side and everything else that shapes a pixel, serves every file list with that content.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import PIL

from zoo.arrays import UInt8Array
from zoo.data.dataset import Progress
from zoo.errors import DataError, InputError, PassingInputError
from zoo.files import (
    atomic_path,
    cache_errors,
    cache_folder,
    remove_old_leftovers,
    write_text,
)
from zoo.images.open import (
    RESIZE_KERNEL,
    is_grey,
    may_pass,
    read_image,
    read_size,
    square_tile,
    to_rgb,
)

FORMAT_VERSION = 2
"""Raised whenever the same sources would get other tiles or another layout on disk."""

_AT_ONCE = 256
_THREADS = min(8, os.cpu_count() or 1)
_SAMPLED_ROWS = 256

_Item = TypeVar("_Item")


class FileFacts(NamedTuple):
    """The facts that a listing remembers of a file.

    Attributes:
        sha256: the hash of the file's bytes; empty if they could not be read.
        short_side: the image's, in pixels; 0 if this is no image.
        passing: whether the file could not be read for a reason that may pass.
    """

    sha256: str
    short_side: int
    passing: bool = False


class Passing(str):
    """The reason why there is no tile now, where there may be one another time."""


@dataclass(frozen=True)
class Tiles:
    """Tiles from the cache; positions count the sources from 0.

    Attributes:
        images: N×S×S×3 uint8, sRGB, memory-mapped, in the order of the sources.
        kept: the position of each of the N.
        grey: positions left out because they are grey already.
        skipped: (position, reason) of what could not be decoded.
    """

    images: UInt8Array
    kept: Sequence[int]
    grey: Sequence[int]
    skipped: Sequence[tuple[int, str]]


def scan_files(files: Sequence[Path], progress: Progress | None = None) -> list[FileFacts]:
    """Content hash and short side of each file, from a listing if there is one."""
    digest = hashlib.sha256(f"listing {FORMAT_VERSION}".encode())
    for file in files:
        path = os.fspath(file)
        if not os.path.isabs(path):  # noqa: PTH117 (cheaper, and there may be 100,000 of them)
            path = os.path.abspath(path)  # noqa: PTH100 (resolve() would read every link)
        try:
            # The time of the inode's last change too: tools that restore a file's own time,
            # such as rsync or touch -r, do not restore that.
            status = os.stat(path)  # noqa: PTH116
            state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        except OSError:
            state = (-1, -1, -1)
        digest.update(repr((path, state)).encode("utf-8", "surrogateescape"))
    listing = _folder() / f"listing-{digest.hexdigest()}.json"
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))
        facts = [FileFacts(str(sha256), int(side)) for sha256, side in entries]
        if len(facts) == len(files):
            return facts
    except (OSError, ValueError, TypeError):
        pass
    facts = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for some in _batched(files, _AT_ONCE):
            facts += pool.map(_facts, some)
            if progress:
                progress("reading image files", len(facts), len(files))
    if not any(fact.passing for fact in facts):
        with cache_errors("decoded images"):
            write_text(listing, json.dumps([(fact.sha256, fact.short_side) for fact in facts]))
    return facts


def file_tiles(
    files: Sequence[Path],
    side: int,
    progress: Progress | None = None,
    facts: Sequence[FileFacts] | None = None,
) -> Tiles:
    """The files as square tiles (`zoo.images.open.square_tile`), without the grey ones.

    Args:
        files: what to read.
        side: the side of every tile, in pixels.
        progress: told as files are read.
        facts: what `scan_files` says of them, if it has been asked.
    """
    facts = facts or scan_files(files, progress)

    def tile(file: Path) -> UInt8Array | str:
        try:
            return square_tile(to_rgb(read_image(file)), side)
        except InputError as error:
            return why_no_tile(file, error)

    def decode() -> Iterator[UInt8Array | str]:
        with ThreadPoolExecutor(_THREADS) as pool:
            for some in _batched(files, _AT_ONCE):
                yield from pool.map(tile, some)

    key, known = key_of(facts)
    return cached_tiles(["files", key], side, decode, len(files), progress, keep=known)


def key_of(facts: Iterable[FileFacts]) -> tuple[list[str], bool]:
    """What names the content of files in the cache, and whether it is known of all of them."""
    return [fact.sha256 for fact in facts], not any(fact.passing for fact in facts)


def why_no_tile(file: Path, error: InputError) -> str:
    """What the maker of tiles yields instead of that of a file that could not be read."""
    # The same content may be met again under another name.
    reason = str(error).removeprefix(f"{file}: ")
    return Passing(reason) if isinstance(error, PassingInputError) else reason


def cached_tiles(
    key: object,
    side: int,
    make: Callable[[], Iterable[UInt8Array | str]],
    total: int = 0,
    progress: Progress | None = None,
    *,
    keep_grey: bool = False,
    keep: bool = True,
) -> Tiles:
    """The tiles that `make` yields, from the cache if they are there.

    They are made anew next time where one is missing for a reason that may pass.

    Args:
        key: names the sources; anything that JSON can write.
        side: the side of every tile, in pixels.
        make: yields side×side×3 uint8 tiles, or the reason why there is none; `Passing` where
            it may pass.
        total: how many to expect, for `progress`.
        progress: told as tiles are written.
        keep_grey: whether tiles that are grey already stay.
        keep: whether the tiles are for next time, too; not so where the key is not all known.
    """
    identity = [FORMAT_VERSION, PIL.__version__, RESIZE_KERNEL, side, key]
    identity += ["with grey"] * keep_grey
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    array = _folder() / f"{name}.npy"
    tiles = _read(array, side)
    if tiles is None:
        with cache_errors("decoded images"):
            remove_old_leftovers(_folder())
            notes = _write(array, side, make, total, progress, keep_grey=keep_grey, keep=keep)
        tiles = _read(array, side, notes)
    if tiles is None:
        raise DataError(f"{array}: unreadable right after it was written; check the disk")
    return tiles


def _write(
    array: Path,
    side: int,
    make: Callable[[], Iterable[UInt8Array | str]],
    total: int,
    progress: Progress | None,
    *,
    keep_grey: bool,
    keep: bool,
) -> dict[str, Any]:
    """Writes the tiles, and the notes about them, without which they are not found again."""
    kept: list[int] = []
    grey: list[int] = []
    skipped: list[tuple[int, str]] = []
    # Written as a stream: how many tiles there will be is known at the end only, and on a full
    # disk a write raises an error where a memory map kills the process.
    with atomic_path(array, durable=True) as partial, partial.open("wb") as file:
        header_length = _write_header(file, 0, side)
        for block in _batched(enumerate(make()), _AT_ONCE):
            decoded = [(position, tile) for position, tile in block if not isinstance(tile, str)]
            skipped += [(position, tile) for position, tile in block if isinstance(tile, str)]
            if decoded:
                images = np.stack([tile for _, tile in decoded])
                flags = np.zeros(len(images), bool) if keep_grey else is_grey(images)
                file.write(images[~flags].tobytes())
                for (position, _), flag in zip(decoded, flags, strict=True):
                    (grey if flag else kept).append(position)
            if progress:
                progress("decoding images", block[-1][0] + 1, total)
        file.seek(0)
        if _write_header(file, len(kept), side) != header_length:
            raise AssertionError("NumPy did not pad the header of an array that may grow")
        file.flush()
        checksum = _checksum(_map(partial, len(kept), side))
    notes = {"kept": kept, "grey": grey, "skipped": skipped, "checksum": checksum}
    if keep and not any(isinstance(reason, Passing) for _, reason in skipped):
        write_text(array.with_suffix(".json"), json.dumps(notes))
    return notes


def _read(array: Path, side: int, notes: dict[str, Any] | None = None) -> Tiles | None:
    """The tiles, or None if they are not there, damaged or incomplete; `notes` if not stored."""
    try:
        if notes is None:
            notes = json.loads(array.with_suffix(".json").read_text(encoding="utf-8"))
        kept = [int(position) for position in notes["kept"]]
        images = _map(array, len(kept), side)
        if _checksum(images) != notes["checksum"]:
            return None
        skipped = [(int(position), str(reason)) for position, reason in notes["skipped"]]
        return Tiles(images, kept, [int(position) for position in notes["grey"]], skipped)
    except Exception:
        # Parsers fail in many ways on damaged files; all of it can be made again.
        return None


def _map(array: Path, count: int, side: int) -> UInt8Array:
    shape = (count, side, side, 3)
    if count == 0:
        return np.empty(shape, dtype=np.uint8)
    images: np.memmap[Any, np.dtype[np.uint8]] = np.load(array, mmap_mode="r", allow_pickle=False)
    if images.shape != shape or images.dtype != np.uint8 or not images.flags.c_contiguous:
        raise ValueError(f"{array} holds {images.shape} {images.dtype}")
    if array.stat().st_size != images.offset + images.nbytes:
        raise ValueError(f"{array} is of the wrong length")
    return images


def _checksum(images: UInt8Array) -> int:
    """CRC-32 of all of a small array, of rows spread evenly over a large one.

    Reading some gigabytes at every start would cost more than it guards against: holes that
    a crash of the machine leaves are far longer than the distance between two rows.
    """
    checksum = 0
    for row in np.unique(np.linspace(0, len(images) - 1, min(_SAMPLED_ROWS, len(images))).round()):
        checksum = zlib.crc32(images[int(row)].tobytes(), checksum)
    return checksum


def _write_header(file: Any, count: int, side: int) -> int:
    # NumPy pads the first axis to 21 digits, so that a header can be rewritten in place.
    shape = (count, side, side, 3)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    length: int = file.tell()
    return length


def _batched(items: Iterable[_Item], count: int) -> Iterator[tuple[_Item, ...]]:
    iterator = iter(items)
    while batch := tuple(islice(iterator, count)):
        yield batch


def _facts(file: Path) -> FileFacts:
    try:
        if not file.is_file():  # a FIFO would wait for ever
            return FileFacts("", 0)
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return FileFacts("", 0, may_pass(error))
    try:
        return FileFacts(sha256, min(read_size(file)))
    except InputError as error:
        return FileFacts(sha256, 0, isinstance(error, PassingInputError))


def _folder() -> Path:
    return cache_folder() / "images"
