"""Downloads of files: whole and with the right hash, or a part to go on from.

A download grows in `NAME.part` beside its target, with what is known of its origin in
`NAME.part.json`. After Ctrl-C, a failure or a full disk, the next one asks the server for the
rest (HTTP Range). The target appears by renaming, once SHA-256 over the whole file is right.

`pooch` would not shorten this: it keeps nothing of a download that broke off, compares whole
hashes only, and bounds neither the size nor where a redirect leads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import re
import shutil
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from filelock import Timeout

from zoo._version import __version__
from zoo.errors import DownloadError, WeightsError
from zoo.files import NO_ROOM, atomic_path, free_bytes, locked, way_out, write_text
from zoo.text import parse_json

if TYPE_CHECKING:
    from zoo.data.dataset import Progress

OFFLINE_VARIABLE = "ZOO_OFFLINE"
"""The environment variable that forbids downloads, as `--offline` does."""

TIMEOUT = 15.0
"""Seconds to wait for a connection, and then for each answer of the server."""

MOST_BYTES = 8 << 30
"""The most that is taken of a file whose size is not declared: 8 GiB."""

SHA256_DIGITS = 64
_CHUNK = 1 << 18
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 206, 416


@dataclass(frozen=True)
class Obtained:
    """The result of a download.

    Attributes:
        sha256: the hash of the whole file, 64 hexadecimal digits.
        url: where it came from; empty where the file was there already.
    """

    sha256: str
    url: str


@dataclass(frozen=True)
class _Request:
    """A request to every server: how a file must be, who is told, how long to wait."""

    sha256: str
    size: int | None
    what: str
    progress: Progress | None
    timeout: float


@dataclass(frozen=True)
class _Origin:
    """The origin of the bytes in a part file; 0 and empty where the server did not say."""

    url: str = ""
    etag: str = ""
    modified: str = ""
    total: int = 0

    @property
    def validator(self) -> str:
        """For If-Range: a strong ETag, or else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str,
    size: int | None = None,
    what: str = "",
    progress: Progress | None = None,
    timeout: float = TIMEOUT,
) -> Obtained:
    """Downloads a file to `target`, whole and with the right hash, or not at all.

    Goes on with what an earlier call left, if the server can. A target that has the hash is
    left as it is. One process at a time downloads to a target; others wait for it.

    Args:
        urls: where the file is, tried in this order.
        target: its path; folders are made.
        sha256: its SHA-256, or the first digits of it, at least eight.
        size: in bytes, if known; else at most `MOST_BYTES` are taken.
        what: the file in words, for `progress`.
        progress: told of the bytes that are there.
        timeout: seconds to wait for a connection, and then for each answer of the server.

    Raises:
        DownloadError: no URL gave the file; the failure of each is named.
        WeightsError: a URL is not safe to use, or this machine cannot write the file.
    """
    for url in urls:
        _check_url(url, sha256)
    request = _Request(sha256, size, what or target.name, progress, timeout)
    failures = []
    with _local_errors(target), _locked(target, request):
        if target.is_file() and (digest := file_sha256(target)).startswith(sha256):
            return Obtained(digest, "")
        part = _Part(target)
        for url in urls:
            try:
                digest = _obtain(url, part, request)
            except DownloadError as error:
                failures.append(str(error))
            else:
                part.path.replace(target)
                part.remove()
                return Obtained(digest, url)
    raise DownloadError("; ".join(failures))


def copy_verified(source: Path, target: Path, *, sha256: str) -> Obtained:
    """Copies a file to `target` if its SHA-256 begins with `sha256`.

    Raises:
        WeightsError: no such file, another hash, or it cannot be written.
    """
    if not source.is_file():
        raise WeightsError(f"{source} is no file; check the path")
    with _local_errors(target), atomic_path(target) as partial:
        shutil.copyfile(source, partial)
        digest = file_sha256(partial)
        if not digest.startswith(sha256):
            another = wrong_hash(source, digest, sha256)
            raise WeightsError(f"{another}: it is another file, or damaged")
    # Where another process is downloading, its part file stays.
    with contextlib.suppress(Timeout), locked(_lock_of(target), 0):
        _Part(target).remove()
    return Obtained(digest, "")


