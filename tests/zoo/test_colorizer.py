"""The interface's promises, for every installed colorizer and for a probe that tests it."""

import dataclasses
import json
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from skimage import color, data
from torch import nn

import zoo
from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.dataset import ImageSet
from zoo.errors import (
    BudgetError,
    DeviceError,
    InputError,
    NotFittedError,
    OptionError,
    PluginError,
    TrainingError,
    UnknownNameError,
    WeightsError,
)
from zoo.lab import rgb_to_lab
from zoo.registry import colorizer_class

NAMES = zoo.list_colorizers()
SIZE = 32

every = pytest.mark.parametrize("name", NAMES)


def new(name: str, **changes) -> Colorizer:
    """Untrained, small, with tiny batches, on the CPU."""
    cls = colorizer_class(name)
    options = cls.preset("small")
    if isinstance(options, TrainingOptions):
        options = dataclasses.replace(options, batch_size=4)
    keywords = {"device": "cpu", "precision": "fp32", **changes}
    return cls(options, **keywords)


def fit(name: str, tiles: np.ndarray, **changes) -> Colorizer:
    return new(name).fit(tiles, **{"budget": "2steps", "size": SIZE, **changes})


@pytest.fixture(scope="session")
def fitted(_tiles):
    """A colorizer trained for two steps by name, each trained once."""
    trained: dict[str, Colorizer] = {}

    def get(name: str) -> Colorizer:
        if name not in trained:
            trained[name] = fit(name, _tiles)
        return trained[name]

    return get


@pytest.fixture(scope="session")
def saved(fitted, tmp_path_factory):
    """A file of the weights of `fitted` by name."""
    folder = tmp_path_factory.mktemp("weights")

    def get(name: str):
        path = folder / f"{name}.safetensors"
        if not path.exists():
            fitted(name).save(path)
        return path

    return get


@pytest.fixture
def greys(tiles) -> np.ndarray:
    """N×32×32 uint8."""
    return np.ascontiguousarray(tiles[::6, 16:48, 16:48, 1])


def state(colorizer: Colorizer) -> dict[str, bytes]:
    return {k: v.numpy().tobytes() for k, v in colorizer.net.state_dict().items()}


def takes_steps(colorizer: Colorizer) -> bool:
    return colorizer.record.cost.steps > 0


def lightness(size: int = SIZE, count: int = 2) -> torch.Tensor:
    rgb = np.stack(
        [data.astronaut()[y : y + size, 200 : 200 + size] for y in range(60, 60 + count)]
    )
    return torch.from_numpy(color.rgb2lab(rgb)[..., 0]).float()[:, None]


# ---- before fitting ---------------------------------------------------------------------


@every
def test_what_needs_weights_says_how_to_get_them(name, tmp_path, greys):
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
def test_the_info_is_complete(name):
    info = colorizer_class(name).info
    assert info.name == name
    assert all((info.title, info.paper, info.licence))
    assert info.output in ("ab", "rgb")
    assert info.minimum_size >= 1
    assert info.multiple >= 1
    assert isinstance(info.differs, tuple)
    assert new(name).paints_rgb == (info.output == "rgb")


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
        with pytest.raises(DeviceError, match="type|found"):
            zoo.load(name, **keywords)


# ---- fitting ----------------------------------------------------------------------------


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
def test_fitting_twice_with_one_seed_gives_the_same_bits_whatever_came_before(name, fitted, tiles):
    if not colorizer_class(name).info.deterministic:
        pytest.skip("its info says that it is not deterministic")
    colorizer = new(name)
    options = dataclasses.replace(colorizer.options)
    torch.manual_seed(123)
    assert colorizer.fit(tiles, budget="1steps", size=SIZE, seed=5) is colorizer
    colorizer.fit(tiles, budget="2steps", size=SIZE)
    assert state(colorizer) == state(fitted(name))
    assert colorizer.options == options


