import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from zoo.errors import DataError, OutputError
from zoo.files import (
    atomic_path,
    cache_errors,
    cache_folder,
    check_room,
    check_writable,
    free_bytes,
    locked,
    longest_name,
    move_folder,
    name_text,
    name_texts,
    remove_leftovers,
    remove_old_leftovers,
    way_out,
    write_text,
)


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


# ---- what shares and disks do ----------------------------------------------------------------


def refuse(code):
    def refused(*_arguments, **_keywords):
        raise OSError(code, os.strerror(code))

    return refused


def names_in(folder):
    return [path.name for path in folder.iterdir()]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_a_file_that_a_library_replaces_gets_the_permissions_of_any_other(tmp_path):
    target = tmp_path / "w.safetensors"
    with atomic_path(target) as partial:
        mode = partial.stat().st_mode
        partial.unlink()
        partial.touch(mode=0o600)
    assert target.stat().st_mode == mode


def test_the_umask_is_left_alone(tmp_path, monkeypatch):
    # It is one for all threads: a second one that reads it meanwhile would find 0, and keep it.
    monkeypatch.setattr(os, "umask", refuse(errno.EPERM))
    monkeypatch.setattr(os, "chmod", refuse(errno.EPERM))
    write_text(tmp_path / "result.txt", "there")
    assert (tmp_path / "result.txt").read_text() == "there"


@pytest.mark.parametrize(
    "name", ["é" * 100 + ".json", "写" * 80 + ".txt", "Gro\udcdfmutter.png", "%d{}[*]\n,-.csv"]
)
def test_temporary_names_are_text_whatever_the_name_is(tmp_path, name):
    with atomic_path(tmp_path / name) as partial:
        partial.name.encode()  # some file systems take no other
        assert len(os.fsencode(partial.name)) <= 143  # the most that an encrypted home takes
        partial.write_text("1")
    assert names_in(tmp_path) == [name]


def test_a_name_that_is_too_long_is_told_before_the_work(tmp_path):
    target = tmp_path / ("x" * 300)
    with pytest.raises(OSError, match="File name too long"), atomic_path(target):
        pytest.fail("the work began")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EBUSY, errno.ENOSYS, errno.EPERM])
def test_a_share_that_cannot_rename_gets_a_copy(tmp_path, monkeypatch, code):
    monkeypatch.setattr(Path, "replace", refuse(code))
    write_text(tmp_path / "result.txt", "there")
    assert (tmp_path / "result.txt").read_text() == "there"
    assert names_in(tmp_path) == ["result.txt"]


def test_where_a_copy_fails_the_whole_file_is_kept_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "replace", refuse(errno.EXDEV))
    monkeypatch.setattr("zoo.files.shutil.copyfile", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match=r"No space left.*; (.*) is whole, move it") as caught:
        write_text(tmp_path / "result.txt", "there")
    assert caught.value.filename == str(tmp_path / "result.txt")
    [kept] = tmp_path.iterdir()
    assert kept.read_text() == "there"
    assert str(kept) in str(caught.value)


def test_a_share_that_lets_nobody_delete_gets_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "unlink", refuse(errno.EPERM))
    write_text(tmp_path / "result.txt", "there")
    assert (tmp_path / "result.txt").read_text() == "there"


def test_a_durable_file_is_flushed_where_the_file_system_can(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    write_text(tmp_path / "result.txt", "there", durable=True)
    assert (tmp_path / "result.txt").read_text() == "there"
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    write_text(tmp_path / "other.txt", "not asked for")
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "result.txt", "lost", durable=True)
    assert (tmp_path / "result.txt").read_text() == "there"


def test_a_full_disk_is_told_with_the_file_that_was_to_be_written(tmp_path):
    for error in (OSError(errno.ENOSPC, "No space left on device"), None):
        with (
            pytest.raises(OSError, match=r"result\.txt") as caught,
            atomic_path(tmp_path / "result.txt") as partial,
        ):
            raise error or OSError(errno.EACCES, "Permission denied", str(partial))
        assert caught.value.filename == str(tmp_path / "result.txt")
    with pytest.raises(OSError, match="unplugged") as caught, atomic_path(tmp_path / "result.txt"):
        raise OSError(errno.EIO, "the disk that is read was unplugged")
    assert caught.value.filename is None


