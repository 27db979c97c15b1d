"""Published weights: the cache, its record, and what is done about files that are not the ones."""

import errno
import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest

import zoo
from zoo.errors import UnknownNameError, WeightsError
from zoo.weights import published
from zoo.weights.manifest import PublishedWeights
from zoo.weights.published import cached_file, fetch, status, verify

BODY = np.random.default_rng(0).bytes(50_000)
HASH = hashlib.sha256(BODY).hexdigest()
NAME = f"net-{HASH[:8]}.pth"
RIGHT = {
    "name": "v1",
    "model": "tiny",
    "url": f"https://example.org/{NAME}",
    "license": "MIT",
    "source": "https://example.org",
    "trained_on": "CIFAR-10",
}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """A cache of this test alone."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    for variable in ("ZOO_OFFLINE", "ZOO_WEIGHTS_MIRROR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def whole(file_server) -> PublishedWeights:
    """Weights pinned by the whole hash, on the server."""
    file_server.files[NAME] = BODY
    return PublishedWeights(**RIGHT | {"url": file_server.url(NAME)}, sha256=HASH, size=len(BODY))


@pytest.fixture
def prefix(file_server) -> PublishedWeights:
    """The same, pinned by the prefix in the name."""
    file_server.files[NAME] = BODY
    return PublishedWeights(**RIGHT | {"url": file_server.url(NAME)}, sha256_prefix=HASH[:8])


@pytest.fixture(params=["whole", "prefix"])
def weights(request) -> PublishedWeights:
    return request.getfixturevalue(request.param)


def record_of(path):
    return json.loads(path.with_name(f"{path.name}.json").read_text())


def changed(path, offset: int = 100) -> None:
    """Turns one byte over and leaves size and time as they were."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# ---- fetching -----------------------------------------------------------------------------


def test_fetched_once_and_recorded(weights, file_server, tmp_path):
    assert (status(weights), cached_file(weights)) == ("not fetched", None)
    told = []
    path = fetch(weights, progress=lambda *step: told.append(step))
    assert path == tmp_path / "cache" / "weights" / "tiny" / "v1" / NAME
    assert path.read_bytes() == BODY
    assert told[-1] == ("tiny@v1", len(BODY), len(BODY))
    record = record_of(path)
    assert record["sha256"] == HASH
    assert record["pinned"] == ("sha256" if weights.sha256 else "prefix")
    assert (record["url"], record["size"]) == (weights.url, len(BODY))
    assert status(weights) == ("fetched" if weights.sha256 else "fetched, prefix-pinned")
    assert cached_file(weights) == fetch(weights) == verify(weights) == path
    assert len(file_server.requests) == 1


def test_weights_of_two_names_may_have_files_of_one_name(whole, file_server):
    other = BODY[::-1]
    file_server.files[f"v2/{NAME}"] = other
    second = PublishedWeights(
        **RIGHT | {"name": "v2", "url": file_server.url(f"v2/{NAME}")},
        sha256=hashlib.sha256(other).hexdigest(),
    )
    assert fetch(whole).read_bytes() == BODY
    assert fetch(second).read_bytes() == other
    assert (status(whole), status(second)) == ("fetched", "fetched")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/..%2f..%2f..%2fpwned",
        "https://example.org/a/%2e%2e",
        "https://example.org/..",
        "https://example.org/",
        "https://example.org/%00%0a%1b[31m",
        "https://example.org/.bashrc",
        "https://example.org/a%5c..%5cb:c|d",
        "https://example.org/" + 300 * "x" + ".pth",
    ],
)
def test_no_url_leads_out_of_the_folder(url, tmp_path):
    weights = PublishedWeights(**RIGHT | {"url": url}, sha256=HASH)
    source = tmp_path / "mine.pth"
    source.write_bytes(BODY)
    path = fetch(weights, source=source)
    folder = tmp_path / "cache" / "weights" / "tiny" / "v1"
    assert path.parent == folder
    assert path.resolve().parent == folder.resolve()
    assert path.read_bytes() == BODY
    assert not path.name.startswith(".")
    assert len(path.name) <= 100
    assert path.name.isprintable()


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_offline_says_what_to_do(how, weights, file_server, monkeypatch):
    if how == "variable":
        monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(WeightsError) as caught:
        fetch(weights, offline=True if how == "argument" else None)
    assert weights.url in str(caught.value)
    assert (HASH if weights.sha256 else f"{HASH[:8]}…") in str(caught.value)
    assert "zoo weights fetch tiny@v1 --from FILE" in str(caught.value)
    assert not file_server.requests
    path = fetch(weights, offline=False)
    assert fetch(weights, offline=True) == path


