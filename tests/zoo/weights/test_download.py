"""The downloader, against a server on this machine that does what servers do."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from zoo.errors import DownloadError, WeightsError
from zoo.weights import download as downloads
from zoo.weights.download import copy_verified, download, file_sha256, is_offline, is_secure

BODY = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
HASH = hashlib.sha256(BODY).hexdigest()
PROGRAM = """
import sys
from pathlib import Path
from zoo.weights.download import download

def tell(what, done, total):
    print(done, flush=True)

print(download([sys.argv[1]], Path(sys.argv[2]), sha256=sys.argv[3], progress=tell))
"""


@pytest.fixture
def url(file_server) -> str:
    file_server.files["net.pth"] = BODY
    return file_server.url("net.pth")


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "kept" / "net.pth"


def begun(target: Path, content: bytes = BODY[:100_000], **origin) -> Path:
    """What an earlier download left."""
    target.parent.mkdir(exist_ok=True)
    part = target.with_name("net.pth.part")
    part.write_bytes(content)
    part.with_name("net.pth.part.json").write_text(json.dumps(origin))
    return part


def left(target: Path) -> list[str]:
    """The files in the target's folder, the lock left out."""
    return sorted(path.name for path in target.parent.iterdir() if path.suffix != ".lock")


def ranges(file_server) -> list[str | None]:
    return [wanted for _, wanted in file_server.requests]


# ---- whole --------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [8, 64])
def test_a_whole_download(digits, url, target):
    told = []
    got = download(
        [url], target, sha256=HASH[:digits], what="a net", progress=lambda *s: told.append(s)
    )
    assert (got.sha256, got.url) == (HASH, url)
    assert target.read_bytes() == BODY
    assert left(target) == ["net.pth"]
    assert told[-1] == ("a net", len(BODY), len(BODY))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_what_is_there_already_is_not_asked_for(url, target, file_server):
    download([url], target, sha256=HASH)
    again = download([url], target, sha256=HASH[:8])
    assert (again.sha256, again.url) == (HASH, "")
    assert len(file_server.requests) == 1


def test_a_target_with_another_content_is_replaced(url, target):
    target.parent.mkdir()
    target.write_bytes(OTHER)
    download([url], target, sha256=HASH)
    assert target.read_bytes() == BODY


def test_a_server_that_says_no_length(url, target, file_server):
    file_server.says = ()
    assert download([url], target, sha256=HASH).sha256 == HASH
    assert target.read_bytes() == BODY


def test_a_file_of_another_size_is_not_even_received(url, target):
    with pytest.raises(DownloadError, match="has 300,000 bytes, not 299,999"):
        download([url], target, sha256=HASH, size=299_999)
    assert left(target) == []


def test_a_server_that_never_stops_is_cut_off(url, target, file_server):
    file_server.says = ()
    with pytest.raises(DownloadError, match="has more than 200,000 bytes"):
        download([url], target, sha256=HASH, size=200_000)
    assert left(target) == []