@every
def test_another_seed_gives_other_weights(name, fitted, tiles):
    if not takes_steps(fitted(name)):
        pytest.skip("it has nothing to draw")
    other = fit(name, tiles, seed=1)
    assert state(other) != state(fitted(name))
    # The data's seed alone matters too, and the same one does not hide the model's.
    assert state(fit(name, tiles, data_seed=1)) not in (state(other), state(fitted(name)))


@every
def test_a_gradient_reaches_every_parameter(name, fitted, tiles):
    if not takes_steps(fitted(name)):
        pytest.skip("it takes no steps")
    colorizer = fit(name, tiles, budget="1steps")
    if type(colorizer).loss is not Colorizer.loss:
        colorizer.net.train().zero_grad()
        rgb = torch.from_numpy(tiles[:4]).permute(0, 3, 1, 2).float() / 255
        colorizer.loss(*rgb_to_lab(rgb)).backward()
    found = {
        n: p.grad is not None and bool(p.grad.abs().max() > 0)
        for n, p in colorizer.net.named_parameters()
        if p.requires_grad
    }
    assert found
    assert [n for n, reached in found.items() if not reached] == []


@every
def test_every_parameter_is_changed_by_training(name, fitted):
    if not takes_steps(fitted(name)):
        pytest.skip("it takes no steps")
    colorizer = new(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # as `fit` does
        before = {n: p.detach().clone() for n, p in colorizer.build().named_parameters()}
    after = dict(fitted(name).net.named_parameters())
    assert before.keys() == after.keys()
    assert [n for n in before if torch.equal(before[n], after[n])] == []


@every
@pytest.mark.parametrize("grad", [True, False])
def test_global_state_is_left_as_it_was(name, tiles, greys, grad):
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    random, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    default, threads = torch.get_default_dtype(), torch.get_num_threads()
    with torch.set_grad_enabled(grad):
        colorizer = fit(name, tiles)
        colorizer.predict(greys)
        assert torch.is_grad_enabled() is grad
    assert torch.equal(torch.get_rng_state(), random)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002
    assert (torch.get_default_dtype(), torch.get_num_threads()) == (default, threads)
    assert torch._C._len_torch_dispatch_stack() == 0
    assert not torch.is_autocast_enabled("cpu")


@every
def test_few_pictures_of_different_sizes_are_enough(name):
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
    assert colorizer.record.size % colorizer.info.multiple == 0
    assert all(np.array_equal(np.array(i), b) for i, b in zip(images, before, strict=True))


@every
def test_arrays_lists_and_image_sets_are_the_same_training_set(name, fitted, tiles):
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
def test_a_wrong_training_set_is_refused(name, images, message):
    colorizer = new(name)
    with pytest.raises(InputError, match=message):
        colorizer.fit(images, budget="1steps")
    assert not colorizer.is_fitted


@every
def test_a_wrong_crop_or_budget_is_refused(name, tiles):
    colorizer = new(name)
    with pytest.raises(InputError, match="0 px"):
        colorizer.fit(tiles, budget="1steps", size=0)
    if colorizer.info.multiple > 1:
        with pytest.raises(InputError, match=f"a multiple of {colorizer.info.multiple}"):
            colorizer.fit(tiles, budget="1steps", size=SIZE + 1)
    with pytest.raises(BudgetError):
        colorizer.fit(tiles, budget="soon")
    assert not colorizer.is_fitted


@every
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_fit_leaves_it_unfitted_and_nothing_behind(
    name, error, fitted, tiles, greys, tmp_path
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
def test_a_failing_fit_forgets_the_earlier_one(name, tiles, greys, fitted):
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
def test_on_step_is_called_after_every_step(name, fitted, tiles):
    if not takes_steps(fitted(name)):
        pytest.skip("it takes no steps")
    seen = []
    fit(name, tiles, budget="3steps", on_step=lambda feed: seen.append(feed.progress))
    assert seen == pytest.approx([1 / 3, 2 / 3, 1])


# ---- predicting -------------------------------------------------------------------------


def check_colour(result, grey: np.ndarray) -> None:
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.uint8
    assert result.shape == (*grey.shape, 3)


@every
def test_the_container_comes_back(name, fitted, greys):
    colorizer = fitted(name)
    before = greys.copy()
    check_colour(colorizer.predict(greys), greys)
    check_colour(colorizer.predict(greys[0]), greys[0])
    check_colour(colorizer.predict(greys[:1]), greys[:1])
    assert colorizer.predict(greys[:0]).shape == (0, SIZE, SIZE, 3)

    image = Image.fromarray(greys[0])
    painted = colorizer.predict(image)
    assert isinstance(painted, Image.Image)
    assert (painted.mode, painted.size) == ("RGB", image.size)
    assert np.array_equal(np.array(painted), colorizer.predict(greys[0]))
    assert np.array_equal(np.array(image), greys[0])

    assert colorizer.predict([]) == []
    mixed = [greys[0], Image.fromarray(greys[1, :20]), greys[2, 3:, :17], greys[3]]
    results = colorizer.predict(mixed)
    assert isinstance(results, list)
    assert [type(r) for r in results] == [np.ndarray, Image.Image, np.ndarray, np.ndarray]
    for given, result in zip(mixed, results, strict=True):
        check_colour(np.array(result), np.array(given))
        # The order is kept across the batches of equal size.
        alone = np.array(colorizer.predict(given)).astype(int)
        assert np.abs(np.array(result) - alone).max() <= 1
    assert np.array_equal(greys, before)


@every
@pytest.mark.parametrize("shape", [(33, 47), (1, 1), (1, 40), (9, 8), (100, 64)])
def test_any_size(name, fitted, shape):
    grey = np.ascontiguousarray(data.chelsea()[60 : 60 + shape[0], 100 : 100 + shape[1], 1])
    check_colour(fitted(name).predict(grey), grey)
    ab = fitted(name).predict_ab(torch.full((1, 1, *shape), 50.0))
    assert ab.shape == (1, 2, *shape)
    assert torch.isfinite(ab).all()


@every
@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_any_picture(name, fitted, mode):
    rgb = Image.fromarray(data.coffee()[100:133, 200:240])
    if mode == "I;16":
        image = Image.fromarray(np.array(rgb.convert("L")).astype(np.uint16) * 257)
    else:
        image = rgb.convert(mode)
    painted = fitted(name).predict(image)
    assert (painted.mode, painted.size) == ("RGB", image.size)


@every
def test_non_contiguous_and_read_only_arrays(name, fitted, greys):
    colorizer = fitted(name)
    view = greys[:, ::2, ::-1]
    view.flags.writeable = False
    assert np.array_equal(colorizer.predict(view), colorizer.predict(view.copy()))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((4, 32, 32), np.float32),
        np.zeros((32, 32), np.int64),
        np.zeros((32, 32), bool),
        np.zeros((32, 32), np.uint16),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((2, 32, 32, 3), np.uint8),
        np.zeros(32, np.uint8),
        np.zeros((2, 0, 32), np.uint8),
        np.zeros((0, 32), np.uint8),
        [np.zeros((2, 32, 32), np.uint8)],
        [np.zeros((32, 32, 3), np.uint8)],
        [np.zeros((32, 32), np.uint8), "cat.jpg"],
        ["cat.jpg"],
        "cat.jpg",
        None,
        torch.zeros(32, 32, dtype=torch.uint8),
    ],
    ids=lambda images: f"{type(images).__name__}-{getattr(images, 'shape', '')}",
)
@every
def test_what_is_no_grey_image_is_refused(name, images, fitted):
    with pytest.raises(InputError) as caught:
        fitted(name).predict(images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "L",
    [
        torch.rand(1, 1, 32, 32),
        torch.rand(1, 1, 32, 32) * 255,
        torch.rand(1, 1, 32, 32) * 100 - 50,
        torch.full((1, 1, 32, 32), float("nan")),
        torch.rand(1, 3, 32, 32) * 100,
        torch.rand(1, 32, 32) * 100,
        torch.rand(1, 1, 32, 32).double() * 100,
        torch.ones(1, 1, 32, 32, dtype=torch.int64),
        torch.zeros(1, 1, 0, 32),
    ],
    ids=["unit", "8-bit", "centred", "nan", "rgb", "no-batch", "float64", "int64", "empty"],
)
@every
def test_what_is_no_lightness_is_refused(name, L, fitted):
    for door in (fitted(name).predict_ab, fitted(name).predict_rgb):
        with pytest.raises(InputError):
            door(L)


