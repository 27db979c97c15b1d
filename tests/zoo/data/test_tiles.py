import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

import zoo.images.open
from zoo.data import tiles as image_cache
from zoo.data.tiles import cached_tiles, file_tiles, scan_files
from zoo.errors import DataError
from zoo.images.open import read_image, square_tile, to_rgb

COFFEE = Path(skimage.__file__).parent / "data" / "coffee.png"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    coffee = Image.open(COFFEE).convert("RGB")
    for i in range(5):
        coffee.crop((i * 60, 50, i * 60 + 90, 120)).save(folder / f"{i}.png")
    Image.new("RGB", (40, 40), (90, 90, 90)).save(folder / "5-grey.png")
    (folder / "6-broken.png").write_bytes((folder / "0.png").read_bytes()[:2000])
    (folder / "7-empty.png").touch()
    return sorted(folder.iterdir())


@pytest.fixture
def no_decoding(monkeypatch):
    def refuse(path):
        raise AssertionError(f"{path} was read again")

    return lambda *names: [monkeypatch.setattr(image_cache, name, refuse) for name in names]


def test_tiles_are_those_of_the_files(files):
    seen = []
    tiles = file_tiles(files, 32, lambda what, done, total: seen.append((what, done, total)))
    assert isinstance(tiles.images, np.memmap)
    assert tiles.images.shape == (5, 32, 32, 3)
    assert (tiles.kept, tiles.grey) == ([0, 1, 2, 3, 4], [5])
    assert [position for position, _ in tiles.skipped] == [6, 7]
    assert tiles.skipped[1][1] == "the file is empty"
    assert not any(str(files[0].parent) in reason for _, reason in tiles.skipped)
    for tile, file in zip(tiles.images, files, strict=False):
        np.testing.assert_array_equal(tile, square_tile(to_rgb(read_image(file)), 32))
    assert seen[-1] == ("decoding images", 8, 8)


def test_a_second_start_reads_no_file(files, no_decoding):
    first = np.array(file_tiles(files, 32).images)
    no_decoding("read_image", "_facts")
    np.testing.assert_array_equal(file_tiles(files, 32).images, first)


def test_touched_moved_and_copied_files_keep_their_tiles(files, tmp_path, no_decoding):
    file_tiles(files, 32)
    no_decoding("read_image")
    os.utime(files[0], (1, 1))
    assert len(file_tiles(files, 32).kept) == 5
    files[0].parent.rename(tmp_path / "moved")
    assert len(file_tiles(sorted((tmp_path / "moved").iterdir()), 32).kept) == 5


def test_changed_content_is_noticed_even_with_size_and_time_restored(files):
    before = np.array(file_tiles(files, 32).images)
    status = files[0].stat()
    data = bytearray(Image.open(files[0]).tobytes())
    bitmap = files[0].with_suffix(".ppm")
    bitmap.write_bytes(b"P6 90 70 255\n" + data)
    changed = [bitmap, *files[1:]]
    same = np.array(file_tiles(changed, 32).images)
    np.testing.assert_array_equal(same, before)
    status = bitmap.stat()
    bitmap.write_bytes(b"P6 90 70 255\n" + data[::-1])
    os.utime(bitmap, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not np.array_equal(file_tiles(changed, 32).images[0], before[0])


def test_sides_have_arrays_of_their_own(files):
    assert file_tiles(files, 16).images.shape[1:] == (16, 16, 3)
    assert file_tiles(files, 24).images.shape[1:] == (24, 24, 3)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"more")


def punch_hole(path):
    data = bytearray(path.read_bytes())
    data[2000:4000] = bytes(2000)
    path.write_bytes(data)


