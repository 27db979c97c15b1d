import tarfile
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from zoo.errors import DataError
from zoo_datasets.folder import Folder

REPOSITORY = Path(__file__).parents[2]
COFFEE = Path(skimage.__file__).parent / "data" / "coffee.png"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


def crops(folder, count, side=80):
    folder.mkdir(parents=True, exist_ok=True)
    coffee = Image.open(COFFEE).convert("RGB")
    for i in range(count):
        x, y = i * 7 % 500, i * 11 % 300
        coffee.crop((x, y, x + side, y + side + 10)).save(folder / f"{i:03d}.png")
    return folder


def grey(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((80, 80), 50).convert("RGB").save(path)


def both(folder, size=64):
    dataset = Folder(str(folder))
    return dataset.open("train", size), dataset.open("test", size)


@pytest.mark.parametrize("test", ["test", "val"])
def test_the_folders_own_splits(tmp_path, test):
    crops(tmp_path / "x/train/cups", 5)
    crops(tmp_path / "x" / test, 2)
    crops(tmp_path / "x/elsewhere", 3)
    train, held_out = both(tmp_path / "x")
    assert list(train.ids) == [f"train/cups/00{i}.png" for i in range(5)]
    assert list(held_out.ids) == [f"{test}/000.png", f"{test}/001.png"]
    assert (train.size, held_out.size) == (72, 64)


@pytest.mark.parametrize(("side", "expected"), [(72, 72), (71, 64), (30, 64)])
def test_training_tiles_leave_room_for_crops_where_all_images_do(tmp_path, side, expected):
    crops(tmp_path / "x/train", 3)
    crops(tmp_path / "x/train/small", 1, side)
    crops(tmp_path / "x/test", 1)
    train, test = both(tmp_path / "x")
    assert (train.size, test.size) == (expected, 64)


def test_test_tiles_are_centre_squares(tmp_path):
    crops(tmp_path / "x/train", 1)
    crops(tmp_path / "x/test", 1, side=64)
    original = np.asarray(Image.open(tmp_path / "x/test/000.png"))
    np.testing.assert_array_equal(both(tmp_path / "x")[1].images[0], original[5:69])


@pytest.mark.parametrize("count", [2, 3, 10, 150])
def test_an_undivided_folder_is_divided_by_content(tmp_path, count):
    train, test = both(crops(tmp_path / "x", count))
    assert len(train) + len(test) == count
    assert not set(train.ids) & set(test.ids)
    assert 1 <= len(test) <= max(1, count * 0.2)
    again = both(tmp_path / "x")
    assert [list(images.ids) for images in again] == [list(train.ids), list(test.ids)]


def test_renamed_and_added_files_do_not_move_the_others(tmp_path):
    folder = crops(tmp_path / "x", 120)
    test = set(both(folder)[1].ids)
    for name in test:
        (folder / name).rename(folder / f"renamed-{name}")
    crops(folder / "more", 130)
    after = set(both(folder)[1].ids)
    assert {f"renamed-{name}" for name in test} <= after


def test_identical_files_land_on_the_same_side(tmp_path):
    folder = crops(tmp_path / "x", 40)
    crops(folder / "copies", 40)
    for images in both(folder):
        originals = {name for name in images.ids if "/" not in name}
        assert {name.removeprefix("copies/") for name in images.ids} == originals


def test_a_train_folder_alone_is_divided_like_any_other(tmp_path):
    crops(tmp_path / "x/train", 10)
    train, test = both(tmp_path / "x")
    assert len(train) + len(test) == 10
    assert all(name.startswith("train/") for name in [*train.ids, *test.ids])


@pytest.mark.parametrize("divided", [True, False])
def test_broken_and_grey_files_are_named_and_left_out(tmp_path, divided):
    root = tmp_path / "x"
    crops(root / "train", 4)
    if divided:
        crops(root / "test", 4)
    for split in ("train", "test") if divided else ("train",):
        grey(root / split / "fog.png")
        (root / split / "cut.png").write_bytes((root / "train/000.png").read_bytes()[:3000])
        (root / split / "text.jpg").write_text("no image")
    train, test = both(root)
    for images in (train, test) if divided else ():
        assert [Path(name).name for name in images.grey] == ["fog.png"]
        assert [Path(name).name for name, _ in images.skipped] == ["cut.png", "text.jpg"]
    assert len(train) + len(test) == (8 if divided else 4)
    assert len(train.grey) + len(test.grey) == (2 if divided else 1)
    reasons = dict([*train.skipped, *test.skipped])
    assert "truncated" in reasons["train/cut.png"]
    assert "not an image" in reasons["train/text.jpg"]


def test_names_are_text_and_what_is_passed_over_is_counted(tmp_path):
    folder = crops(tmp_path / "pictures", 4)
    (folder / "000.png").rename(folder / "Gro\udcdfmutter.png")
    (folder / "001.png").rename(folder / "scan")
    (folder / "gone.png").symlink_to(folder / "nothing")
    train, test = both(folder)
    names = sorted([*train.ids, *test.ids])
    assert names == ["002.png", "003.png", r"Gro\xdfmutter.png", "scan"]
    assert train.left_out() == [f"passed over: 1 symbolic link ({folder / 'gone.png'})."]
    assert test.left_out() == []


def test_small_folders_of_mostly_grey_images_still_get_both_sides(tmp_path):
    folder = crops(tmp_path / "x", 2)
    for i in range(30):
        grey(folder / f"fog{i}.png")
    train, test = both(folder)
    assert (len(train), len(test)) == (1, 1)
    assert len(train.grey) + len(test.grey) == 30


def missing(root):
    return r"does not exist"


def a_file(root):
    root.touch()
    return r"is a file, not a folder"


def empty(root):
    root.mkdir()
    return r"holds no images \(\.jpg"


def all_corrupt(root):
    root.mkdir()
    (root / "a.jpg").write_text("no")
    (root / "b.png").touch()
    return r"none of 2 image files can be read; the first: .*a\.jpg: not an image"


def empty_train(root):
    crops(root / "test", 1)
    (root / "train").mkdir()
    return r"train' holds no images"


@pytest.mark.parametrize(
    "make", [missing, a_file, empty, all_corrupt, empty_train], ids=lambda f: f.__name__
)
def test_unusable_folders_are_refused_before_anything_runs(tmp_path, make):
    root = tmp_path / "photographs"
    reason = make(root)
    with pytest.raises(DataError, match=reason) as caught:
        Folder(str(root))
    assert "\n" not in str(caught.value) and "photographs" in str(caught.value)


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_test_split_alone_is_enough_where_nothing_is_trained(tmp_path, name):
    crops(tmp_path / name, 3)
    folder = Folder(str(tmp_path))
    assert len(folder.open("test", 64)) == 3
    with pytest.raises(DataError, match=rf"has a {name}/ but no train/ beside it; add one"):
        folder.open("train", 64)


def test_all_grey_or_too_few_images(tmp_path):
    grey(tmp_path / "grey/a.png")
    grey(tmp_path / "grey/b.png")
    for split in ("train", "test"):
        with pytest.raises(DataError, match="no colour images"):
            Folder(str(tmp_path / "grey")).open(split, 64)
    with pytest.raises(DataError, match="needs at least two images in colour"):
        Folder(str(crops(tmp_path / "one", 1))).open("train", 64)


def test_the_argument_is_required():
    with pytest.raises(DataError, match="--dataset folder:PATH"):
        Folder()


# Counts known from an independent measurement on the shared research data.


def extract(archive, prefix, target):
    path = REPOSITORY.parent / "shared" / "data" / archive
    if not path.exists():
        pytest.skip(f"the research data {archive} is not beside this checkout")
    with tarfile.open(path) as tar:
        members = [member for member in tar if member.name.startswith(prefix)]
        tar.extractall(target, members=members, filter="data")
    return target / prefix


def grey_floor(images):
    from zoo.images.open import to_grey

    values = []
    for truth in images.images:
        flat = to_grey(Image.fromarray(truth)).astype(float)[..., None]
        values.append(10 * np.log10(255**2 / np.mean((truth - flat) ** 2)))
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("archive", "prefix", "size", "kept", "left_out", "floor"),
    [
        ("photos-256.tar", "photos-256/test", 256, 98, 2, 22.13),
        ("tiny-imagenet-20k.tar", "tiny-imagenet-20k/val", 64, 1956, 44, 22.87),
    ],
)
def test_counts_of_research_data(tmp_path, archive, prefix, size, kept, left_out, floor):
    root = extract(archive, prefix, tmp_path).parent
    crops(root / "train", 1)
    images = Folder(str(root)).open("test", size)
    assert (len(images), len(images.grey), images.size) == (kept, left_out, size)
    assert grey_floor(images) == pytest.approx(floor, abs=0.01)
