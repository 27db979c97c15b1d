"""A server of one folder for the browser of this computer, and for nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from zoo.errors import PageError

HOST = "127.0.0.1"

_TYPES: Mapping[str, str] = {
    "": "application/octet-stream",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}
_HEADERS: Mapping[str, str] = {
    # A newer page or model is seen at once; what is unchanged is not sent again.
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class _Handler(SimpleHTTPRequestHandler):
    extensions_map: dict[str, str] = dict(_TYPES)  # noqa: RUF012 - as the base class has it

    def send_head(self) -> Any:
        """Answers with a file of the folder, or with an error."""
        port = self.server.server_port  # type: ignore[attr-defined]
        # A name of somebody else's that leads here is not ours.
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        path = Path(self.translate_path(self.path))
        if not path.resolve().is_relative_to(Path(self.directory).resolve()):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        """No lists of files."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Adds what is the same for all files."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def copyfile(self, source: Any, outputfile: BinaryIO | Any) -> None:
        """Sends a file, as far as the browser wants it."""
        try:
            super().copyfile(source, outputfile)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is told of requests."""


class PageServer(ThreadingHTTPServer):
    """A server of a folder, on 127.0.0.1 alone.

    Args:
        folder: whose files it serves.
        port: the port; 0 for any that is free.

    Raises:
        PageError: the port is taken or not allowed.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int) -> None:
        try:
            super().__init__((HOST, port), partial(_Handler, directory=str(folder)))
        except OSError as error:
            raise PageError(
                f"port {port} cannot be used: {error.strerror}; type another --port, or --port 0 "
                "for any that is free"
            ) from error

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{HOST}:{self.server_port}/"