@pytest.mark.parametrize("says", [(), ("Content-Length",)])
def test_a_file_of_no_declared_size_is_bounded_too(says, url, target, file_server, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_BYTES", 299_999)
    file_server.says = says
    with pytest.raises(DownloadError, match="has more than 299,999 bytes, the most where no size"):
        download([url], target, sha256=HASH)
    assert left(target) == []
    assert download([url], target, sha256=HASH, size=300_000).sha256 == HASH


@pytest.mark.parametrize("digits", [8, 64])
def test_a_wrong_hash_leaves_nothing(digits, target, file_server):
    file_server.files["net.pth"] = OTHER
    url, other = file_server.url("net.pth"), hashlib.sha256(OTHER).hexdigest()
    with pytest.raises(DownloadError) as caught:
        download([url], target, sha256=HASH[:digits])
    assert str(caught.value) == f"{url} has SHA-256 {other[:8]}…, not {HASH[:8]}…"
    assert left(target) == []
    assert len(file_server.requests) == 1


def test_hashes_that_begin_alike_are_shown_whole():
    other = HASH[:-1] + ("0" if HASH[-1] != "0" else "1")
    assert downloads.wrong_hash("it", other, HASH) == f"it has SHA-256 {other}, not {HASH}"


# ---- resumed ------------------------------------------------------------------------------


def test_a_truncated_answer_is_kept_and_gone_on_from(url, target, file_server):
    file_server.stop_after = 120_000
    with pytest.raises(DownloadError, match=r"ended after 120,000 of 300,000|IncompleteRead"):
        download([url], target, sha256=HASH)
    assert left(target) == ["net.pth.part", "net.pth.part.json"]
    assert downloads.bytes_kept(target) == 120_000
    told = []
    download([url], target, sha256=HASH, progress=lambda *step: told.append(step[1:]))
    assert target.read_bytes() == BODY
    assert left(target) == ["net.pth"]
    assert ranges(file_server) == [None, "bytes=120000-"]
    assert all(done > 120_000 and total == 300_000 for done, total in told)


def test_a_server_that_ignores_ranges_starts_over(url, target, file_server):
    file_server.stop_after = 120_000
    file_server.ranges = False
    for _ in range(2):
        try:
            download([url], target, sha256=HASH)
        except DownloadError:
            continue
    assert target.read_bytes() == BODY
    assert ranges(file_server) == [None, "bytes=120000-"]


def test_a_file_that_changed_in_between_is_noticed_by_its_etag(url, target, file_server):
    file_server.files["net.pth"] = OTHER
    file_server.stop_after = 120_000
    with pytest.raises(DownloadError):
        download([url], target, sha256=HASH)
    file_server.files["net.pth"] = BODY
    download([url], target, sha256=HASH)
    assert target.read_bytes() == BODY
    assert ranges(file_server) == [None, "bytes=120000-"]  # answered with all of the new file


def test_a_file_that_changed_in_between_is_noticed_by_its_size(url, target, file_server):
    file_server.says = ("Content-Length",)
    begun(target, OTHER[:100_000], url=url, total=299_000)
    told = []
    download([url], target, sha256=HASH, progress=lambda *step: told.append(step[1]))
    assert target.read_bytes() == BODY
    assert told == sorted(told)  # the rest of another file was not received first
    assert ranges(file_server) == ["bytes=100000-", None]


def test_a_file_that_changed_in_between_is_noticed_by_its_hash(url, target, file_server):
    file_server.says = ()
    begun(target, OTHER[:100_000], url=url)
    download([url], target, sha256=HASH)
    assert target.read_bytes() == BODY
    assert ranges(file_server) == ["bytes=100000-", None]


def test_another_server_goes_on_where_the_first_one_failed(url, target, file_server):
    begun(target, url="https://example.org/net.pth", etag='"theirs"', total=len(BODY))
    download([url], target, sha256=HASH)
    assert target.read_bytes() == BODY
    assert ranges(file_server) == ["bytes=100000-"]


def test_a_part_that_is_complete_needs_no_server(target):
    begun(target, BODY, total=len(BODY))
    url = "http://127.0.0.1:9/net.pth"
    assert download([url], target, sha256=HASH, timeout=1).sha256 == HASH
    assert left(target) == ["net.pth"]


@pytest.mark.parametrize("origin", ['{"total": 5}', "{", "[]", '{"who": 1}'])
def test_a_part_longer_than_the_file_starts_over(origin, url, target, file_server):
    part = begun(target, OTHER + OTHER)
    part.with_name("net.pth.part.json").write_text(origin)
    download([url], target, sha256=HASH)
    assert target.read_bytes() == BODY
    assert ranges(file_server) == ["bytes=600000-", None]


# ---- servers and ways to them that fail ---------------------------------------------------


def test_urls_are_tried_in_their_order_and_each_failure_is_named(url, target, file_server):
    file_server.files["other.pth"] = OTHER
    urls = [file_server.url("gone.pth"), file_server.url("other.pth"), url]
    assert download(urls, target, sha256=HASH).url == url
    target.unlink()
    with pytest.raises(DownloadError) as caught:
        download(urls[:2], target, sha256=HASH)
    first, second = str(caught.value).split("; ")
    assert first == f"downloading {urls[0]} failed (Not Found)"
    assert second.startswith(f"{urls[1]} has SHA-256")
    assert [path for path, _ in file_server.requests[:3]] == ["gone.pth", "other.pth", "net.pth"]


@pytest.mark.parametrize("stall_after", [0, 70_000])
def test_a_server_that_stalls_is_given_up(stall_after, url, target, file_server):
    file_server.stall_after = stall_after
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"failed \(timed out\)"):
        download([url], target, sha256=HASH, timeout=0.3)
    assert time.monotonic() - start < 10
    assert downloads.bytes_kept(target) == stall_after


def test_a_slow_server_is_waited_for(url, target, file_server):
    file_server.pause = 0.1  # thirty pieces: longer than the timeout in all
    download([url], target, sha256=HASH, timeout=2)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    ("url", "secure"),
    [
        ("https://example.org/net.pth", True),
        ("http://127.0.0.1:8000/net.pth", True),
        ("http://localhost/net.pth", True),
        ("http://example.org/net.pth", False),
        ("http://127.0.0.1.example.org/net.pth", False),
        ("ftp://localhost/net.pth", False),
        ("https:///net.pth", False),
        ("https://[/net.pth", False),
        ("net.pth", False),
    ],
)
def test_what_nobody_on_the_way_can_change(url, secure):
    assert is_secure(url) == secure


