import json
import os
import resource
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

import zoo
from zoo._version import __version__
from zoo.colorizer import Colorizer, Info
from zoo.errors import OptionError, OutputError, UnknownNameError, WeightsError
from zoo.weights.file import Origin, find_weights, load_state, open_weights, save_weights


def small_net(width: int = 4) -> nn.Module:
    torch.manual_seed(width)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Linear(2, 2))


@dataclass(frozen=True)
class SmallOptions:
    width: int = 4
    note: str = "ü"


class Small(Colorizer):
    info = Info(name="small", title="Small", paper="none", license="MIT")
    Options = SmallOptions

    def build(self):
        return small_net(self.options.width)

    def forward(self, L):
        return torch.zeros(len(L), 2, *L.shape[2:])


class Large(Small):
    info = Info(name="large", title="Large", paper="none", license="MIT")


class Painter(Small):
    info = replace(Small.info, output="rgb")


def save(path: Path, net: nn.Module | None = None, options: object = SmallOptions()) -> Path:
    net = net or small_net()
    save_weights(
        path, net, info=Small.info, options=options, record=None, origin=Origin("CC-BY-4.0", "x")
    )
    return path


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    return save(tmp_path / "net.safetensors")


def header(path: Path) -> dict:
    with safetensors.safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["colorizer-zoo"])


def rewrite(path: Path, **changes: object) -> None:
    """Changes the metadata of a file of weights; None takes an entry out."""
    metadata = header(path) | changes
    metadata = {k: v for k, v in metadata.items() if v is not None or k == "training"}
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file(tensors, path, metadata={"colorizer-zoo": json.dumps(metadata)})


def test_weights_come_back_bit_by_bit(tmp_path):
    net = small_net()
    with torch.no_grad():
        net[0].weight[0, 0, 0] = torch.tensor([1e-45, -0.0, 3.4e38])
    net[1](torch.randn(2, 4, 3, 3))  # changes running statistics and the integer counter
    path = save(tmp_path / "net.safetensors", net)
    stored = open_weights(path, Small)
    assert stored.options == {"width": 4, "note": "ü"}
    other = small_net().requires_grad_(False)
    load_state(other, stored.tensors(), path)
    for name, tensor in net.state_dict().items():
        found = other.state_dict()[name]
        assert found.dtype == tensor.dtype
        assert found.numpy().tobytes() == tensor.numpy().tobytes(), name


def test_channels_last_weights_are_the_same_weights(tmp_path):
    path = tmp_path / "net.safetensors"
    save(path, small_net().to(memory_format=torch.channels_last))
    assert torch.equal(open_weights(path, Small).tensors()["0.weight"], small_net()[0].weight)


def test_half_precision_is_for_kernels_and_matrices_alone(tmp_path):
    net = small_net()
    net[1].running_var.fill_(1e6)  # infinity in half precision
    with torch.no_grad():
        net[2].weight[0, 0] = 1e5  # and so would this be
    path = tmp_path / "half.safetensors"
    origin = Origin("MIT")
    save_weights(
        path, net, info=Small.info, options=SmallOptions(), record=None, origin=origin, half=True
    )
    stored = safetensors.torch.load_file(path)
    halves = {name for name, tensor in stored.items() if tensor.dtype == torch.float16}
    assert halves == {"0.weight"}
    again = small_net(4)
    load_state(again, stored, path)
    for name, tensor in net.state_dict().items():
        found = again.state_dict()[name]
        assert found.dtype == tensor.dtype
        if name in halves:
            assert torch.equal(found, tensor.half().float())
        else:
            assert torch.equal(found, tensor), name


@pytest.mark.parametrize("name", zoo.list_colorizers())
def test_the_half_precision_file_colours_alike(name, fitted, greys, tmp_path):
    colorizer = fitted(name)
    path = tmp_path / "half.safetensors"
    colorizer.save(path, half=True)
    again = zoo.load(name, path, device="cpu", precision="fp32")
    one, other = (c.predict(greys).astype(float) for c in (colorizer, again))
    # 0.02 dB at 22 dB are a mean square error that moves by half a percent.
    assert ((one - other) ** 2).mean() < 0.005 * 10 ** (-22 / 10) * 255**2