def bytes_kept(target: Path) -> int:
    """The size of what an unfinished download of `target` left to go on from."""
    return _Part(target).length


def file_sha256(path: Path) -> str:
    """SHA-256 over the whole file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wrong_hash(what: str | Path, found: str, expected: str) -> str:
    """A sentence that tells two hashes apart, with as many digits as that takes."""
    digits = 8 if found[:8] != expected[:8] else SHA256_DIGITS
    short = [
        f"{h[:digits]}{'…' if min(digits, len(h)) < SHA256_DIGITS else ''}"
        for h in (found, expected)
    ]
    return f"{what} has SHA-256 {short[0]}, not {short[1]}"


def is_offline() -> bool:
    """Whether `ZOO_OFFLINE` forbids downloads: it is set, and not to 0, no, off or false."""
    value = os.environ.get(OFFLINE_VARIABLE, "").strip().lower()
    return value not in ("", "0", "no", "off", "false")


def is_secure(url: str) -> bool:
    """Whether a URL is safe from changes on the way: https, or http to this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _THIS_MACHINE)
    )


def _check_url(url: str, sha256: str) -> None:
    scheme = url.partition("://")[0]
    if scheme not in ("http", "https"):
        raise WeightsError(f"{url} is no URL to download from; give https://…")
    if len(sha256) < SHA256_DIGITS and not is_secure(url):
        raise WeightsError(
            f"{url} is not encrypted, and {len(sha256)} digits of a hash can be forged; "
            "give https://…"
        )


