"""Weights on the Hugging Face hub, of which a stand-in runs on this machine."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub.constants
import numpy as np
import pytest
import torch

import zoo
from zoo.errors import DownloadError, WeightsError
from zoo.registry import colorizer_class
from zoo.weights import hub, published
from zoo.weights.file import find_weights

SMALL = {"width": 0.125}


class Hub:
    """A hub: `repositories` by name, each files by name; `requests` are the paths asked for."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.licenses: dict[str, str] = {}
        self.requests: list[str] = []
        self.lies = False
        handler = type("Handler", (_Handler,), {"hub": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def commit(self, repository: str) -> str:
        text = repr(sorted(self.repositories[repository].items()))
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.strip("/")
        self.hub.requests.append(path)
        api = path.startswith("api/models/")
        owner, name, *rest = path.removeprefix("api/models/").split("/")
        repository = f"{owner}/{name}"
        files = self.hub.repositories.get(repository)
        if files is None:
            self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
            return
        commit = self.hub.commit(repository)
        if api:
            asked = rest[1] if rest else commit
            siblings = [
                {
                    "rfilename": each,
                    "size": len(body),
                    "lfs": {"sha256": self._hash(body), "size": len(body), "pointerSize": 1},
                }
                for each, body in files.items()
            ]
            card = {"license": self.hub.licenses.get(repository)}
            answer = {"id": repository, "sha": asked, "siblings": siblings, "cardData": card}
            self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
            return
        body = files["/".join(rest[2:])]
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self._answer(200, body, {"ETag": f'"{etag}"', "X-Repo-Commit": rest[1]})

    def _hash(self, body: bytes) -> str:
        return "0" * 64 if self.hub.lies else hashlib.sha256(body).hexdigest()

    def _answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1,localhost")
    monkeypatch.delenv("ZOO_OFFLINE", raising=False)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "zoo"))
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of the zoo's own."""
    path = tmp_path_factory.mktemp("trained") / "weights.safetensors"
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    colorizer = zoo.load("zhang_classifier", device="cpu", batch_size=2, **SMALL)
    colorizer.fit(images, budget="1steps").save(path)
    return path.read_bytes()


def record_of(text: str) -> dict[str, str]:
    folder = published.weights_folder() / "hf"
    return json.loads((folder / f"{text.removeprefix('hf:')}.json").read_text())


def test_weights_on_the_hub_load_and_are_recorded(fake_hub, trained):
    fake_hub.repositories["me/mine"] = {"README.md": b"# mine", "mine.safetensors": trained}
    colorizer = zoo.load("zhang_classifier", weights="hf:me/mine", device="cpu")
    assert colorizer.is_fitted
    assert colorizer.options.width == 0.125
    record = record_of("hf:me/mine")
    assert record["sha256"] == hashlib.sha256(trained).hexdigest()
    assert record["revision"] == fake_hub.commit("me/mine")
    assert record["pinned"] == "none"
    weights = published.find_by_label("hf:me/mine")
    assert published.status(weights) == "fetched, not pinned"
    assert [each.label for each in published.fetched_from_hub()] == ["hf:me/mine"]
    assert published.find_by_label("zhang_classifier@hf:me/mine") == weights
    # From now on no network is needed.
    fake_hub.requests.clear()
    zoo.load("zhang_classifier", weights="hf:me/mine", device="cpu")
    assert fake_hub.requests == []


def test_nothing_is_fetched_where_that_is_forbidden(fake_hub, trained):
    fake_hub.repositories["me/mine"] = {"mine.safetensors": trained}
    cls = colorizer_class("zhang_classifier")
    with pytest.raises(WeightsError, match="hf:me/mine is not fetched; type zoo weights fetch hf:"):
        find_weights("hf:me/mine", cls, download=False)
    assert fake_hub.requests == []
    zoo.load("zhang_classifier@hf:me/mine", device="cpu")
    assert find_weights("hf:me/mine", cls, download=False).options["width"] == 0.125


def test_the_first_revision_and_hash_hold(fake_hub, trained):
    fake_hub.repositories["me/mine"] = {"mine.safetensors": trained}
    weights = published.find_by_label("hf:me/mine")
    path = published.fetch(weights)
    first = record_of("hf:me/mine")["revision"]
    path.resolve().write_bytes(b"changed")
    assert published.status(weights) == "damaged"
    with pytest.raises(WeightsError, match=r"hf:me/mine is damaged: .* zoo weights fetch hf:"):
        published.verify(weights)
    # Another file under the same name, in another commit, is not taken for it.
    path.resolve().unlink()
    path.unlink()
    fake_hub.repositories["me/mine"] = {"mine.safetensors": b"another"}
    with pytest.raises(DownloadError, match=r"has SHA-256 \w{8}…, not \w{8}…; to take another"):
        published.fetch(weights)
    assert f"api/models/me/mine/revision/{first}" in fake_hub.requests


