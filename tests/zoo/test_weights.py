import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from zoo.errors import WeightsError
from zoo.weights import load_state, read_weights, save_weights


def small_net(width: int = 4) -> nn.Module:
    torch.manual_seed(width)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Linear(2, 2))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save_weights(path, small_net(), {"model": "small", "options": {"width": 4}})
    return path


def test_weights_come_back_bit_by_bit(tmp_path):
    net = small_net()
    with torch.no_grad():
        net[0].weight[0, 0, 0] = torch.tensor([1e-45, -0.0, 3.4e38])
    net[1](torch.randn(2, 4, 3, 3))  # changes running statistics and the integer counter
    path = tmp_path / "net.safetensors"
    save_weights(path, net, {"model": "small", "options": {"a": [1, None, "ü"]}})
    tensors, metadata = read_weights(path, "small")
    assert metadata["options"] == {"a": [1, None, "ü"]}
    other = small_net().requires_grad_(False)
    load_state(other, tensors, path)
    for name, tensor in net.state_dict().items():
        found = other.state_dict()[name]
        assert found.dtype == tensor.dtype
        assert found.numpy().tobytes() == tensor.numpy().tobytes(), name


def test_channels_last_weights_are_the_same_weights(tmp_path):
    net = small_net()
    path = tmp_path / "net.safetensors"
    save_weights(path, net.to(memory_format=torch.channels_last), {"model": "small"})
    tensors, _ = read_weights(path, "small")
    assert torch.equal(tensors["0.weight"], small_net()[0].weight)


def test_tied_weights_can_be_saved(tmp_path):
    net = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    net["b"].weight = net["a"].weight
    path = tmp_path / "net.safetensors"
    save_weights(path, net, {"model": "tied"})
    tensors, _ = read_weights(path, "tied")
    assert torch.equal(tensors["a.weight"], tensors["b.weight"])
    load_state(net, tensors, path)


def test_no_pickle_is_written(saved):
    assert safetensors.torch.load_file(saved).keys() == small_net().state_dict().keys()


@pytest.mark.parametrize("name", ["net.pt", "net", "net.safetensors.gz"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(WeightsError, match=r"safetensors"):
        save_weights(tmp_path / name, small_net(), {"model": "small"})
    assert not list(tmp_path.iterdir())


def test_another_models_weights_say_whose_they_are(saved):
    with pytest.raises(WeightsError, match=r"weights of 'small', not of 'large'.*load\('small'"):
        read_weights(saved, "large")


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(WeightsError) as caught:
            read_weights(path, "small")
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="not a readable safetensors file") as caught:
        read_weights(saved, "small")
    assert str(saved) in str(caught.value)


def test_a_pickled_checkpoint_is_not_opened(tmp_path):
    path = tmp_path / "net.safetensors"
    torch.save(small_net().state_dict(), path)
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        read_weights(path, "small")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_that_the_zoo_did_not_write(tmp_path, metadata):
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file(small_net().state_dict(), path, metadata=metadata)
    with pytest.raises(WeightsError, match="not written by the zoo"):
        read_weights(path, "small")


@pytest.mark.parametrize("header", ["{", "[]", "3", '"text"', "null"])
def test_a_damaged_header(tmp_path, header):
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file(small_net().state_dict(), path, metadata={"colorizer-zoo": header})
    with pytest.raises(WeightsError) as caught:
        read_weights(path, "small")
    assert str(path) in str(caught.value)


def test_another_format_says_who_wrote_it(tmp_path):
    path = tmp_path / "net.safetensors"
    header = json.dumps({"format": 99, "model": "small", "zoo_version": "7.1"})
    safetensors.torch.save_file(small_net().state_dict(), path, metadata={"colorizer-zoo": header})
    with pytest.raises(WeightsError, match=r"format 99.*7\.1"):
        read_weights(path, "small")


def test_wrong_shapes_and_names_are_named_and_nothing_is_loaded(saved):
    tensors, _ = read_weights(saved, "small")
    wider = small_net(6)
    before = {name: t.clone() for name, t in wider.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_state(wider, tensors, saved)
    assert "0.weight is (4, 1, 3, 3), not (6, 1, 3, 3)" in str(caught.value)
    assert "more)" in str(caught.value)
    assert all(torch.equal(t, before[name]) for name, t in wider.state_dict().items())

    tensors["9.weight"] = tensors.pop("0.weight")
    with pytest.raises(WeightsError, match=r"0\.weight is missing; 9\.weight is not of this"):
        load_state(small_net(), tensors, saved)


def test_a_failing_write_keeps_the_file_that_was_there(saved, monkeypatch):
    before = saved.read_bytes()

    def half(tensors, filename, metadata=None):
        Path(filename).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", half)
    with pytest.raises(OSError, match="No space left"):
        save_weights(saved, small_net(6), {"model": "small"})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