def test_mirrors_come_in_their_order(whole, file_server, monkeypatch):
    weights = PublishedWeights(
        **RIGHT | {"url": file_server.url(f"first/{NAME}?download=1")},
        sha256=HASH,
        mirrors=(file_server.url("second.pth"), file_server.url(NAME)),
    )
    monkeypatch.setenv("ZOO_WEIGHTS_MIRROR", file_server.url("near/"))
    fetch(weights)
    paths = [path for path, _ in file_server.requests]
    assert paths == [f"near/{NAME}", f"first/{NAME}?download=1", "second.pth", NAME]
    assert record_of(published.cached_file(weights))["url"] == file_server.url(NAME)

    del file_server.files[NAME]
    file_server.requests.clear()
    published.cached_file(weights).unlink()
    with pytest.raises(WeightsError) as caught:
        fetch(weights, mirror=file_server.url("nearer"))
    urls = [file_server.url(f"nearer/{NAME}"), weights.url, *weights.mirrors]
    assert file_server.requests[0][0] == f"nearer/{NAME}"
    assert all(f"downloading {url} failed (Not Found)" in str(caught.value) for url in urls)
    assert str(caught.value).endswith("elsewhere and type zoo weights fetch tiny@v1 --from FILE")


@pytest.mark.parametrize("mirror", ["file:///srv", "/srv/weights", "example.org"])
def test_a_mirror_is_a_url(mirror, whole, file_server):
    with pytest.raises(WeightsError, match=r"a mirror is a base URL .* type --from FILE"):
        fetch(whole, mirror=mirror)
    assert not file_server.requests


def test_a_mirror_without_encryption_will_not_do_for_a_prefix(prefix, file_server):
    with pytest.raises(WeightsError, match="8 digits of a hash can be forged"):
        fetch(prefix, mirror="http://example.org")
    assert not file_server.requests


def test_from_a_file(weights, tmp_path, file_server):
    source = tmp_path / "mine.pth"
    source.write_bytes(BODY[:-1])
    with pytest.raises(WeightsError, match=r"mine\.pth has SHA-256"):
        fetch(weights, source=source)
    assert status(weights) == "not fetched"
    source.write_bytes(BODY)
    path = fetch(weights, source=str(source), offline=True)
    assert path.read_bytes() == source.read_bytes()
    assert record_of(path)["url"] == str(source)
    assert verify(weights) == path
    assert not file_server.requests


def test_what_is_kept_of_a_failed_download_is_told(whole, file_server):
    file_server.stop_after = 20_000
    with pytest.raises(WeightsError, match="20,000 bytes are kept, the same command goes on"):
        fetch(whole)
    fetch(whole)
    assert [wanted for _, wanted in file_server.requests] == [None, "bytes=20000-"]


# ---- files that are not as they were ------------------------------------------------------


def test_what_was_pinned_by_a_prefix_must_stay_the_same_file(prefix, file_server, monkeypatch):
    path = fetch(prefix)
    path.write_bytes(BODY[::-1][:40_000])
    assert status(prefix) == "damaged"

    # A file whose hash begins with the same digits, which takes an attacker minutes to find.
    forged, digest = b"forged", f"{HASH[:8]}{64 * 'f'}"[:64]
    hashed = published.file_sha256

    def collide(path):
        return digest if path.read_bytes() == forged else hashed(path)

    monkeypatch.setattr("zoo.weights.download.file_sha256", collide)
    file_server.files[NAME] = forged
    with pytest.raises(WeightsError) as caught:
        fetch(prefix)
    assert f"has SHA-256 {digest}, not {HASH}" in str(caught.value)
    assert f"to take another file of prefix {HASH[:8]}, delete {path.parent}" in str(caught.value)
    assert path.read_bytes() != forged

    file_server.files[NAME] = BODY
    assert fetch(prefix).read_bytes() == BODY
    assert status(prefix) == "fetched, prefix-pinned"


