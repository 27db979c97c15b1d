"""The field's test sets: stand-ins under the right names, and the two kernels."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import zoo.images.open
from zoo import registry
from zoo.errors import DataError, InputError
from zoo.images.open import PIL_BILINEAR, PLAIN_BILINEAR, SQUARE_CROP, SQUASHED, prepared_tile
from zoo_benchmark.protocol import find_protocol, names
from zoo_benchmark.settings import check_preparation
from zoo_datasets.evaluation_sets import ADE20K, COCOVal, FieldSplit, ImageNetVal

FIELD = ("val5k", "val50k", "ctest10k", "coco_stuff", "ade20k")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photograph(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 61, 3), np.uint8)
    file = tmp_path / "photograph.png"
    Image.fromarray(pixels).save(file)
    return file


def fill(folder: Path, files: list[str], photograph: Path) -> Path:
    folder.mkdir()
    for name in files:
        (folder / name).symlink_to(photograph)
    return folder


@pytest.fixture
def few(monkeypatch):
    """Splits of four files, so that a test is done at once."""
    whole = ImageNetVal.splits
    small = {
        name: FieldSplit(4, s.crop, s.resize, s.names and (lambda s=s: s.names()[:4]))
        for name, s in whole.items()
    }
    monkeypatch.setattr(ImageNetVal, "splits", small)
    return small["val5k"].names()


@pytest.mark.parametrize("size", [(37, 61), (300, 200), (97, 256), (1000, 31)])
def test_the_kernels_are_opencvs_and_pillows(size):
    rgb = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    ours = prepared_tile(rgb, 64, SQUASHED, PLAIN_BILINEAR).astype(int)
    theirs = cv2.resize(rgb, (64, 64), interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(ours - theirs).max() <= 1
    exact = cv2.resize(rgb.astype(np.float32), (64, 64), interpolation=cv2.INTER_LINEAR)
    assert np.abs(ours - exact).max() <= 0.5 + 1e-2
    squashed = np.asarray(Image.fromarray(rgb).resize((64, 64), Image.Resampling.BILINEAR))
    assert np.array_equal(prepared_tile(rgb, 64, SQUASHED, PIL_BILINEAR), squashed)


def test_the_centre_crop_is_torchvisions():
    from torchvision import transforms

    for height, width in ((300, 201), (201, 300), (64, 67), (120, 120)):
        rgb = np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8)
        short = min(height, width)
        steps = transforms.Compose([transforms.CenterCrop(short), transforms.Resize(48)])
        theirs = np.asarray(steps(Image.fromarray(rgb)))
        assert np.array_equal(prepared_tile(rgb, 48, SQUARE_CROP, PIL_BILINEAR), theirs)


@pytest.mark.parametrize("kind", ["folder", "tar", "zip", "classes"])
def test_folders_and_archives_are_one_and_the_same(kind, few, photograph, tmp_path):
    extra = "ILSVRC2012_val_00000009.JPEG"  # not of the split
    folder = fill(tmp_path / "val", [*few, extra], photograph)
    place = folder
    if kind == "tar":
        place = tmp_path / "val.tar"
        with tarfile.open(place, "w", dereference=True) as tar:
            tar.add(folder, "")
    elif kind == "zip":
        place = tmp_path / "val.zip"
        with zipfile.ZipFile(place, "w") as packed:
            for name in (*few, extra):
                packed.write(folder / name, f"images/{name}")
    elif kind == "classes":
        (folder / "n01440764").mkdir()
        (folder / few[2]).rename(folder / "n01440764" / few[2])
    images = registry.open_dataset(f"imagenet_val:{place},split=val5k").open("test", 16)
    assert list(images.ids) == few == [f"ILSVRC2012_val_{n:08d}.JPEG" for n in (1, 2, 3, 4)]
    rgb = np.asarray(Image.open(photograph))
    assert np.array_equal(images.images[3], prepared_tile(rgb, 16, SQUARE_CROP, PIL_BILINEAR))


def test_grey_files_stay_and_there_is_nothing_to_train_on(few, tmp_path):
    grey = tmp_path / "grey.png"
    Image.new("L", (40, 40), 90).save(grey)
    folder = fill(tmp_path / "val", few, grey)
    dataset = ImageNetVal(f"{folder},split=val50k")
    assert len(dataset.open("test", 16)) == 4
    with pytest.raises(DataError, match=r"evaluation only.*--budget none"):
        dataset.open("train", 16)


def test_what_is_missing_or_wrong_is_said(few, photograph, tmp_path):
    folder = fill(tmp_path / "val", few[:2], photograph)
    with pytest.raises(DataError, match=r"2 of the 4 files of split=val5k: without .*00000003"):
        ImageNetVal(f"{folder},split=val5k")
    with pytest.raises(DataError, match="has no split 'val6k'; type split=val50k or"):
        ImageNetVal(f"{folder},split=val6k")
    with pytest.raises(DataError, match="needs its list of files: add ,list=FILE"):
        ImageNetVal(f"{folder},split=ctest10k")
    with pytest.raises(DataError, match="leave list= out"):
        ImageNetVal(f"{folder},split=val5k,list=x.txt")
    with pytest.raises(DataError, match="does not exist"):
        ImageNetVal(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="neither a folder nor a whole tar"):
        ImageNetVal(str(photograph))
    broken = fill(tmp_path / "broken", few[1:], photograph)
    (broken / few[0]).write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 4 files of split=val5k cannot be read"):
        ImageNetVal(f"{broken},split=val5k").open("test", 16)


def test_a_lack_of_memory_is_not_remembered(few, photograph, tmp_path, monkeypatch):
    dataset = ImageNetVal(f"{fill(tmp_path / 'val', few, photograph)},split=val5k")

    def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(zoo.images.open, "decode", fail)
        with pytest.raises(DataError, match=r"4 of 4 files .* not enough memory to decode it"):
            dataset.open("test", 16)
    assert len(dataset.open("test", 16)) == 4


def test_the_list_of_ctest10k_is_the_users(few, photograph, tmp_path):
    folder, file = fill(tmp_path / "val", few, photograph), tmp_path / "ctest10k.txt"
    file.write_text("\n".join(f"val/{name} 7" for name in reversed(few)) + "\n")
    dataset = ImageNetVal(f"{folder},list={file}")  # the split follows
    assert (dataset.split, dataset.files) == ("ctest10k", few[::-1])
    for text, says in (
        ("\n".join(few[:3]), "names 3 files; split=ctest10k has 4 different ones"),
        ("\n".join([*few[:3], few[0]]), "names 4 files, 1 of them twice"),
        ("a.jpg", "is not of imagenet_val: a.jpg is no such file"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=says):
            ImageNetVal(f"{folder},split=ctest10k,list={file}")
    with pytest.raises(DataError, match="cannot read the list"):
        ImageNetVal(f"{folder},list={tmp_path / 'none.txt'}")


@pytest.mark.long
@pytest.mark.parametrize("name", FIELD)
def test_stand_ins_of_the_full_count(name, photograph, tmp_path):
    files = {
        "coco_stuff": [f"{7 * n:012d}.jpg" for n in range(5000)],
        "ade20k": [f"ADE_val_{n:08d}.jpg" for n in range(1, 2001)],
    }.get(name, [f"ILSVRC2012_val_{n:08d}.JPEG" for n in range(1, 50_001)])
    folder = fill(tmp_path / "val", files, photograph)
    protocol = find_protocol(f"{name}@1")
    asked = f"{protocol.dataset.partition(',')[0]}:{folder}"
    if name == "ctest10k":
        (tmp_path / "list.txt").write_text("\n".join(files[::5]))
        asked += f",list={tmp_path / 'list.txt'}"
    dataset = registry.open_dataset(protocol.complete(asked))
    check_preparation(protocol, dataset)
    images = dataset.open("test", 16)
    assert len(images) == protocol.count
    (folder / images.ids[-1]).unlink()
    with pytest.raises(DataError, match=f"holds {protocol.count - 1:,} of the {protocol.count:,}"):
        registry.open_dataset(protocol.complete(asked))


@pytest.mark.parametrize("name", FIELD)
def test_the_protocols_train_nothing_and_fix_the_split(name):
    assert f"{name}@1" in names()
    protocol = find_protocol(f"{name}@1")
    kind, _, option = protocol.dataset.partition(",")
    assert protocol.budget == "none"
    split = {c.info.name: c.splits for c in (ImageNetVal, COCOVal, ADE20K)}[kind][name]
    assert (protocol.count, protocol.crop, protocol.resize) == (
        split.count,
        split.crop,
        split.resize,
    )
    asked = protocol.complete(f"{kind}:/data")
    assert asked == f"{kind}:/data,{option}"
    assert protocol.leaves_open(asked) and not protocol.leaves_open("folder:/data")
    assert protocol.complete(asked) == asked
    with pytest.raises(InputError, match=f"wants {option} of {kind}, --dataset says split=other"):
        protocol.complete(f"{kind}:/data,split=other")
