"""Every installed colorizer before and while it is fitted; more of it is in `zoo.testing`."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import color, data

import zoo
from zoo.colorizer import Colorizer
from zoo.data.dataset import ImageSet
from zoo.errors import (
    BudgetError,
    DeviceError,
    InputError,
    NotFittedError,
    OptionError,
    UnknownNameError,
)
from zoo.registry import colorizer_class

NAMES = zoo.list_colorizers()
SIZE = 32

every = pytest.mark.parametrize("name", NAMES)


def state(colorizer: Colorizer) -> dict[str, bytes]:
    return {k: v.numpy().tobytes() for k, v in colorizer.net.state_dict().items()}


def takes_steps(colorizer: Colorizer) -> bool:
    return colorizer.record.cost.steps > 0


def lightness(size: int = SIZE, count: int = 2) -> torch.Tensor:
    rgb = np.stack(
        [data.astronaut()[y : y + size, 200 : 200 + size] for y in range(60, 60 + count)]
    )
    return torch.from_numpy(color.rgb2lab(rgb)[..., 0]).float()[:, None]


@every
def test_what_needs_weights_says_how_to_get_them(name, tmp_path, greys, new):
    colorizer = new(name)
    assert not colorizer.is_fitted
    for call in (
        lambda: colorizer.predict(greys),
        lambda: colorizer.predict_ab(lightness()),
        lambda: colorizer.predict_rgb(lightness()),
        lambda: colorizer.save(tmp_path / "x.safetensors"),
        lambda: colorizer.net,
        lambda: colorizer.parameter_count,
    ):
        with pytest.raises(NotFittedError, match=r"\.fit\(") as caught:
            call()
        assert repr(name) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert "not fitted" in repr(colorizer)


@every
def test_the_presets(name, greys):
    cls = colorizer_class(name)
    assert cls.preset("paper") == cls.Options()
    assert zoo.load(name).options == cls.Options()
    assert isinstance(cls.preset("small"), cls.Options)
    with pytest.raises(OptionError, match="paper or small"):
        cls.preset("huge")


@every
def test_a_typo_in_an_option_is_an_error_that_suggests(name):
    fields = [field.name for field in dataclasses.fields(colorizer_class(name).Options)]
    typo = (fields[0] if fields else "width") + "x"
    with pytest.raises(UnknownNameError, match=typo) as caught:
        zoo.load(name, **{typo: 1})
    assert not fields or f"did you mean {fields[0]!r}" in str(caught.value)


@every
def test_another_ones_options_are_refused(name):
    @dataclass(frozen=True)
    class Strange:
        x: int = 0

    with pytest.raises(OptionError, match=name):
        colorizer_class(name)(Strange())


@every
def test_a_device_or_precision_that_is_not_there_is_refused(name):
    for keywords in ({"device": "tpu"}, {"device": "cuda:99"}, {"precision": "fp8"}):
        with pytest.raises(DeviceError, match=r"type|found"):
            zoo.load(name, **keywords)
    assert zoo.load(name, device=torch.device("cpu")).device == torch.device("cpu")


@every
def test_fit_returns_itself_and_keeps_a_record(name, fitted):
    colorizer = fitted(name)
    record = colorizer.record
    assert colorizer.is_fitted
    assert " fitted" in repr(colorizer)
    assert (record.budget, record.seed, record.size) == ("2steps", 0, SIZE)
    assert (record.device, record.precision) == ("cpu", "fp32")
    assert record.images_available == 36
    assert record.stop_reason in ("budget", "no steps")
    if record.stop_reason == "budget":
        assert record.cost.steps == 2
        assert record.cost.images == record.images_seen == 2 * record.batch_size
        assert record.cost.flops > 0
        assert record.cost.seconds > 0
        assert record.curve
        assert all(np.isfinite(point["loss"]) for point in record.curve)
    else:
        assert record.cost.steps == 0
    assert not colorizer.net.training
    assert all(p.dtype == torch.float32 for p in colorizer.net.parameters())


@every
def test_another_seed_gives_other_weights(name, fitted, tiles, fit):
    if not takes_steps(fitted(name)):
        pytest.skip("it has nothing to draw")
    other = fit(name, tiles, seed=1)
    assert state(other) != state(fitted(name))
    # The data's seed alone matters too, and the same one does not hide the model's.
    assert state(fit(name, tiles, data_seed=1)) not in (state(other), state(fitted(name)))


@every
def test_few_pictures_of_different_sizes_are_enough(name, new):
    images = [
        Image.fromarray(data.astronaut()).resize((60, 40)),
        Image.fromarray(data.coffee()).resize((33, 47)),
        Image.fromarray(data.chelsea()).resize((100, 90)),
    ]
    before = [np.array(image) for image in images]
    colorizer = new(name).fit(images, budget="2steps")
    assert colorizer.is_fitted
    assert colorizer.record.images_available == 3
    assert colorizer.record.size <= 33
    assert colorizer.record.size % colorizer.multiple == 0
    assert all(np.array_equal(np.array(i), b) for i, b in zip(images, before, strict=True))


@every
def test_arrays_lists_and_image_sets_are_the_same_training_set(name, fitted, tiles, fit):
    if not colorizer_class(name).info.deterministic:
        pytest.skip("its info says that it is not deterministic")
    few = tiles[:5]
    before = few.copy()
    expected = state(fit(name, few, budget="1steps", size=64))
    for same in (list(few), [*map(Image.fromarray, few)], ImageSet(few, list("abcde"))):
        assert state(fit(name, same, budget="1steps", size=64)) == expected
    assert np.array_equal(few, before)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 32, 32, 3), np.float32), "uint8"),
        (np.zeros((4, 32, 32), np.uint8), "N×H×W×3"),
        (np.zeros((4, 32, 32, 4), np.uint8), "N×H×W×3"),
        (np.zeros((4, 3, 32, 32), np.uint8), "N×H×W×3"),
        (np.zeros((32, 32, 3), np.uint8), "N×H×W×3"),
        (np.zeros((0, 32, 32, 3), np.uint8), "no images"),
        (np.zeros((4, 0, 32, 3), np.uint8), "empty"),
        ([], "no images"),
        ([np.zeros((32, 32), np.uint8)], r"data\[0\] must be H×W×3"),
        ([np.zeros((32, 32, 3), np.uint8), "cat.jpg"], r"data\[1\] .* got str"),
        ("photos/", "got str"),
        (None, "got NoneType"),
        (torch.zeros(4, 32, 32, 3, dtype=torch.uint8), "got Tensor"),
    ],
)
@every
def test_a_wrong_training_set_is_refused(name, images, message, new):
    colorizer = new(name)
    with pytest.raises(InputError, match=message):
        colorizer.fit(images, budget="1steps")
    assert not colorizer.is_fitted


@every
def test_a_wrong_crop_or_budget_is_refused(name, tiles, new):
    colorizer = new(name)
    with pytest.raises(InputError, match="0 px"):
        colorizer.fit(tiles, budget="1steps", size=0)
    if colorizer.multiple > 1:
        with pytest.raises(InputError, match=f"a multiple of {colorizer.multiple}"):
            colorizer.fit(tiles, budget="1steps", size=SIZE + 1)
    with pytest.raises(BudgetError):
        colorizer.fit(tiles, budget="soon")
    assert not colorizer.is_fitted


@every
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_fit_leaves_it_unfitted_and_nothing_behind(
    name, error, fitted, tiles, greys, tmp_path, new
):
    if not takes_steps(fitted(name)):
        pytest.skip("it takes no steps")
    feeds = []

    def interrupt(feed):
        feeds.append(feed)
        if feed.cost.steps == 1:
            raise error

    colorizer = new(name)
    random = torch.get_rng_state()
    with pytest.raises(error):
        colorizer.fit(tiles, budget="5steps", size=SIZE, on_step=interrupt)
    assert not colorizer.is_fitted
    assert colorizer.record is None
    with pytest.raises(NotFittedError):
        colorizer.predict(greys)
    with pytest.raises(NotFittedError):
        colorizer.save(tmp_path / "x.safetensors")
    assert feeds[0].cost == feeds[0].cost, "the clock still runs"
    assert torch.is_grad_enabled()
    assert torch._C._len_torch_dispatch_stack() == 0
    assert torch.equal(torch.get_rng_state(), random)
    # And it can be fitted again, as if nothing had happened.
    colorizer.fit(tiles, budget="2steps", size=SIZE)
    if colorizer.info.deterministic:
        assert state(colorizer) == state(fitted(name))


@every
def test_a_failing_fit_forgets_the_earlier_one(name, tiles, greys, fitted, fit):
    if not takes_steps(fitted(name)):
        pytest.skip("it takes no steps")

    def interrupt(_):
        raise KeyboardInterrupt

    colorizer = fit(name, tiles, budget="1steps")
    with pytest.raises(KeyboardInterrupt):
        colorizer.fit(tiles, budget="5steps", size=SIZE, on_step=interrupt)
    with pytest.raises(NotFittedError):
        colorizer.predict(greys)


@every
def test_on_step_is_called_after_every_step(name, fitted, tiles, fit):
    if not takes_steps(fitted(name)):
        pytest.skip("it takes no steps")
    seen = []
    fit(name, tiles, budget="3steps", on_step=lambda feed: seen.append(feed.progress))
    assert seen == pytest.approx([1 / 3, 2 / 3, 1])