def pickle_bomb(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def empty(path):
    path.write_bytes(b"")


DAMAGES = [(".npy", f) for f in (truncate, lengthen, punch_hole, pickle_bomb, empty, Path.unlink)]
DAMAGES += [(".json", f) for f in (truncate, lengthen, empty, Path.unlink)]


@pytest.mark.parametrize(("suffix", "damage"), DAMAGES)
def test_damaged_cache_files_are_rebuilt(files, cache, damage, suffix):
    before = file_tiles(files, 32)
    expected = np.array(before.images)
    (array,) = cache.glob("*.npy")
    damage(array.with_suffix(suffix))
    np.testing.assert_array_equal(file_tiles(files, 32).images, expected)
    listing = next(cache.glob("listing-*.json"))
    truncate(listing) if listing.stat().st_size > 100 else listing.unlink()
    np.testing.assert_array_equal(file_tiles(files, 32).images, expected)


def test_an_interrupted_build_leaves_nothing(cache):
    def tiles():
        yield np.zeros((8, 8, 3), dtype=np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_tiles("key", 8, tiles)
    assert list(cache.iterdir()) == []


def test_a_full_disk_is_explained(cache):
    def tiles():
        yield np.zeros((8, 8, 3), dtype=np.uint8)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DataError, match=r"No space left on device; free some space.*ZOO_CACHE="):
        cached_tiles("key", 8, tiles)


def test_a_cache_folder_that_cannot_be_made(files, tmp_path, monkeypatch):
    (tmp_path / "occupied").touch()
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(DataError, match="ZOO_CACHE="):
        scan_files(files)


def failing_once(function, error, name):
    """The function, but that the first call about a file of this name raises an error."""
    left = [error]

    def call(first, *others, **named):
        if name in str(getattr(first, "name", first)) and left:
            raise left.pop()
        return function(first, *others, **named)

    return call


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_a_file_that_cannot_be_decoded_now_is_tried_again_at_the_next_start(
    error, files, monkeypatch
):
    once = failing_once(zoo.images.open.scan_png, error, "2.png")
    scan_files(files)
    monkeypatch.setattr(zoo.images.open, "scan_png", once)
    tiles = file_tiles(files, 32)
    assert (tiles.kept, tiles.grey) == ([0, 1, 3, 4], [5])
    assert [position for position, _ in tiles.skipped] == [2, 6, 7]
    assert tiles.images.shape == (4, 32, 32, 3)
    again = file_tiles(files, 32)
    assert again.kept == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(again.images[[0, 1, 3, 4]], tiles.images)


@pytest.mark.parametrize("owner", [hashlib, zoo.images.open])
def test_a_file_that_cannot_be_looked_into_now_is_at_the_next_start(
    owner, files, cache, monkeypatch
):
    name = "file_digest" if owner is hashlib else "scan_png"
    error = OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(owner, name, failing_once(getattr(owner, name), error, "2.png"))
    facts = scan_files(files)
    assert facts[2].short_side == 0
    # What could be read of it meanwhile is for this time only: its content has no name.
    assert file_tiles(files, 32, facts=facts).kept == [0, 1, 2, 3, 4]
    assert not list(cache.glob("*.json"))
    assert scan_files(files)[2].short_side == 70
    file_tiles(files, 32)
    assert len(list(cache.glob("*.json"))) == 2


def test_a_file_that_may_not_be_read_is_remembered_as_that(files, no_decoding, monkeypatch):
    error = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(hashlib, "file_digest", failing_once(hashlib.file_digest, error, "2.png"))
    facts = scan_files(files)
    assert facts[2] == ("", 0, False)
    no_decoding("_facts")
    assert scan_files(files) == facts


def test_nothing_usable_gives_an_empty_array(files):
    tiles = file_tiles(files[5:], 32)
    assert tiles.images.shape == (0, 32, 32, 3)
    assert file_tiles(files[5:], 32).grey == [0]
    assert file_tiles([], 32).images.shape == (0, 32, 32, 3)


def test_more_tiles_than_one_block_keep_their_order():
    random = np.random.default_rng(0)
    expected = random.integers(0, 256, (600, 4, 4, 3), dtype=np.uint8)
    sources = [tile if i % 7 else "broken" for i, tile in enumerate(expected)]
    tiles = cached_tiles("many", 4, lambda: iter(sources))
    assert list(tiles.kept) == [i for i in range(600) if i % 7]
    np.testing.assert_array_equal(tiles.images, expected[tiles.kept])


def test_two_processes_at_once(files):
    code = (
        "import sys; from pathlib import Path; from zoo.data.tiles import file_tiles;"
        "t = file_tiles([Path(p) for p in sys.argv[1:]], 32);"
        "print(int(t.images.sum()), len(t.kept))"
    )
    command = [sys.executable, "-c", code, *map(str, files)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert outputs[0] == outputs[1] == f"{int(file_tiles(files, 32).images.sum())} 5\n"
