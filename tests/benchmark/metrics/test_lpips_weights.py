import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from zoo.errors import WeightsError
from zoo_benchmark.metrics import lpips_alexnet
from zoo_benchmark.metrics.lpips_alexnet import ALEXNET, LPIPSAlexNet, load_alexnet_features
from zoo_benchmark.metrics.weights_files import FoundFile, find_file

SHARED = Path(__file__).parents[3].parent / "shared" / "weights" / "alexnet_features.safetensors"
WEIGHTS = Path(os.environ.get("ZOO_LPIPS_WEIGHTS") or SHARED)
TODO = "elsewhere and pass --lpips-weights FILE"


def find_alexnet(named: str | Path | None, **how: Any) -> FoundFile:
    (wanted,) = LPIPSAlexNet.info.weights
    return find_file(LPIPSAlexNet, wanted, named, **how)


def publish_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a URL that of AlexNet."""
    name = url.rpartition("/")[2]
    digits = name.rpartition("-")[2].removesuffix(".pth")
    wanted = replace(ALEXNET, urls=(url,), file_name=name, sha256=digits)
    monkeypatch.setattr(LPIPSAlexNet, "info", replace(LPIPSAlexNet.info, weights=(wanted,)))


def random_features() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator)
        for name, shape in lpips_alexnet._SHAPES.items()
    }


@pytest.fixture(scope="module")
def features() -> dict[str, torch.Tensor]:
    return random_features()


@pytest.fixture
def official(features, monkeypatch) -> dict[str, torch.Tensor]:
    """Random features that this test's module takes for torchvision's."""
    monkeypatch.setattr(lpips_alexnet, "FEATURES_SHA256", lpips_alexnet._digest(features))
    return features


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty torchvision cache, and no variable set."""
    monkeypatch.delenv("ZOO_LPIPS_WEIGHTS", raising=False)
    monkeypatch.delenv("ZOO_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def checkpoint(features: dict[str, torch.Tensor], path: Path) -> Path:
    """A whole AlexNet as torchvision saves it, its classifier cut short."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**features, "classifier.1.weight": torch.zeros(2, 2)}, path)
    return path


# ---------------------------------------------------------------- reading a file


def save_plain(features, folder):
    save_file(features, folder / "alex.safetensors")
    return folder / "alex.safetensors"


def save_without_prefix(features, folder):
    path = folder / "alex.pth"
    torch.save({name.removeprefix("features."): t for name, t in features.items()}, path)
    return path


def save_whole(features, folder):
    return checkpoint(features, folder / "alexnet.pt")


@pytest.mark.parametrize("save", [save_plain, save_without_prefix, save_whole])
def test_reads_every_layout(save, official, tmp_path):
    loaded = load_alexnet_features(save(official, tmp_path))
    assert list(loaded) == list(lpips_alexnet._SHAPES)
    assert all(torch.equal(loaded[name], official[name]) for name in loaded)


def test_names_the_missing_tensor(official, tmp_path):
    path = tmp_path / "alex.pth"
    torch.save({k: v for k, v in official.items() if k != "features.6.bias"}, path)
    with pytest.raises(
        WeightsError, match=r"alex\.pth is not AlexNet's: it lacks features\.6\.bias"
    ):
        load_alexnet_features(path)


def test_names_the_wrong_shape(official, tmp_path):
    path = tmp_path / "vgg.safetensors"
    save_file({**official, "features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(
        WeightsError, match=r"features\.0\.weight is \(64, 3, 3, 3\), not \(64, 3, 11"
    ):
        load_alexnet_features(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_damaged_values(value, official, tmp_path):
    damaged = {name: tensor.clone() for name, tensor in official.items()}
    damaged["features.3.bias"][7] = value
    with pytest.raises(WeightsError, match=r"features\.3\.bias holds NaN or infinity"):
        load_alexnet_features(save_plain(damaged, tmp_path))


def test_refuses_weights_that_are_not_torchvisions(features, tmp_path):
    with pytest.raises(WeightsError, match="is not torchvision's IMAGENET1K_V1"):
        load_alexnet_features(save_plain(features, tmp_path))


@pytest.mark.parametrize("name", ["alex.safetensors", "alex.pth", "alex.txt"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint\n" * 9], ids=["empty", "text"])
def test_refuses_what_is_no_checkpoint(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_alexnet_features(path)


class Payload:
    """Leaves a trace wherever it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_never_runs_pickled_code(tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "alex.pth"
    torch.save({"features.0.weight": Payload(trace)}, path)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_alexnet_features(path)
    assert not trace.exists()


def test_a_checkpoint_of_something_else(tmp_path):
    path = tmp_path / "list.pth"
    torch.save([torch.zeros(2)], path)
    with pytest.raises(WeightsError, match="it holds a list"):
        load_alexnet_features(path)


@pytest.mark.skipif(not WEIGHTS.exists(), reason="AlexNet's weights are not here")
def test_knows_torchvisions_own_weights():
    loaded = load_alexnet_features(WEIGHTS)
    assert [tuple(t.shape) for t in loaded.values()] == list(lpips_alexnet._SHAPES.values())


# ---------------------------------------------------------------- where it is looked for


def test_the_option_comes_before_the_variable_before_the_cache(
    official, cache, tmp_path, monkeypatch
):
    name = url_of_torchvision().rpartition("/")[2]
    cached = checkpoint(official, cache / name)
    found = find_alexnet(None, download=False)
    assert (found.path, found.status) == (cached, f"{cached} (from torchvision's cache)")

    by_variable = checkpoint(official, tmp_path / "variable.pth")
    monkeypatch.setenv("ZOO_LPIPS_WEIGHTS", str(by_variable))
    found = find_alexnet(None, download=False)
    assert (found.path, found.status) == (by_variable, f"{by_variable} (from ZOO_LPIPS_WEIGHTS)")

    by_option = checkpoint(official, tmp_path / "option.pth")
    found = find_alexnet(str(by_option), download=False)
    assert (found.path, found.status) == (by_option, f"{by_option} (from --lpips-weights)")


@pytest.mark.parametrize("by", ["--lpips-weights", "ZOO_LPIPS_WEIGHTS"])
@pytest.mark.parametrize("fault", ["is no file", "is not torchvision's"])
def test_a_named_file_that_does_not_do_is_an_error(
    by, fault, features, cache, tmp_path, monkeypatch
):
    path = tmp_path / "named.safetensors"
    if fault != "is no file":
        save_file(features, path)
    if by == "ZOO_LPIPS_WEIGHTS":
        monkeypatch.setenv(by, str(path))
    option = path if by == "--lpips-weights" else None
    with pytest.raises(WeightsError, match=rf"named\.safetensors \(from {by}\) {fault}"):
        find_alexnet(option, download=True)


def test_without_download_it_says_what_to_do(cache):
    found = find_alexnet(None, download=False)
    assert found.path is None
    assert found.status == f"AlexNet's weights are not here: download {url_of_torchvision()} {TODO}"


def test_a_spoilt_cache_is_not_used_and_named(features, cache):
    cached = checkpoint(features, cache / url_of_torchvision().rpartition("/")[2])
    found = find_alexnet(None, download=False)
    assert found.path is None
    assert found.status.startswith(f"{cached} (from torchvision's cache) is not torchvision's")
    assert found.status.endswith(TODO)


def url_of_torchvision() -> str:
    from torchvision.models import AlexNet_Weights

    return AlexNet_Weights.IMAGENET1K_V1.url


def test_the_file_is_torchvisions():
    assert ALEXNET.urls == (url_of_torchvision(),)
    assert ALEXNET.file_name == url_of_torchvision().rpartition("/")[2]
    assert ALEXNET.file_name.endswith(f"-{ALEXNET.sha256}.pth")


def test_importing_the_module_does_not_import_torch():
    code = "import sys, zoo_benchmark.metrics.weights_files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------- the download


@pytest.fixture
def serve(file_server, monkeypatch) -> Callable[..., str]:
    """Serves the body and makes its address AlexNet's."""

    def start(body: bytes, name: str, **how) -> str:
        vars(file_server).update({"files": {name: body}, **how})
        url = file_server.url(name)
        publish_at(url, monkeypatch)
        return url

    return start


@pytest.fixture
def body(official, tmp_path) -> bytes:
    return checkpoint(official, tmp_path / "served.pth").read_bytes()


def name_for(body: bytes) -> str:
    return f"alexnet-owt-{hashlib.sha256(body).hexdigest()[:8]}.pth"


def test_downloads_to_torchvisions_cache_once(serve, body, cache):
    told = []
    url = serve(body, name_for(body))
    found = find_alexnet(None, download=True, progress=lambda *step: told.append(step))
    assert found.path == cache / name_for(body)
    assert found.path.read_bytes() == body
    whole = hashlib.sha256(body).hexdigest()
    pinned = f"prefix-pinned, SHA-256 {whole}"
    assert found.status == f"{found.path} (downloaded from {url}; {pinned})"
    assert told[-1][1:] == (len(body), len(body))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    again = find_alexnet(None, download=True)
    assert again.status.endswith("(from torchvision's cache)")


def test_replaces_a_spoilt_cache(serve, body, cache):
    serve(body, name_for(body))
    cache.mkdir(parents=True)
    (cache / name_for(body)).write_bytes(body[: len(body) // 2])
    found = find_alexnet(None, download=True)
    assert found.path is not None
    assert found.path.read_bytes() == body


def left_in(cache: Path) -> dict[str, int]:
    """Name and size of every file, the locks left out."""
    files = [path for path in cache.iterdir() if path.suffix != ".lock"]
    return {path.name: path.stat().st_size for path in files}


@pytest.mark.parametrize(
    ("how", "reason", "kept"),
    [
        ({"silent": True}, "timed out", 0),
        ({"stall_after": 70_000}, "timed out", 70_000),
        ({"files": {}}, "Not Found", 0),
    ],
    ids=["stalls-before-the-answer", "stalls-midway", "not-there"],
)
def test_a_failed_download_is_one_line_that_says_what_to_do(how, reason, kept, serve, body, cache):
    url = serve(body, name_for(body), **how)
    start = time.monotonic()
    found = find_alexnet(None, download=True, timeout=0.2)
    assert time.monotonic() - start < 3
    assert found.path is None
    assert found.status == f"downloading {url} failed ({reason}): download {url} {TODO}"
    left = left_in(cache)
    origin = {f"{name_for(body)}.part.json"} & left.keys()
    assert {name: size for name, size in left.items() if name not in origin} == (
        {f"{name_for(body)}.part": kept} if kept else {}
    )
    assert len(origin) == bool(kept)


def test_a_wrong_checksum_leaves_no_file(serve, body, cache):
    url = serve(body, "alexnet-owt-00000000.pth")
    found = find_alexnet(None, download=True)
    assert found.path is None
    assert found.status.startswith(f"{url} has SHA-256 {hashlib.sha256(body).hexdigest()[:8]}…")
    assert found.status.endswith(TODO)
    assert not left_in(cache)


def test_offline_nothing_is_asked_for(serve, body, cache, monkeypatch):
    serve(body, name_for(body))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    found = find_alexnet(None, download=True)
    assert found.path is None
    assert found.status.startswith("AlexNet's weights are not here, and ZOO_OFFLINE is set")
    assert found.status.endswith(TODO)
    assert not cache.exists()


def test_a_refused_connection(monkeypatch, cache):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = f"http://127.0.0.1:{port}/alexnet-owt-7be5be79.pth"
    publish_at(url, monkeypatch)
    found = find_alexnet(None, download=True)
    assert found.path is None
    assert "Connection refused" in found.status
    assert found.status.endswith(TODO)
    assert "\n" not in found.status


@pytest.mark.parametrize("fault", ["fails", "hangs"])
def test_a_name_that_does_not_resolve(fault, monkeypatch):
    released = threading.Event()

    def getaddrinfo(*_, **__):
        if fault == "hangs":
            released.wait(20)
        raise socket.gaierror(-2, "Name or service not known")

    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    start = time.monotonic()
    found = find_alexnet(None, download=True, timeout=0.2)
    released.set()
    assert time.monotonic() - start < 3
    assert found.path is None
    assert ("no answer within" if fault == "hangs" else "not known") in found.status
    assert found.status.endswith(TODO)


def test_a_cache_that_cannot_be_written(serve, body, cache):
    serve(body, name_for(body))
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    found = find_alexnet(None, download=True)
    assert found.path is None
    assert found.status.endswith(TODO)