@every
@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_nothing_is_refused(name, batch_size, fitted, greys):
    with pytest.raises(InputError, match="batch_size"):
        fitted(name).predict(greys, batch_size=batch_size)


@every
def test_an_image_is_independent_of_its_batch_mates(name, fitted, greys):
    together = fitted(name).predict(greys).astype(int)
    for batch_size in (1, 4):
        apart = fitted(name).predict(greys, batch_size=batch_size)
        assert np.abs(together - apart).max() <= 1
    alone = np.stack([fitted(name).predict(grey) for grey in greys])
    assert np.abs(together - alone).max() <= 1


@every
def test_predicting_changes_nothing(name, fitted, greys):
    colorizer = fitted(name)
    before = state(colorizer)
    first = colorizer.predict(greys)
    assert np.array_equal(first, colorizer.predict(greys))
    assert state(colorizer) == before
    L = lightness()
    copy = L.clone()
    assert not colorizer.predict_ab(L).requires_grad
    colorizer.predict_rgb(L)
    assert torch.equal(L, copy)
    colorizer.net.train()
    try:
        assert np.array_equal(first, colorizer.predict(greys)), "train mode leaks into predict"
        assert colorizer.net.training
        assert state(colorizer) == before
    finally:
        colorizer.net.eval()


@every
def test_lightness_is_kept(name, fitted, greys):
    colorizer = fitted(name)
    if colorizer.paints_rgb:
        pytest.skip("its info says that it paints RGB")
    L = lightness(40)
    painted = colorizer.predict_rgb(L).permute(0, 2, 3, 1).numpy()
    inside = ((painted > 0.001) & (painted < 0.999)).all(-1)
    assert inside.mean() > 0.3
    kept = color.rgb2lab(painted)
    assert np.abs(kept[..., 0] - L[:, 0].numpy())[inside].max() < 0.05
    # And the chroma is the predicted one.
    ab = colorizer.predict_ab(L).permute(0, 2, 3, 1).numpy()
    assert np.abs(kept[..., 1:] - ab)[inside].max() < 0.1

    painted = colorizer.predict(greys)
    inside = ((painted > 0) & (painted < 255)).all(-1)
    wanted = color.rgb2lab(np.repeat(greys[..., None], 3, axis=-1))[..., 0]
    assert np.abs(color.rgb2lab(painted)[..., 0] - wanted)[inside].max() < 0.6