class _Part:
    """The file that a download grows in, and what is known of its origin."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._origin = target.with_name(f"{target.name}.part.json")

    @property
    def length(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def origin(self) -> _Origin:
        try:
            return _Origin(**parse_json(self._origin.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return _Origin()  # nothing known: the hash at the end decides

    def begin(self, origin: _Origin) -> None:
        """Empties the file."""
        self.remove()
        write_text(self._origin, json.dumps(asdict(origin)))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)


def _obtain(url: str, part: _Part, request: _Request) -> str:
    """Fills the part file from a URL and gives its SHA-256; a file with a wrong one is removed."""
    resumed = _receive(url, part, request)
    digest = file_sha256(part.path)
    if digest.startswith(request.sha256):
        return digest
    part.remove()
    if resumed:  # the beginning may have been of another file
        return _obtain(url, part, request)
    raise DownloadError(wrong_hash(url, digest, request.sha256))


def _receive(url: str, part: _Part, request: _Request) -> bool:
    """Receives what is missing of the part file; whether there was something to go on from."""
    start, origin = part.length, part.origin()
    if start and start == origin.total:
        return True
    headers = {"Accept-Encoding": "identity", "User-Agent": f"colorizer-zoo/{__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if origin.url == url and origin.validator:
            headers["If-Range"] = origin.validator
    try:
        response = _open(urllib.request.Request(url, headers=headers), request.timeout)  # noqa: S310
    except (OSError, HTTPException, ValueError) as error:
        if start and isinstance(error, HTTPError) and error.code == _RANGE_NOT_SATISFIABLE:
            part.remove()
            return _receive(url, part, request)
        _fail(url, error)
    with response:
        if response.status != _PARTIAL_CONTENT:
            start = 0
        elif not _continues(response, start, origin, url):
            if not start:
                raise DownloadError(f"{url} gave a part of the file, although all was asked for")
            part.remove()
            return _receive(url, part, request)
        length = response.headers.get("Content-Length") or ""
        total = start + int(length) if length.isdecimal() else 0
        if request.size and total and total != request.size:
            if start:
                part.remove()
            raise DownloadError(f"{url} has {total:,} bytes, not {request.size:,}")
        if total > (request.size or MOST_BYTES):
            raise DownloadError(_too_much(url, request))
        _check_room(part.path.parent, total - start)
        if not start:
            said = {name: response.headers.get(name) or "" for name in ("ETag", "Last-Modified")}
            part.begin(_Origin(url, said["ETag"], said["Last-Modified"], total))
        _append(url, response, part, start, total, request)
    return start > 0


def _append(
    url: str, response: HTTPResponse, part: _Part, start: int, total: int, request: _Request
) -> None:
    done, whole = start, request.size or total
    most = whole or MOST_BYTES
    with part.path.open("ab") as file:
        while chunk := _read(url, response):
            file.write(chunk)
            done += len(chunk)
            if request.progress is not None:
                request.progress(request.what, done, total or request.size or 0)
            if done > most:
                break
    if done > most:
        part.remove()
        raise DownloadError(_too_much(url, request))
    if done < whole:
        raise DownloadError(f"{url} ended after {done:,} of {whole:,} bytes")


def _too_much(url: str, request: _Request) -> str:
    if request.size:
        return f"{url} has more than {request.size:,} bytes"
    return f"{url} has more than {MOST_BYTES:,} bytes, the most where no size is declared"


def _continues(response: HTTPResponse, start: int, origin: _Origin, url: str) -> bool:
    """Whether a partial answer is the rest of what the part file holds."""
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range") or "")
    if span is None or int(span[1]) != start:
        return False
    if origin.total and span[2] not in ("*", str(origin.total)):
        return False
    etag = response.headers.get("ETag") or ""
    return not (origin.url == url and etag and origin.etag and etag != origin.etag)


def _read(url: str, response: HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (OSError, HTTPException, ValueError) as error:
        _fail(url, error)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request to follow, unless that gives up encryption."""
        if is_secure(req.full_url) and not is_secure(newurl):
            raise URLError(f"it redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: urllib.request.Request, timeout: float) -> HTTPResponse:
    """An answer within twice the timeout, which by itself bounds neither DNS nor many addresses."""
    answer: queue.SimpleQueue[HTTPResponse | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer.put(urllib.request.build_opener(_Redirects).open(request, timeout=timeout))
        except Exception as error:
            answer.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        response = answer.get(timeout=2 * timeout)
    except queue.Empty:
        raise TimeoutError(f"no answer within {2 * timeout:g} s") from None
    if isinstance(response, Exception):
        raise response
    return response


def _fail(url: str, error: Exception) -> NoReturn:
    reason = str(getattr(error, "reason", error)) or type(error).__name__
    raise DownloadError(f"downloading {url} failed ({reason})") from error


def _check_room(folder: Path, needed: int) -> None:
    free = free_bytes(folder)
    if free is not None and needed > free:
        raise WeightsError(
            f"{needed:,} bytes are to come, but {folder} has room for {free:,}; make room there"
        )


@contextlib.contextmanager
def _locked(target: Path, request: _Request) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(_lock_of(target), 0))
        except Timeout:
            if request.progress is not None:
                request.progress(f"{request.what}: another process downloads it", 0, 0)
            stack.enter_context(locked(_lock_of(target)))
        yield


def _lock_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


@contextlib.contextmanager
def _local_errors(target: Path) -> Iterator[None]:
    """Turns errors of this machine's disk into a `WeightsError` that blames no server."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or os.fspath(target)
        advice = [way_out(error)]
        if error.errno in NO_ROOM:
            advice.insert(0, "make room there, then the same command goes on from where it was")
        raise WeightsError(
            f"writing {error.filename} failed ({error.strerror or error})"
            f"{''.join(f'; {each}' for each in advice if each)}"
        ) from error


@contextlib.contextmanager
def download_bar() -> Iterator[Progress]:
    """A bar on stderr for people, for as long as the block runs; nothing for pipes."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from zoo.console import PlainConsole

    console = PlainConsole(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("", total=None, visible=False)

        def update(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total or None, visible=True)

        yield update