def test_a_folder_moves_to_another_disk_whole(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("there")
    rename = Path.rename

    def one_disk_each(path, target):
        if path == tmp_path / "a":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", one_disk_each)
    move_folder(tmp_path / "a", tmp_path / "b")
    assert names_in(tmp_path) == ["b"]
    assert (tmp_path / "b" / "file").read_text() == "there"


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    target, other = tmp_path / "w[1].pt", tmp_path / "w[1].ptx"
    with atomic_path(other) as alive:
        with pytest.raises(KeyError), atomic_path(target) as partial:
            partial.rename(tmp_path / "kept")
            raise KeyError
        (tmp_path / "kept").rename(partial)
        target.touch()
        remove_leftovers([target])
        assert set(tmp_path.iterdir()) == {target, alive}
        remove_old_leftovers(tmp_path)
        assert alive.exists()
        os.utime(alive, (1e9, 1e9))
        (tmp_path / ".mine.partial").touch()
        os.utime(tmp_path / ".mine.partial", (1e9, 1e9))
        remove_old_leftovers(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"w[1].pt", ".mine.partial"}
        alive.touch()


# ---- names -----------------------------------------------------------------------------------


def test_names_become_text_and_stay_different():
    assert name_text("Größe.png") == "Größe.png"
    assert name_text(os.fsdecode(b"Gro\xdfmutter.png")) == r"Gro\xdfmutter.png"
    names = ["a", "\udcdf", r"\xdf", "\ud800"]
    texts = name_texts(names)
    assert texts == ["a", r"\xdf'", r"\xdf", r"\ud800"]
    "".join(texts).encode()
    assert name_texts(("x", "ü")) == ["x", "ü"]


def test_names_beside_others_fit():
    assert longest_name("w", "-loss.csv") == "w-loss.csv"
    long, other = (longest_name("ü" * 126 + end, "-loss.csv") for end in "ab")
    assert long != other
    assert len(os.fsencode(long)) <= 255
    assert long.startswith("üüü")
    assert long.endswith("-loss.csv")


# ---- room, permission and locks --------------------------------------------------------------


def test_room_is_looked_for_where_the_file_will_be(tmp_path, monkeypatch):
    file = tmp_path / "not" / "yet" / "w.safetensors"
    free = shutil.disk_usage(tmp_path).free
    assert free_bytes(file) == pytest.approx(free, rel=0.2)
    check_room(file, 0, "it")
    with pytest.raises(OutputError, match=rf"^it needs .* MB, and {tmp_path} has .* -o$"):
        check_room(file, 10 * free + 10**12, "it")
    # Some network file systems say 0 of 0.
    monkeypatch.setattr("zoo.files.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 0))
    check_room(file, 10**12, "it")


def test_a_place_that_takes_nothing_is_named(tmp_path, monkeypatch):
    check_writable([tmp_path / "new" / "a.png"])
    assert names_in(tmp_path) == []
    monkeypatch.setattr("zoo.files.tempfile.TemporaryFile", refuse(errno.EROFS))
    with pytest.raises(OutputError, match=rf"to {tmp_path}: Read-only.*; type another --out"):
        check_writable([tmp_path / "new" / "a.png"], "--out")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_without_locks_the_work_goes_on(tmp_path, monkeypatch, code):
    monkeypatch.setattr("filelock.FileLock.__enter__", refuse(code))
    said = []
    with locked(tmp_path / "locks" / "a.lock", 0, said.append):
        said.append("done")
    assert said[0].startswith(f"{tmp_path / 'locks'} has no locks (")
    assert said[1] == "done"


def test_a_lock_is_held_and_its_folder_may_be_refused(tmp_path, monkeypatch):
    with (
        locked(tmp_path / "a.lock", 0),
        pytest.raises(TimeoutError),
        locked(tmp_path / "a.lock", 0),
    ):
        pytest.fail("both are in")
    monkeypatch.setattr("filelock.FileLock.__enter__", refuse(errno.EACCES))
    with pytest.raises(OSError, match=r"a\.lock"), locked(tmp_path / "a.lock", 0):
        pytest.fail("the work began")


def test_errors_of_the_cache_name_it_and_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    with (
        pytest.raises(DataError, match=rf"keep locks in {tmp_path}/cache: Perm.*ZOO_CACHE="),
        cache_errors("locks"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied")
    inside = OSError(errno.ENOSPC, "", str(tmp_path / "cache" / "x"))
    assert "ZOO_CACHE" in way_out(inside)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert "TMPDIR" in way_out(OSError(errno.ENOSPC, "", str(tmp_path / "tmp" / "x")))
    assert way_out(OSError(errno.ENOSPC, "", "/elsewhere/x")) == ""
    assert way_out(OSError(errno.ENOSPC, "")) == ""
    assert "TMPDIR" in way_out(
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    )
