import hashlib
import io
import json
import pickle
import socket
import tarfile
import time

import numpy as np
import pytest
import skimage.data
from PIL import Image
from torchvision import datasets

from zoo.errors import DataError
from zoo_datasets.torchvision_sets import CIFAR10, CIFAR100, STL10, SUN397, Imagenette, Places365

SETS = [CIFAR10, CIFAR100, STL10, Imagenette, SUN397, Places365]
NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    """A cache of its own, and addresses at which nothing answers."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    for name in ("CIFAR10", "CIFAR100", "STL10"):
        loader = getattr(datasets, name)
        monkeypatch.setattr(loader, "url", NOWHERE + loader.filename)
    monkeypatch.setattr(datasets.SUN397, "_DATASET_URL", NOWHERE + "SUN397.tar.gz")
    monkeypatch.setattr(datasets.Places365, "_BASE_URL", NOWHERE)
    archive = (NOWHERE + "imagenette2-320.tgz", "0" * 32)
    monkeypatch.setitem(datasets.Imagenette._ARCHIVES, "320px", archive)


@pytest.fixture(scope="module")
def pictures():
    coffee = skimage.data.coffee()
    return [np.ascontiguousarray(coffee[i : i + 96, 9 * i : 9 * i + 96]) for i in range(40)]


def jpeg(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG")
    return buffer.getvalue()


def write_archive(path, contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as tar:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return md5(path.read_bytes())


def md5(data):
    return hashlib.md5(data).hexdigest()


@pytest.mark.parametrize("dataset", SETS, ids=lambda d: d.info.name)
def test_without_a_network_the_way_out_is_one_quick_line(dataset, tmp_path):
    started = time.monotonic()
    with pytest.raises(DataError) as caught:
        dataset().open("test", 32)
    message = str(caught.value)
    assert time.monotonic() - started < 5
    assert "\n" not in message and NOWHERE in message
    assert f"into {tmp_path / 'datasets' / dataset.info.name} by hand" in message
    assert "refused" in message and "--dataset photos" in message
    assert socket.getdefaulttimeout() is None
    assert dataset.info.download


def cifar(dataset, loader, pictures, monkeypatch):
    """An archive in torchvision's format, in the place named by the error message."""
    small = [np.asarray(Image.fromarray(picture).resize((32, 32))) for picture in pictures]
    small[1] = np.full((32, 32, 3), 80, dtype=np.uint8)
    flat = np.stack(small).transpose(0, 3, 1, 2).reshape(len(small), -1)
    contents, lists = {}, {}
    for kind in ("train_list", "test_list"):
        lists[kind] = []
        for number, (name, _) in enumerate(getattr(loader, kind)):
            rows = flat[number * 4 : number * 4 + 4]
            key = "labels" if dataset is CIFAR10 else "fine_labels"
            contents[name] = pickle.dumps({"data": rows, key: [0] * len(rows)})
            lists[kind].append([name, md5(contents[name])])
    meta = pickle.dumps({loader.meta["key"]: ["cup"]})
    contents[loader.meta["filename"]] = meta
    archive = dataset().root / loader.filename
    inside = {f"{loader.base_folder}/{name}": data for name, data in contents.items()}
    monkeypatch.setattr(loader, "tgz_md5", write_archive(archive, inside))
    monkeypatch.setattr(loader, "meta", {**loader.meta, "md5": md5(meta)})
    for kind, entries in lists.items():
        monkeypatch.setattr(loader, kind, entries)
    return small


@pytest.mark.parametrize(
    ("dataset", "loader", "train"),
    [(CIFAR10, datasets.CIFAR10, 20), (CIFAR100, datasets.CIFAR100, 4)],
)
def test_cifar(dataset, loader, train, pictures, monkeypatch, capsys):
    small = cifar(dataset, loader, pictures, monkeypatch)
    images = dataset().open("train", 32)
    assert (len(images), images.size, list(images.grey)) == (train - 1, 32, ["train/00001"])
    np.testing.assert_array_equal(images.images[1], small[2])
    assert list(images.ids[:2]) == ["train/00000", "train/00002"]
    assert len(dataset().open("test", 32)) == 3
    assert dataset().open("test", 48).images.shape == (3, 48, 48, 3)
    assert capsys.readouterr().out == ""


def test_cached_tiles_need_no_archive(pictures, monkeypatch):
    cifar(CIFAR10, datasets.CIFAR10, pictures, monkeypatch)
    before = CIFAR10().open("test", 32).manifest_hash()
    monkeypatch.setattr(CIFAR10, "_open", None)
    assert CIFAR10().open("test", 32).manifest_hash() == before


def test_a_damaged_archive_is_named(pictures, monkeypatch):
    cifar(CIFAR10, datasets.CIFAR10, pictures, monkeypatch)
    (CIFAR10().root / "cifar-10-python.tar.gz").write_bytes(b"half")
    with pytest.raises(DataError, match="is there, but incomplete or not the original"):
        CIFAR10().open("test", 32)