def test_a_prefix_is_no_protection_on_the_open_road(target):
    with pytest.raises(WeightsError, match="is not encrypted, and 8 digits of a hash can be"):
        download(["http://example.org/net.pth"], target, sha256=HASH[:8])
    assert not target.parent.exists()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/x", "example.org/x"])
def test_other_kinds_of_urls_are_refused(url, target):
    with pytest.raises(WeightsError, match="is no URL to download from"):
        download([url], target, sha256=HASH)
    assert not target.parent.exists()


def test_redirects_are_followed_but_never_out_of_encryption(url, target, file_server):
    file_server.redirects = {"a": url, "b": "http://example.org/net.pth"}
    assert download([file_server.url("a")], target, sha256=HASH).sha256 == HASH
    target.unlink()
    with pytest.raises(
        DownloadError, match=r"it redirects to http://example\.org/net\.pth, which is not encrypted"
    ):
        download([file_server.url("b")], target, sha256=HASH)


# ---- this machine -------------------------------------------------------------------------


def test_too_little_room_is_found_out_before(url, target, monkeypatch):
    usage = shutil.disk_usage(target.parents[1])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=299_999))
    with pytest.raises(
        WeightsError, match=r"300,000 bytes are to come, but .* has room for 299,999"
    ):
        download([url], target, sha256=HASH)
    assert left(target) == []


def test_a_file_system_that_tells_no_room_takes_what_comes(url, target, monkeypatch):
    # Some network file systems say 0 of 0.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 0))
    download([url], target, sha256=HASH)
    assert target.read_bytes() == BODY


def test_a_disk_that_fills_up_keeps_the_part_and_asks_no_other_server(
    url, target, file_server, monkeypatch
):
    class Full:
        """A file on a disk with room for 100,000 bytes."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            if self.file.tell() + len(data) > 100_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.file.write(data)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    opened = Path.open

    def limited(path, mode="r", **how):
        file = opened(path, mode, **how)
        return Full(file) if mode == "ab" else file

    monkeypatch.setattr(downloads, "_CHUNK", 10_000)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", limited)
        with pytest.raises(WeightsError, match=r"No space left on device.*make room") as caught:
            download([url, url], target, sha256=HASH)
    assert not isinstance(caught.value, DownloadError)
    assert len(file_server.requests) == 1
    kept = downloads.bytes_kept(target)
    assert 0 < kept <= 100_000
    download([url], target, sha256=HASH)
    assert target.read_bytes() == BODY
    assert ranges(file_server) == [None, f"bytes={kept}-"]


def test_a_folder_that_cannot_be_made(url, target):
    target.parent.write_text("a file")
    with pytest.raises(WeightsError, match=f"writing {target.parent} failed"):
        download([url], target, sha256=HASH)


def test_ctrl_c_keeps_the_part(url, target, file_server):
    file_server.stall_after = 150_000
    command = [sys.executable, "-c", PROGRAM, url, str(target), HASH]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while int(process.stdout.readline()) < 50_000:
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode != 0
    kept = downloads.bytes_kept(target)
    assert 50_000 <= kept <= 150_000
    assert not target.exists()
    file_server.stall_after = None
    download([url], target, sha256=HASH)
    assert target.read_bytes() == BODY
    assert ranges(file_server) == [None, f"bytes={kept}-"]


def test_two_processes_download_once(url, target, file_server):
    file_server.pause = 0.05
    command = [sys.executable, "-c", PROGRAM, url, str(target), HASH]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(f"sha256='{HASH}'" in output for output in outputs)
    assert target.read_bytes() == BODY
    assert ranges(file_server) == [None]
    assert left(target) == ["net.pth"]


# ---- from disk, and the rest --------------------------------------------------------------


def test_a_file_from_disk_is_copied_if_it_is_the_one(tmp_path, target):
    source = tmp_path / "mine.pth"
    source.write_bytes(BODY)
    begun(target)
    assert copy_verified(source, target, sha256=HASH[:8]).sha256 == HASH
    assert target.read_bytes() == source.read_bytes() == BODY
    source.write_bytes(OTHER)
    with pytest.raises(WeightsError, match=r"mine\.pth has SHA-256 .*another file, or damaged"):
        copy_verified(source, target, sha256=HASH[:8])
    assert target.read_bytes() == BODY
    assert left(target) == ["net.pth"]
    with pytest.raises(WeightsError, match=r"nothing\.pth is no file"):
        copy_verified(tmp_path / "nothing.pth", target, sha256=HASH)


@pytest.mark.parametrize(
    ("value", "offline"),
    [("1", True), ("true", True), ("yes", True), ("", False), ("0", False), ("Off", False)],
)
def test_the_variable_that_forbids_downloads(value, offline, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", value)
    assert is_offline() == offline


def test_the_hash_is_that_of_sha256sum(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(BODY)
    assert file_sha256(path) == hashlib.sha256(BODY).hexdigest()
