"""The server of the page: one folder, this computer alone, the right types."""

from __future__ import annotations

import http.client
import threading

import pytest

from zoo.errors import PageError
from zoo.page.server import PageServer


@pytest.fixture
def served(tmp_path):
    """A folder and its server."""
    folder = tmp_path / "site"
    (folder / "models").mkdir(parents=True)
    for name in ("index.html", "a.js", "a.mjs", "a.wasm", "a.css", "a.json", "a.jpg", "LICENSE"):
        (folder / name).write_text(name)
    (folder / "models/a.onnx").write_text("a model")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    server = PageServer(folder, 0)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def get(server, path, host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    headers = {} if host is None else {"Host": host}
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/a.js?1", "text/javascript; charset=utf-8"),
        ("/a.mjs", "text/javascript; charset=utf-8"),
        ("/a.wasm", "application/wasm"),
        ("/a.css", "text/css; charset=utf-8"),
        ("/a.json", "application/json"),
        ("/a.jpg", "image/jpeg"),
        ("/models/a.onnx", "application/octet-stream"),
        ("/LICENSE", "application/octet-stream"),
    ],
)
def test_files_are_served_with_their_types(served, path, kind):
    answer, body = get(served, path)
    assert answer.status == 200
    assert answer.getheader("Content-Type") == kind
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert body


@pytest.mark.parametrize(
    "path", ["/../secret", "/%2e%2e/secret", "/link", "//etc/passwd", "/models/", "/nothing"]
)
def test_nothing_else_is_served_and_no_folder_is_listed(served, path):
    answer, body = get(served, path)
    assert answer.status == 404
    assert b"secret" not in body
    assert b"a.onnx" not in body


@pytest.mark.parametrize("host", ["example.org", "example.org:80", "127.0.0.1.example.org", ""])
def test_a_name_of_somebody_elses_is_not_answered(served, host):
    for method in ("GET", "HEAD"):
        answer, _ = get(served, "/", host, method)
        assert answer.status == 421


def test_localhost_is_this_computer(served):
    assert get(served, "/", f"localhost:{served.server_port}")[0].status == 200


def test_only_this_computer_reaches_it(served):
    assert served.server_address[0] == "127.0.0.1"
    assert served.url == f"http://127.0.0.1:{served.server_port}/"


def test_a_port_that_is_taken_is_told(served, tmp_path):
    with pytest.raises(PageError, match=rf"port {served.server_port} cannot be used.*--port"):
        PageServer(tmp_path, served.server_port)