def test_verify_finds_what_a_look_at_size_and_time_cannot(weights, file_server):
    path = fetch(weights)
    changed(path)
    assert cached_file(weights) == path
    with pytest.raises(WeightsError, match=r"tiny@v1 is damaged: .* zoo weights fetch tiny@v1"):
        verify(weights)
    assert (status(weights), cached_file(weights)) == ("damaged", None)
    assert fetch(weights).read_bytes() == BODY
    assert verify(weights) == path
    assert len(file_server.requests) == 2


def test_a_truncated_file_is_fetched_again(weights, file_server):
    path = fetch(weights)
    path.write_bytes(BODY[:1000])
    assert (status(weights), cached_file(weights)) == ("damaged", None)
    assert fetch(weights).read_bytes() == BODY
    assert len(file_server.requests) == 2


@pytest.mark.parametrize("way", ["verify", "fetch", "cached_file"])
@pytest.mark.parametrize("what", ["time", "no record", "damaged record", "short hash"])
def test_a_file_that_is_right_but_unknown_is_read_once(
    what, way, weights, file_server, monkeypatch
):
    path = fetch(weights)
    record = path.with_name(f"{path.name}.json")
    before = record_of(path) | {"fetched": "2025-01-02T03:04:05+00:00"}
    record.write_text(json.dumps(before))
    if what == "time":
        os.utime(path, ns=(0, 0))
    elif what == "no record":
        record.unlink()
    elif what == "damaged record":
        record.write_text("{")
    else:
        record.write_text(json.dumps(record_of(path) | {"sha256": HASH[:8]}))
    read = []
    hashed = published.file_sha256
    monkeypatch.setattr(published, "file_sha256", lambda path: read.append(path) or hashed(path))
    assert getattr(published, way)(weights) == path
    assert status(weights) == ("fetched" if weights.sha256 else "fetched, prefix-pinned")
    assert cached_file(weights) == fetch(weights) == path
    assert read == [path]
    after = record_of(path)
    assert after["sha256"] == HASH
    if what == "time":
        assert after["fetched"] == before["fetched"]
    assert len(file_server.requests) == 1


@pytest.mark.parametrize("recorded", [True, False])
def test_a_file_that_is_another_since_is_damaged(recorded, weights, monkeypatch):
    path = fetch(weights)
    record = path.with_name(f"{path.name}.json")
    path.write_bytes(BODY[::-1])
    os.utime(path, ns=(0, 0))
    if not recorded:
        record.unlink()
    assert (status(weights), cached_file(weights)) == ("damaged", None)
    if recorded:
        with monkeypatch.context() as patch:
            patch.setattr(published, "file_sha256", None)
            assert (status(weights), record_of(path)["damaged"]) == ("damaged", True)
    else:
        assert not record.exists()
    path.write_bytes(BODY)  # put right by hand
    assert cached_file(weights) == path


def test_a_new_publication_under_the_same_name_is_not_the_old_file(whole, file_server):
    fetch(whole)
    newer = BODY[::-1]
    file_server.files[NAME] = newer
    weights = PublishedWeights(
        **RIGHT | {"url": whole.url}, sha256=hashlib.sha256(newer).hexdigest()
    )
    assert (status(weights), cached_file(weights)) == ("not fetched", None)
    assert fetch(weights).read_bytes() == newer
    assert status(weights) == "fetched"


def test_verify_of_what_is_not_there(whole):
    with pytest.raises(WeightsError, match="is not fetched; type zoo weights fetch tiny@v1"):
        verify(whole)


def test_a_cache_of_others_can_be_read(whole, monkeypatch):
    def refuse(target, _):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))

    path = fetch(whole)
    os.utime(path, ns=(0, 0))
    monkeypatch.setattr(published, "write_text", refuse)
    assert status(whole) == "fetched"
    assert fetch(whole) == verify(whole) == path
    changed(path)
    with pytest.raises(WeightsError, match="is damaged"):
        verify(whole)