@every
def test_rgb_is_what_was_painted(name, fitted):
    colorizer = fitted(name)
    if not colorizer.paints_rgb:
        pytest.skip("its info says that it predicts chroma")
    L = lightness()
    painted = colorizer.predict_rgb(L).permute(0, 2, 3, 1).numpy()
    assert painted.shape[-1] == 3
    assert 0 <= painted.min() <= painted.max() <= 1
    ab = colorizer.predict_ab(L).permute(0, 2, 3, 1).numpy()
    assert np.abs(color.rgb2lab(painted)[..., 1:] - ab).max() < 0.02


@every
def test_bf16_is_close_to_fp32(name, saved, greys):
    exact, coarse = (
        zoo.load(name, weights=saved(name), device="cpu", precision=precision)
        for precision in ("fp32", "bf16")
    )
    difference = np.abs(exact.predict(greys).astype(int) - coarse.predict(greys))
    assert difference.mean() < 2
    assert coarse.predict_ab(lightness()).dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in coarse.net.parameters())


@every
def test_training_in_bf16_keeps_float32_weights(name, tiles):
    colorizer = new(name, precision="bf16").fit(tiles, budget="2steps", size=SIZE)
    assert colorizer.record.precision == "bf16"
    assert all(p.dtype == torch.float32 for p in colorizer.net.parameters())
    assert all(torch.isfinite(p).all() for p in colorizer.net.parameters())