def test_tied_weights_can_be_saved(tmp_path):
    net = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    net["b"].weight = net["a"].weight
    path = save(tmp_path / "net.safetensors", net)
    tensors = open_weights(path, Small).tensors()
    assert torch.equal(tensors["a.weight"], tensors["b.weight"])
    load_state(net, tensors, path)


def test_no_pickle_is_written(small_file):
    assert safetensors.torch.load_file(small_file).keys() == small_net().state_dict().keys()


@pytest.mark.parametrize("name", ["net.pt", "net", "net.safetensors.gz"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(WeightsError, match=r"safetensors"):
        save(tmp_path / name)
    assert not list(tmp_path.iterdir())


# ---- what the metadata say, and what is checked of it --------------------------------------


def test_the_metadata_tell_all(small_file):
    assert header(small_file) == {
        "format": 2,
        "model": "small",
        "options": {"width": 4, "note": "ü"},
        "preprocessing": {
            "input": "CIE L in [0, 100], D65, 2° observer",
            "output": "CIE ab, D65, 2° observer",
        },
        "training": None,
        "license": "CC-BY-4.0",
        "source": "x",
        "trained_on": "",
        "zoo_version": __version__,
    }


@pytest.mark.parametrize("name", zoo.list_colorizers())
def test_a_trained_colorizers_file_tells_how_it_was_trained(name, saved, fitted):
    metadata = header(saved(name))
    training = metadata["training"]
    record = fitted(name).record
    assert metadata["license"]
    assert training["budget"] == "2steps"
    assert training["manifest"] == record.manifest
    assert len(record.manifest) == 64
    assert training["images_available"] == 36
    assert "curve" not in training
    stored = open_weights(saved(name), type(fitted(name)))
    assert stored.record == replace(record, curve=[])


def test_the_manifest_is_that_of_the_images(new, tiles):
    from zoo.data.dataset import ImageSet

    images = ImageSet(tiles[:4], list("abcd"), source="somewhere", license="CC0-1.0")
    name = next(iter(zoo.list_colorizers()))
    record = new(name).fit(images, budget="1steps", size=32).record
    assert record.manifest == images.manifest_hash()
    assert (record.data, record.data_license) == ("somewhere", "CC0-1.0")
    other = new(name).fit(tiles[1:5], budget="1steps", size=32).record
    assert other.manifest != record.manifest


def test_another_models_weights_say_whose_they_are(small_file):
    with pytest.raises(
        WeightsError, match=r"weights of 'small', not of 'large'; type small@.*net\.safetensors"
    ):
        open_weights(small_file, Large)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99, "zoo_version": "7.1"}, r"format 99.*reads 2.*7\.1"),
        ({"format": 1}, r"format 1, this zoo reads 2"),
        ({"preprocessing": {"input": "grey in [0, 1]"}}, r"another input: 'grey in \[0, 1\]'"),
        ({"preprocessing": None}, r"another input: None"),
        ({"options": [1]}, r"damaged: its options are \[1\]"),
        ({"options": {"width": 4, "depth": 3}}, r"options that small does not have: depth=3"),
        ({"training": {"budget": "1s"}}, r"training record cannot be read"),
        ({"license": None}, r"names no license"),
        ({"license": ""}, r"names no license"),
        ({"license": 5}, r"its license is 5, and no text"),
        ({"source": 5}, r"its source is 5, and no text"),
        ({"trained_on": None}, r"its trained_on is None, and no text"),
        ({"zoo_version": 1}, r"its zoo_version is 1, and no text"),
    ],
)
def test_a_mismatch_is_explained(changes, message, small_file):
    rewrite(small_file, **changes)
    with pytest.raises(WeightsError, match=message) as caught:
        open_weights(small_file, Small)
    assert str(small_file) in str(caught.value)


def test_a_painters_weights_are_not_a_predictors(small_file):
    with pytest.raises(WeightsError, match=r"another output: 'CIE ab.*'sRGB in \[0, 1\]'"):
        open_weights(small_file, Painter)