# ---- what is published --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "../v1"}, "name must be letters, digits"),
        ({"model": ""}, "model must be letters, digits"),
        ({"license": " "}, "license must be some words"),
        ({"url": "http://example.org/net.pth"}, "is no https URL"),
        ({"mirrors": ("ftp://example.org/net.pth",)}, "is no https URL"),
        ({"sha256": ""}, "one of sha256 and sha256_prefix must be given"),
        ({"sha256_prefix": HASH[:8]}, "one of sha256 and sha256_prefix must be given"),
        ({"sha256": HASH[:63]}, "sha256 must be 64 hexadecimal digits"),
        ({"sha256": HASH.upper()}, "sha256 must be 64 hexadecimal digits"),
        ({"sha256": "", "sha256_prefix": HASH[:7]}, "sha256_prefix must be 8 to 63 digits"),
        ({"sha256": "", "sha256_prefix": "00000000"}, "is not part of the file's name"),
        ({"size": 0}, "size must be a number of bytes, got 0"),
    ],
)
def test_what_cannot_be_published(change, reason):
    PublishedWeights(**RIGHT, sha256=HASH)
    with pytest.raises(WeightsError, match=reason):
        PublishedWeights(**{**RIGHT, "sha256": HASH, **change})


def test_the_authors_weights_are_published():
    weights = published.find_published("zhang_rebalanced", "eccv16")
    assert weights == published.find_by_label("zhang_rebalanced@eccv16")
    assert weights in published.published("zhang_rebalanced")
    assert weights not in published.published("grey")
    assert weights.distribution == "colorizer-zoo"
    assert weights.license == "BSD-2-Clause"
    assert weights.sha256[:8] in weights.file_name  # the digits that the authors gave it
    assert "ImageNet" in weights.trained_on
    assert not [e for e in published.broken() if e.distribution == "colorizer-zoo"]


@pytest.mark.parametrize("label", ["ecv16", "zhang_rebalanced@ecv16"])
def test_a_near_name_is_offered(label):
    with pytest.raises(UnknownNameError, match=r"did you mean 'eccv16'.* Type zoo weights list"):
        published.find_by_label(label)


def test_a_model_without_published_weights():
    with pytest.raises(
        UnknownNameError, match=r"weights of grey 'eccv16': there are none\. Type zoo"
    ):
        published.find_published("grey", "eccv16")


# ---- weights that come along ------------------------------------------------------------------


@pytest.fixture
def along(tmp_path) -> PublishedWeights:
    """Weights beside their manifest."""
    file = tmp_path / "net.safetensors"
    file.write_bytes(BODY)
    rest = {key: value for key, value in RIGHT.items() if key != "url"}
    return PublishedWeights(**rest, file=file, sha256=HASH, size=len(BODY))


def test_what_comes_along_is_used_where_it_lies(along, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert status(along) == "bundled"
    assert fetch(along) == verify(along) == cached_file(along) == along.file
    assert not (tmp_path / "cache").exists()


def test_what_came_along_damaged_is_not_used(along):
    changed(along.file)
    for use in (fetch, verify):
        with pytest.raises(WeightsError, match=r"tiny@v1 is damaged.* install .* again"):
            use(along)
    along.file.write_bytes(BODY[:-1])
    assert (status(along), cached_file(along)) == ("damaged", None)


def test_a_checkout_without_them_says_so(along):
    along.file.unlink()
    assert (status(along), cached_file(along)) == ("missing", None)
    with pytest.raises(WeightsError, match=r"should have come along as .*net\.safetensors"):
        fetch(along)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"url": "https://example.org/x"}, "one of url and file"),
        ({"sha256": "", "sha256_prefix": HASH[:8]}, "sha256_prefix|needs sha256 and size"),
        ({"size": None}, "needs sha256 and size"),
        ({"mirrors": ("https://example.org/y",)}, "no mirrors"),
    ],
)
def test_what_cannot_come_along(change, reason, along):
    with pytest.raises(WeightsError, match=reason):
        replace(along, **change)


def test_every_bundled_file_is_the_pinned_one_and_loads():
    bundled = [each for each in published.published() if each.file is not None]
    assert bundled
    assert sum(each.size for each in bundled) <= 60e6, "a wheel is downloaded by everybody"
    for weights in bundled:
        assert status(weights) == "bundled", weights.label
        colorizer = zoo.load(weights.model, weights=weights.name, device="cpu")
        assert colorizer.origin.license == weights.license
