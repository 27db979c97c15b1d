"""The learning rate of layers that start from published weights, an option of the shared loop."""

import pytest
import torch
from stopping import stop_after

import zoo
from zoo import registry
from zoo.errors import OptionError
from zoo.training.checkpoint import Checkpoint

NAME = "zhang_classifier"
PART = "model2"


class PartlyTrained(registry.colorizer_class(NAME)):
    @property
    def pretrained(self):
        return (PART,)


def new(cls=PartlyTrained, **options):
    return cls(device="cpu", precision="fp32", width=0.0625, batch_size=4, **options)


def moved(colorizer):
    """How far every parameter went from where the same seed starts."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = dict(new().build().named_parameters())
    return {name: p.detach() - start[name] for name, p in colorizer.net.named_parameters()}


def is_in_part(name):
    return name.startswith(f"{PART}.")


def test_a_step_of_the_part_is_shorter_by_the_factor(tiles):
    whole = moved(new().fit(tiles, budget="1steps", size=32))
    slower = moved(new(pretrained_rate=0.25).fit(tiles, budget="1steps", size=32))
    assert {is_in_part(name) for name in whole} == {True, False}
    for name, step in whole.items():
        factor = 0.25 if is_in_part(name) else 1
        assert step.abs().max() > 0, name
        assert torch.allclose(slower[name], factor * step, rtol=1e-2, atol=1e-7), name


def test_none_at_all_leaves_the_part_as_it_is(tiles):
    for name, step in moved(new(pretrained_rate=0).fit(tiles, budget="5steps", size=32)).items():
        assert step.any() != is_in_part(name), name


def test_stopped_and_resumed_it_goes_on_as_it_would_have(tiles, tmp_path):
    whole = new(pretrained_rate=0.1).fit(tiles, budget="8steps", size=32)
    checkpoint = Checkpoint(tmp_path / "half.pt")
    with pytest.raises(KeyboardInterrupt):
        new(pretrained_rate=0.1).fit(
            tiles,
            budget="8steps",
            size=32,
            checkpoint=checkpoint,
            on_step=stop_after(checkpoint, 4),
        )
    assert checkpoint.path.is_file()
    again = new(pretrained_rate=0.1).fit(
        tiles, budget="8steps", size=32, checkpoint=Checkpoint(checkpoint.path)
    )
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, again.net.state_dict()[name]), name


@pytest.mark.parametrize(
    ("name", "option", "part"),
    [
        ("unet_timm", "backbone_weights", "backbone"),
        ("ddcolor", "encoder_weights", "encoder"),
        ("residual_encoder_vgg16", "trunk_weights", "trunk"),
    ],
)
def test_trunks_with_imagenet_weights_are_such_parts(name, option, part):
    cls = registry.colorizer_class(name)
    given = cls(cls.preset("small"), device="cpu", **{option: "imagenet"})
    assert given.pretrained == (part,)
    assert any(True for _ in given.build().get_submodule(part).parameters())
    assert cls(cls.preset("small"), device="cpu").pretrained == ()


def test_it_is_refused_where_nothing_starts_from_published_weights():
    colorizer = zoo.load(NAME, device="cpu", pretrained_rate=0.1)
    with pytest.raises(OptionError, match=r"pretrained_rate=0\.1 would change nothing"):
        colorizer.fit([], budget="1steps")


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(OptionError, match="pretrained_rate must"):
        new(pretrained_rate=rate)
