"""What tests have: a cache folder of their own, real image tiles, the command line, a browser."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from zoo.cli.main import main

_SIDE = 64

# It is installed, and its tests run, in an environment of its own (test_strangers_plugin.py).
collect_ignore = ["plugin_example"]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of this test run, for subprocesses too; the user's is never touched."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(folder / "zoo"))
        # stevedore caches entry points there.
        patch.setenv("XDG_CACHE_HOME", str(folder / "xdg"))
        yield folder / "zoo"


@pytest.fixture(scope="session", autouse=True)
def heard_signals() -> Iterator[None]:
    """Ctrl-C and a hang-up are heard, in subprocesses too.

    What a script starts in the background, or with nohup, ignores them, and so would whatever
    the tests start and interrupt.
    """
    before = {}
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Torch computes with one thread, in subprocesses too.

    Networks as small as these gain next to nothing from a second one, and where anything else
    runs, every operation waits for the thread that has no core: a training takes minutes.
    """
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def _tiles() -> np.ndarray:
    cut = []
    for image in (data.astronaut(), data.coffee(), data.chelsea()):
        rows, columns = (side // _SIDE for side in image.shape[:2])
        grid = image[: rows * _SIDE, : columns * _SIDE].reshape(rows, _SIDE, columns, _SIDE, 3)
        # Not the border, where much is background.
        cut.append(grid.swapaxes(1, 2)[1:4, 1:5].reshape(-1, _SIDE, _SIDE, 3))
    return np.concatenate(cut)


@pytest.fixture
def tiles(_tiles: np.ndarray) -> np.ndarray:
    """36×64×64×3 uint8 out of three photographs; a fresh copy."""
    return _tiles.copy()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared(repository: Path) -> Path:
    """The folder of research data beside the source tree."""
    folder = repository.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"the shared research data is not at {folder}")
    return folder


@dataclass(frozen=True)
class Answer:
    """What a command left."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def zoo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Answer]:
    """The command line in this process, typed in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("ZOO_LPIPS_WEIGHTS", raising=False)

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["zoo", *arguments])
        capsys.readouterr()
        code = main()
        stdout, stderr = capsys.readouterr()
        return Answer(code, stdout, stderr)

    return run


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and a network that nobody may touch."""
    import huggingface_hub.constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("ZOO_OFFLINE", "1")

    def forbidden(*_: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    return cache


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, steered by Selenium; it logs its console and what it gets from where."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        # In CI the browser is installed: there this is a failure.
        assert not os.environ.get("CI"), "chromium and chromedriver are missing"
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--disable-dev-shm-usage", "--window-size=1280,900"),
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


@dataclass
class FileServer:
    """Files over HTTP on this machine, as well or as badly as a test wants.

    Attributes:
        files: path to content; others are not found.
        redirects: path to URL.
        ranges: whether Range is understood.
        says: of `ETag` and `Content-Length`, which are sent.
        stop_after: bytes after which the connection is closed, of one answer.
        stall_after: bytes after which nothing more comes.
        silent: whether nothing is ever answered.
        pause: seconds between pieces of 10,000 bytes.
        requests: path and Range of every request so far.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    says: tuple[str, ...] = ("ETag", "Content-Length")
    stop_after: int | None = None
    stall_after: int | None = None
    silent: bool = False
    pause: float = 0.0
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"files": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{path}"

    def close(self) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()


class _Handler(BaseHTTPRequestHandler):
    files: FileServer

    def do_GET(self) -> None:
        server, path = self.files, self.path.removeprefix("/")
        wanted = self.headers["Range"]
        server.requests.append((path, wanted))
        if server.silent:
            server.closing.wait(20)
            return
        if path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[path])
            self.end_headers()
            return
        if path not in server.files:
            self.send_error(404)
            return
        body = server.files[path]
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        if self.headers["If-Range"] not in (None, etag):
            start = 0
        if start >= len(body) > 0:
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if "ETag" in server.says:
            self.send_header("ETag", etag)
        if "Content-Length" in server.says:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self._send(body[start:])

    def _send(self, body: bytes) -> None:
        server = self.files
        end = len(body) if server.stop_after is None else server.stop_after
        server.stop_after = None
        with contextlib.suppress(ConnectionError):  # a reader may have given up
            for at in range(0, end, 10_000):
                stop = min(end, at + 10_000)
                if server.stall_after is not None and stop > server.stall_after:
                    self.wfile.write(body[at : server.stall_after])
                    server.closing.wait(20)
                    return
                self.wfile.write(body[at:stop])
                if server.pause:
                    time.sleep(server.pause)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def file_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server of files, which no proxy stands before."""
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1,localhost")
    for variable in ("ZOO_OFFLINE", "ZOO_WEIGHTS_MIRROR"):
        monkeypatch.delenv(variable, raising=False)
    server = FileServer()
    yield server
    server.close()