@pytest.mark.parametrize(
    "change",
    [{"size": "64"}, {"budget": 5}, {"manifest": 5}, {"cost": {"seconds": "1"}}, {"seed": True}],
)
def test_a_record_of_other_types_is_refused(change, saved, fitted, tmp_path):
    name = zoo.list_colorizers()[0]
    path = tmp_path / "x.safetensors"
    path.write_bytes(saved(name).read_bytes())
    rewrite(path, training=header(path)["training"] | change)
    with pytest.raises(WeightsError, match="training record cannot be read"):
        open_weights(path, type(fitted(name)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_hold_no_numbers_are_refused(value, tmp_path):
    net = small_net()
    torch.nn.init.constant_(net[0].bias, value)
    path = save(tmp_path / "net.safetensors", net)
    with pytest.raises(WeightsError, match=r"0\.bias holds NaN or infinity"):
        Small().restore(open_weights(path, Small))


def test_weights_of_another_type_are_refused(tmp_path):
    path = save(tmp_path / "net.safetensors", small_net().double())
    with pytest.raises(WeightsError, match=r"is torch.float64, not torch.float32"):
        Small().restore(open_weights(path, Small))


def test_an_unfinished_training_is_not_weights(tmp_path):
    torch.save({"identity": {}, "feed": {}, "net": {}}, tmp_path / "w-checkpoint.pt")
    with pytest.raises(WeightsError, match=r"unfinished training.*--resume"):
        find_weights(tmp_path / "w-checkpoint.pt", Small)


def test_a_published_name_wins_over_a_folder_and_may_have_its_models_name_in_front(
    monkeypatch, tmp_path
):
    from zoo.registry import colorizer_class

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    Path("eccv16").mkdir()
    for name in ("eccv16", "zhang_rebalanced@eccv16"):
        with pytest.raises(WeightsError, match="zhang_rebalanced@eccv16 is not fetched"):
            find_weights(name, colorizer_class("zhang_rebalanced"))


@pytest.mark.parametrize("manifest", ["", "abc", "Z" * 64])
def test_a_manifest_that_is_none_is_refused(manifest, saved, fitted, tmp_path):
    name = zoo.list_colorizers()[0]
    path = tmp_path / "x.safetensors"
    path.write_bytes(saved(name).read_bytes())
    rewrite(path, training=header(path)["training"] | {"manifest": manifest})
    with pytest.raises(WeightsError, match="dataset manifest"):
        open_weights(path, type(fitted(name)))


def in_old_spelling(metadata: dict) -> dict:
    return {key.replace("license", "licence"): value for key, value in metadata.items()}


def test_the_spelling_of_version_0_1_is_read(saved, fitted, small_file, tmp_path):
    for path, cls in ((small_file, Small), (saved("mean_color"), type(fitted("mean_color")))):
        expected, metadata = open_weights(path, cls), in_old_spelling(header(path))
        if metadata["training"]:
            metadata["training"] = in_old_spelling(metadata["training"])
        old = tmp_path / f"old-{path.name}"
        tensors = safetensors.torch.load_file(path)
        safetensors.torch.save_file(tensors, old, metadata={"colorizer-zoo": json.dumps(metadata)})
        found = open_weights(old, cls)
        assert (found.origin, found.record) == (expected.origin, expected.record)


def test_license_and_source_survive_loading_and_saving(small_file, tmp_path):
    colorizer = Small().restore(open_weights(small_file, Small))
    colorizer.save(tmp_path / "again.safetensors")
    again = header(tmp_path / "again.safetensors")
    assert (again["license"], again["source"]) == ("CC-BY-4.0", "x")


# ---- files that are damaged, missing, or of another program --------------------------------


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path / "none.pth", tmp_path):
        with pytest.raises(WeightsError) as caught:
            find_weights(path, Small)
        assert str(path) in str(caught.value)


def test_a_name_that_nothing_was_published_under():
    with pytest.raises(UnknownNameError, match="nothing"):
        find_weights("nothing", Small)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file(small_file, keep):
    small_file.write_bytes(small_file.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="not a readable safetensors file") as caught:
        open_weights(small_file, Small)
    assert str(small_file) in str(caught.value)


def test_a_pickled_checkpoint_is_not_safetensors(tmp_path):
    path = tmp_path / "net.safetensors"
    torch.save(small_net().state_dict(), path)
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        open_weights(path, Small)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_that_the_zoo_did_not_write(tmp_path, metadata):
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file(small_net().state_dict(), path, metadata=metadata)
    with pytest.raises(WeightsError, match="not written by the zoo: small knows no other format"):
        open_weights(path, Small)


@pytest.mark.parametrize("header", ["{", "[]", "3", '"text"', "null"])
def test_a_damaged_header(tmp_path, header):
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file(small_net().state_dict(), path, metadata={"colorizer-zoo": header})
    with pytest.raises(WeightsError, match="is damaged") as caught:
        open_weights(path, Small)
    assert str(path) in str(caught.value)


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Evil()}, "cannot be read as weights"),
        ({"state_dict": small_net().state_dict()}, "more than a state dict of tensors"),
        ([torch.zeros(2)], "more than a state dict of tensors"),
        (small_net().state_dict(), "small knows no other format"),
    ],
)
def test_checkpoints_of_pytorch(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=message):
        open_weights(tmp_path / "net.pth", Small)
    assert not Path("evil").exists()