def test_stl10(pictures, monkeypatch):
    loader = datasets.STL10
    planes = {"train": np.stack(pictures[:6]), "test": np.stack(pictures[6:10])}
    contents = {}
    for name, images in planes.items():
        contents[f"{name}_X.bin"] = images.transpose(0, 3, 2, 1).tobytes()
        contents[f"{name}_y.bin"] = bytes([1] * len(images))
    contents["unlabeled_X.bin"] = contents["test_X.bin"]
    for kind in ("train_list", "test_list"):
        entries = [[name, md5(contents[name])] for name, _ in getattr(loader, kind)]
        monkeypatch.setattr(loader, kind, entries)
    inside = {f"stl10_binary/{name}": data for name, data in contents.items()}
    monkeypatch.setattr(loader, "tgz_md5", write_archive(STL10().root / loader.filename, inside))
    for split in ("train", "test"):
        np.testing.assert_array_equal(STL10().open(split, 96).images, planes[split])
    assert STL10().open("test", 64).size == 64


@pytest.fixture
def imagenette(pictures, monkeypatch):
    inside = {}
    for split, count in (("train", 5), ("val", 2)):
        for i in range(count):
            inside[f"imagenette2-320/{split}/n01440764/{i}.JPEG"] = jpeg(pictures[i])
    address = NOWHERE + "imagenette2-320.tgz"
    checksum = write_archive(Imagenette().root / "imagenette2-320.tgz", inside)
    monkeypatch.setitem(datasets.Imagenette._ARCHIVES, "320px", (address, checksum))


def test_imagenette(imagenette):
    train, test = Imagenette().open("train", 64), Imagenette().open("test", 64)
    assert (len(train), train.size, len(test), test.size) == (5, 72, 2, 64)
    assert test.ids[0] == "imagenette2-320/val/n01440764/0.JPEG"


def test_an_interrupted_unpacking_is_done_again(imagenette, monkeypatch):
    root = Imagenette().root
    kept, half = root / "by-hand", root / "imagenette2-320" / "val" / "n01440764"
    kept.mkdir()
    half.mkdir(parents=True)
    (root / ".unfinished.json").write_text(json.dumps(["by-hand"]))
    assert len(Imagenette().open("test", 64)) == 2
    assert kept.exists() and not (root / ".unfinished.json").exists()

    def interrupted(self, split, *, download):
        (self.root / "half").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(Imagenette, "_open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Imagenette().open("test", 64)
    assert kept.exists() and half.exists() and not (root / "half").exists()


def test_sun397(pictures, monkeypatch):
    inside = {"SUN397/ClassName.txt": b"/a/abbey\n"}
    for i, picture in enumerate(pictures):
        inside[f"SUN397/a/abbey/sun_{i:03d}.jpg"] = jpeg(picture)
    checksum = write_archive(SUN397().root / "SUN397.tar.gz", inside)
    monkeypatch.setattr(datasets.SUN397, "_DATASET_MD5", checksum)
    train, test = SUN397().open("train", 64), SUN397().open("test", 64)
    assert len(train) + len(test) == 40 and 1 <= len(test) <= 10
    assert not set(train.ids) & set(test.ids)
    assert list(SUN397().open("test", 64).ids) == list(test.ids)


def test_places365(pictures, monkeypatch):
    loader, root = datasets.Places365, Places365().root
    devkit = {
        "categories_places365.txt": b"/a/abbey 0\n",
        "places365_train_standard.txt": b"/a/abbey/1.jpg 0\n/a/abbey/2.jpg 0\n",
        "places365_val.txt": b"val_1.jpg 0\n",
    }
    train = {f"data_256/a/abbey/{i}.jpg": jpeg(pictures[i]) for i in (1, 2)}
    archives = {
        "filelist_places365-standard.tar": devkit,
        "train_256_places365standard.tar": train,
        "val_256.tar": {"val_256/val_1.jpg": jpeg(pictures[3])},
    }
    checksums = {name: write_archive(root / name, inside) for name, inside in archives.items()}
    categories = "categories_places365.txt"
    monkeypatch.setattr(loader, "_CATEGORIES_META", (categories, md5(devkit[categories])))
    for split, name in (
        ("train-standard", "places365_train_standard.txt"),
        ("val", "places365_val.txt"),
    ):
        monkeypatch.setitem(loader._FILE_LIST_META, split, (name, md5(devkit[name])))
        images = loader._IMAGES_META[split, True][0]
        monkeypatch.setitem(loader._IMAGES_META, (split, True), (images, checksums[images]))
    name = "filelist_places365-standard.tar"
    monkeypatch.setitem(loader._DEVKIT_META, "standard", (name, checksums[name]))
    assert list(Places365().open("test", 64).ids) == ["val_256/val_1.jpg"]
    assert list(Places365().open("train", 64).ids) == [
        "data_256_standard/a/abbey/1.jpg",
        "data_256_standard/a/abbey/2.jpg",
    ]


@pytest.mark.parametrize("dataset", SETS, ids=lambda d: d.info.name)
def test_sizes_below_one_are_refused(dataset):
    with pytest.raises(DataError, match="0 px"):
        dataset().open("test", 0)