def test_a_checkpoint_of_another_program_gets_the_license_of_its_card(fake_hub, tmp_path):
    net = zoo.load("siggraph17", device="cpu", **SMALL).build()
    torch.save(net.state_dict(), tmp_path / "net.bin")
    fake_hub.repositories["they/net"] = {"pytorch_model.bin": (tmp_path / "net.bin").read_bytes()}
    fake_hub.licenses["they/net"] = "mit"
    colorizer = zoo.load("siggraph17", weights="hf:they/net", device="cpu")
    assert colorizer.options.width == 0.125
    assert (colorizer.origin.license, colorizer.origin.source) == (
        "mit",
        "https://huggingface.co/they/net",
    )


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["a.safetensors", "b.bin", "c.pth"], "a.safetensors"),
        (["pytorch_model.bin", "optimizer.pt"], "pytorch_model.bin"),
        (["model.safetensors", "ema.safetensors"], "model.safetensors"),
        (["deep/a.ckpt", "config.json"], "deep/a.ckpt"),
    ],
)
def test_the_file_of_a_repository(files, chosen, fake_hub):
    fake_hub.repositories["me/mine"] = {name: name.encode() for name in files}
    assert hub.download("hf:me/mine").path.read_text() == chosen
    for name in files:
        if not name.endswith(".json"):
            assert hub.download(f"hf:me/mine/{name}").path.read_text() == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hf:me", "'hf:me' names no weights on the hub; type hf:OWNER/REPOSITORY"),
        ("hf:me/mine/../../x.pth", "names no weights on the hub"),
        ("hf:../mine", "names no weights on the hub"),
        ("hf:me/mine/notes.txt", r"no file of weights; type one that ends in \.safetensors, \.pth"),
        ("hf:me/none", "the hub has no repository me/none, or it is private; check the name"),
        ("hf:me/two/c.pth", r"me/two has no file c\.pth; it has a\.pth, b\.pth"),
        ("hf:me/two", r"several files of weights; type one of hf:me/two/a\.pth, hf:me/two/b\.pth"),
        ("hf:me/bare", r"hf:me/bare holds no file of weights; it has README\.md"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(text, reason, fake_hub):
    fake_hub.repositories["me/two"] = {"a.pth": b"a", "b.pth": b"b"}
    fake_hub.repositories["me/bare"] = {"README.md": b""}
    with pytest.raises(WeightsError, match=reason) as caught:
        zoo.load("zhang_classifier", weights=text)
    assert "\n" not in str(caught.value)
    assert published.fetched_from_hub() == []


def test_a_file_of_another_hash_than_the_hub_says(fake_hub):
    fake_hub.repositories["me/mine"] = {"a.pth": b"a"}
    fake_hub.lies = True
    with pytest.raises(DownloadError, match=r"SHA-256 \w{8}…, not 00000000…, as the hub says"):
        hub.download("hf:me/mine")


def test_without_a_network_or_the_client(fake_hub, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("ZOO_OFFLINE", "1")
        with pytest.raises(WeightsError, match="ZOO_OFFLINE forbids to download it; type zoo weig"):
            zoo.load("zhang_classifier", weights="hf:me/mine")
    assert fake_hub.requests == []
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(WeightsError, match="hf:me/mine needs the package huggingface-hub; typ"):
            zoo.load("zhang_classifier", weights="hf:me/mine")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"could not be had from the hub .*; connect to"):
        zoo.load("zhang_classifier", weights="hf:me/mine")


def test_the_command_line(fake_hub, trained, zoo, tmp_path):
    fake_hub.repositories["me/mine"] = {"mine.safetensors": trained}
    answer = zoo("weights", "fetch", "hf:me/mine")
    assert answer.code == 0
    assert "hf:me/mine (fetched, not pinned)" in answer.stdout
    assert Path(zoo("weights", "where", "hf:me/mine").stdout.strip()).read_bytes() == trained
    assert "hf:me/mine (ok)" in zoo("weights", "verify").stdout
    rows = json.loads(zoo("weights", "list", "--json").stdout)
    assert {row["name"]: row["status"] for row in rows}["hf:me/mine"] == "fetched, not pinned"
    assert {"paper", "paper_tiny", "modelscope", "artistic"} <= {row["name"] for row in rows}
    assert "fetched, not pinned" in zoo("weights", "list").stdout
    answer = zoo("weights", "fetch", "hf:me/none")
    assert answer.code == 1
    assert "the hub has no repository me/none" in answer.stderr
    answer = zoo("weights", "fetch", "hf:me/mine", "--from", str(tmp_path))
    assert "a file on disk is used by its path" in answer.stderr