def test_a_plugin_that_knows_another_programs_format(tmp_path):
    class Knows(Small):
        @classmethod
        def convert_state_dict(cls, tensors):
            return {"width": len(tensors["0.weight"])}, dict(tensors)

    torch.save(small_net(6).state_dict(), tmp_path / "net.pth")
    stored = open_weights(tmp_path / "net.pth", Knows)
    assert (stored.options, stored.origin.license) == ({"width": 6}, "unknown")
    colorizer = Knows(**stored.options).restore(stored)
    assert torch.equal(colorizer.net.state_dict()["0.weight"], small_net(6)[0].weight)
    with pytest.raises(OptionError):
        Knows(width="wide")


# ---- into the network ----------------------------------------------------------------------


def test_wrong_shapes_and_names_are_named_and_nothing_is_loaded(small_file):
    tensors = dict(open_weights(small_file, Small).tensors())
    wider = small_net(6)
    before = {name: t.clone() for name, t in wider.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_state(wider, tensors, small_file)
    assert "0.weight is (4, 1, 3, 3), not (6, 1, 3, 3)" in str(caught.value)
    assert "more)" in str(caught.value)
    assert all(torch.equal(t, before[name]) for name, t in wider.state_dict().items())

    tensors["9.weight"] = tensors.pop("0.weight")
    with pytest.raises(WeightsError, match=r"0\.weight is missing; 9\.weight is not of this"):
        load_state(small_net(), tensors, small_file)


def test_a_failing_write_keeps_the_file_that_was_there(small_file, monkeypatch):
    before = small_file.read_bytes()

    def half(tensors, filename, metadata=None):
        Path(filename).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", half)
    with pytest.raises(OutputError, match=r"net\.safetensors could not be .*: No space left"):
        save(small_file, small_net(6))
    assert small_file.read_bytes() == before
    assert list(small_file.parent.iterdir()) == [small_file]


def test_a_disk_that_fills_is_told_in_the_systems_words(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError) as caught:
            save(tmp_path / "net.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{tmp_path}/net.safetensors could not be written: File too large (it needs " in str(
        caught.value
    )
    assert not list(tmp_path.iterdir())


def test_metadata_nested_without_end_are_damage(tmp_path):
    path = tmp_path / "deep.safetensors"
    safetensors.torch.save_file(
        {"x": torch.zeros(1)}, path, metadata={"colorizer-zoo": "[" * 100_000}
    )
    with pytest.raises(WeightsError, match="is damaged"):
        zoo.load("mean_color", path, device="cpu")


def test_a_checkpoint_is_no_larger_than_its_file(tmp_path):
    """What unpacks to much more is refused by what it declares, before it is unpacked."""
    torch.save({"x": torch.zeros(4 << 20)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    torch.save({"x": torch.zeros(1).expand(1 << 40)}, tmp_path / "broad.pth")
    for name, said in (("bomb.pth", "unpack to"), ("broad.pth", "more numbers than are stored")):
        with pytest.raises(WeightsError, match=said):
            zoo.load("zhang_rebalanced", tmp_path / name, device="cpu")