# ---- weights ----------------------------------------------------------------------------


@every
def test_saved_weights_predict_the_same_bits(name, fitted, saved, greys, tmp_path):
    loaded = zoo.load(name, weights=saved(name), device="cpu", precision="fp32")
    assert loaded.is_fitted
    assert loaded.options == fitted(name).options
    assert state(loaded) == state(fitted(name))
    assert np.array_equal(loaded.predict(greys), fitted(name).predict(greys))
    assert torch.equal(loaded.predict_ab(lightness()), fitted(name).predict_ab(lightness()))
    # What is loaded can be saved again, with the record of how it was trained.
    again = tmp_path / "again.safetensors"
    loaded.save(str(again))
    assert header(again) == header(saved(name))


def header(path) -> dict:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["colorizer-zoo"])


@every
def test_the_file_says_how_the_weights_came_about(name, fitted, saved):
    metadata = header(saved(name))
    assert metadata["model"] == name
    assert metadata["options"] == dataclasses.asdict(fitted(name).options)
    assert metadata["training"]["budget"] == "2steps"
    assert metadata["training"]["cost"] == dataclasses.asdict(fitted(name).record.cost)
    assert metadata["zoo_version"] == zoo.__version__


@every
def test_weights_of_another_model_are_refused(name, saved):
    other = next(n for n in NAMES if n != name)
    with pytest.raises(WeightsError, match=f"'{name}', not of '{other}'"):
        zoo.load(other, weights=saved(name))


@every
def test_options_given_with_weights_win_and_a_misfit_says_what_they_were_trained_with(name, saved):
    cls = colorizer_class(name)
    small, paper = cls.preset("small"), cls.Options()
    changed = {
        f.name: getattr(paper, f.name)
        for f in dataclasses.fields(cls.Options)
        if getattr(small, f.name) != getattr(paper, f.name) and f.name != "batch_size"
    }
    if not changed:
        pytest.skip("it has one size")
    with pytest.raises(WeightsError, match="were trained with") as caught:
        zoo.load(name, weights=saved(name), **changed)
    assert all(f"{key}={getattr(small, key)!r}" in str(caught.value) for key in changed)
    assert zoo.load(name, weights=saved(name), learning_rate=0.5).options.learning_rate == 0.5


@every
def test_a_failed_restore_leaves_a_fitted_colorizer_as_it_was(name, saved, tiles, greys, tmp_path):
    colorizer = fit(name, tiles, budget="1steps")
    before = colorizer.predict(greys)
    damaged = tmp_path / "damaged.safetensors"
    tensors = load_file(saved(name))
    tensors["extra"] = torch.zeros(1)
    save_file(tensors, damaged, metadata={"colorizer-zoo": json.dumps(header(saved(name)))})
    for path in (tmp_path / "none.safetensors", damaged):
        with pytest.raises(WeightsError):
            colorizer.restore(path)
    assert np.array_equal(colorizer.predict(greys), before)


# ---- a probe, to see the core from inside -----------------------------------------------


@dataclass(frozen=True)
class ProbeOptions(TrainingOptions):
    scale: float = 300.0
    batch_size: int = 3


class Probe(Colorizer):
    """Needs sides of 16, 20, 24, …; predicts (L, scale); loss and output can be spoilt."""

    info = Info("probe", "Probe", "none", "MIT", minimum_size=16, multiple=4)
    Options = ProbeOptions

    def build(self):
        self.seen = []
        self.losses = iter(())
        return nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout(0.5))

    def loss(self, L, ab):
        return self.net(L / 100).square().mean() * next(self.losses, 1.0)

    def _predict(self, L):
        self.seen.append((tuple(L.shape), torch.is_grad_enabled(), self.net.training))
        return torch.cat((L, torch.full_like(L, self.options.scale)), dim=1)


@pytest.fixture
def probe(tiles) -> Probe:
    colorizer = Probe(device="cpu", precision="fp32").fit(tiles, budget="1steps", size=16)
    colorizer.seen.clear()
    return colorizer


