import errno
import os
import stat
from pathlib import Path

import pytest

from zoo.files import atomic_path, cache_folder, write_text


def test_the_cache_folder_is_the_named_one(monkeypatch, tmp_path):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"


@pytest.mark.parametrize("named", [None, ""])
def test_else_it_is_the_users(monkeypatch, named):
    if named is None:
        monkeypatch.delenv("ZOO_CACHE")
    else:
        monkeypatch.setenv("ZOO_CACHE", named)
    assert cache_folder().name == "colorizer-zoo"
    assert cache_folder().is_absolute()


def test_text_is_written_as_utf_8_into_folders_that_are_not_there_yet(tmp_path):
    target = tmp_path / "a" / "b" / "ä.json"
    write_text(target, "grün 🌿\n")
    assert target.read_bytes() == "grün 🌿\n".encode()
    assert list(target.parent.iterdir()) == [target]


def test_the_target_appears_only_when_the_block_is_done(tmp_path):
    target = tmp_path / "result.txt"
    write_text(target, "old")
    with atomic_path(target) as partial:
        assert partial.parent == target.parent
        assert partial.suffix == target.suffix
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failing_block_changes_nothing_and_leaves_nothing(tmp_path, existed, error):
    target = tmp_path / "result.txt"
    if existed:
        target.write_text("old")
    with pytest.raises(error), atomic_path(target) as partial:
        partial.write_text("half")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == (["result.txt"] if existed else [])
    assert not existed or target.read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_file_has_the_permissions_of_any_other_new_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "result.txt", "")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "result.txt").stat().st_mode) == mode


def test_two_writers_at_once_do_not_share_a_partial_file(tmp_path):
    target = tmp_path / "result.txt"
    with atomic_path(target) as first, atomic_path(target) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the outer block ends last
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["x" * 240 + ".json", "ü" * 125 + ".json", "a." + "ß" * 126])
def test_names_as_long_as_a_file_system_allows_fit(tmp_path, name):
    target: Path = tmp_path / name
    assert len(os.fsencode(name)) > 240
    write_text(target, "1")
    assert target.read_text() == "1"


def test_a_share_that_refuses_permissions_gets_its_files(tmp_path, monkeypatch):
    def chmod(path, mode):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), os.fspath(path))

    monkeypatch.setattr(Path, "chmod", chmod)
    write_text(tmp_path / "result.txt", "there")
    assert (tmp_path / "result.txt").read_text() == "there"
    assert [p.name for p in tmp_path.iterdir()] == ["result.txt"]


def test_a_temporary_name_ends_with_a_whole_character(tmp_path):
    # 64 bytes end within the 22nd of characters of three bytes.
    with atomic_path(tmp_path / ("写" * 80 + ".txt")) as partial:
        partial.write_text("x")
        partial.name.encode()  # a half character would be a surrogate, which has no UTF-8
    assert [len(path.name) for path in tmp_path.iterdir()] == [84]