@pytest.mark.parametrize(
    ("given", "seen"),
    [((1, 1), (16, 16)), ((16, 17), (16, 20)), ((33, 47), (36, 48)), ((20, 24), (20, 24))],
)
def test_input_is_padded_to_what_the_network_takes_and_output_cropped_back(probe, given, seen):
    L = torch.rand(2, 1, *given) * 50 + 25
    ab = probe.predict_ab(L)
    assert probe.seen == [((2, 1, *seen), False, False)]
    assert torch.equal(ab[:, :1], L), "the crop is not where the input was"


def test_chroma_is_not_clamped_and_colour_is(probe):
    L = lightness()
    assert torch.equal(probe.predict_ab(L)[:, 1], torch.full((2, SIZE, SIZE), 300.0))
    rgb = probe.predict_rgb(L)
    assert 0 <= rgb.min() <= rgb.max() <= 1


def test_batches_hold_images_of_one_size_and_no_more_than_asked_for(probe, greys):
    probe.predict([greys[0], greys[1, :16], greys[2], greys[3], greys[4]], batch_size=3)
    shapes = [shape for shape, _, _ in probe.seen]
    assert shapes == [(3, 1, 32, 32), (1, 1, 32, 32), (1, 1, 16, 32)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda L: L, r"shape \(2, 1, 32, 32\).*must give \(2, 2, 32, 32\)"),
        (lambda L: torch.cat((L, L), 1)[:, :, ::2], "shape"),
        (lambda L: torch.cat((L, L / 0), 1), "NaN or infinite"),
        (lambda L: torch.cat((L, L * float("nan")), 1), "NaN or infinite"),
    ],
)
def test_a_prediction_that_is_none_is_the_plugins_error(probe, monkeypatch, spoil, message):
    monkeypatch.setattr(probe, "_predict", spoil)
    with pytest.raises(PluginError, match=f"probe: _predict gave .*{message}"):
        probe.predict_ab(lightness())


def test_a_loss_that_is_not_a_number_ends_the_fit(tiles):
    class Spoilt(Probe):
        def prepare(self, feed):
            self.losses = iter([1.0, float("nan")])

    colorizer = Spoilt(device="cpu", precision="fp32")
    with pytest.raises(TrainingError, match=r"nan after 1 steps.*learning rate"):
        colorizer.fit(tiles, budget="5steps", size=16)
    assert not colorizer.is_fitted
    assert torch._C._len_torch_dispatch_stack() == 0


def test_an_error_in_the_first_step_leaves_no_flop_counter(tiles):
    class Broken(Probe):
        def loss(self, L, ab):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        Broken(device="cpu", precision="fp32").fit(tiles, budget="5steps", size=16)
    assert torch._C._len_torch_dispatch_stack() == 0


def test_a_plugin_with_neither_loss_nor_fit_is_told(tiles):
    class Lazy(Probe):
        loss = Colorizer.loss

    with pytest.raises(PluginError, match="probe implements neither loss nor _fit"):
        Lazy(device="cpu").fit(tiles, budget="1steps", size=16)


def test_a_budget_that_preparation_eats_up_is_an_error(tiles):
    class Slow(Probe):
        def prepare(self, feed):
            list(feed.survey())
            time.sleep(0.05)

    colorizer = Slow(device="cpu", precision="fp32")
    with pytest.raises(BudgetError, match="before the first step"):
        colorizer.fit(tiles, budget="0.02s", size=16)
    assert not colorizer.is_fitted


def test_the_training_set_is_on_the_feed_in_crops_of_the_size(tiles):
    shapes = []

    class Watching(Probe):
        def loss(self, L, ab):
            shapes.append((tuple(L.shape), tuple(ab.shape), self.net.training))
            return super().loss(L, ab)

    Watching(device="cpu", precision="fp32").fit(tiles, budget="6images", size=20)
    assert shapes == [((3, 1, 20, 20), (3, 2, 20, 20), True)] * 2


def test_options_show_in_the_repr():
    assert repr(Probe(scale=2, device="cpu")) == "<probe(scale=2.0) on cpu, not fitted>"
