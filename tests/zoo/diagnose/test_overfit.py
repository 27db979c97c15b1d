"""Fitting one image: every built-in model gets near it, and floors do not try."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import color, data

import zoo
from zoo.diagnose.overfit import (
    BATCH_SIZE,
    grey_error,
    initializations,
    overfit,
    prepare_overfit,
    read_tile,
    truth_ab,
)
from zoo.diagnose.overfit_plot import plot_overfit
from zoo.errors import BudgetError, InputError, OptionError, UnknownNameError
from zoo.images.open import square_tile
from zoo.registry import colorizer_class

SIZE = 64
ON_CPU = {"device": "cpu", "precision": "fp32"}


def distance(ab: np.ndarray, other: np.ndarray) -> float:
    """The mean Euclidean distance of two planes H×W×2."""
    return float(np.hypot(*np.moveaxis(ab - other, -1, 0)).mean())


@pytest.fixture
def tile() -> np.ndarray:
    return np.ascontiguousarray(square_tile(data.coffee(), SIZE))


@pytest.mark.long
@pytest.mark.parametrize("name", zoo.list_colorizers())
def test_sixty_steps_of_any_model_but_a_floor_beat_no_colour_by_far(tile, name):
    fit = overfit(prepare_overfit(name, SIZE, **ON_CPU), tile, "60steps")
    lab = color.rgb2lab(tile)
    chroma = np.hypot(lab[..., 1], lab[..., 2]).mean()
    assert grey_error(tile).whole == pytest.approx(chroma, abs=0.01)
    if colorizer_class(name).info.floor:
        assert fit.losses is None
        assert fit.error.whole < chroma + 0.01
        return
    assert fit.error.whole < 0.5 * chroma
    assert fit.losses[1] < 0.5 * fit.losses[0]
    ab = fit.ab.permute(1, 2, 0).double().numpy()
    assert distance(ab, lab[..., 1:]) == pytest.approx(fit.error.whole, abs=0.01)
    # The picture is what the numbers are of. Where its lightness is the truth's, there is a gamut
    # besides, to which scikit-image clips, too.
    painted = color.rgb2lab(fit.rgb)
    if colorizer_class(name).info.output == "ab":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-image warns of the negative Z that it clips
            ab = color.rgb2lab(color.lab2rgb(np.dstack((lab[..., 0], ab))))[..., 1:]
    assert distance(painted[..., 1:], ab) < 1
    assert distance(painted[..., 1:], lab[..., 1:]) == pytest.approx(
        distance(ab, lab[..., 1:]), rel=0.02
    )


def test_a_classifier_learns_one_image_in_sixty_steps(tile):
    fit = overfit(prepare_overfit("zhang_rebalanced", SIZE, **ON_CPU), tile, "60steps")
    assert fit.error.whole < 0.5 * grey_error(tile).whole
    assert fit.error.edges < 0.5 * grey_error(tile).edges
    assert fit.losses[1] < 0.5 * fit.losses[0]


def test_a_floor_takes_no_step(tile):
    fit = overfit(prepare_overfit("mean_color", SIZE, **ON_CPU), tile, "60steps")
    assert (fit.losses, fit.steps, fit.initialization) == (None, 0, "")
    ab = color.rgb2lab(tile)[..., 1:]
    expected = np.linalg.norm(ab - ab.mean((0, 1)), axis=-1).mean()
    assert fit.error.whole == pytest.approx(expected, abs=0.01)


def test_the_same_seed_gives_the_same_fit(tile):
    first, again, other = (
        overfit(prepare_overfit("zhang_rebalanced", SIZE, **ON_CPU), tile, "3steps", seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.ab, again.ab)
    assert not torch.equal(first.ab, other.ab)


def test_options_go_from_the_preset_over_the_batch_of_copies_to_what_is_set():
    made = prepare_overfit("zhang_classifier", SIZE, **ON_CPU)
    small = dataclasses.replace(made.preset("small"), batch_size=BATCH_SIZE)
    assert made.options == small
    made = prepare_overfit(
        "zhang_classifier",
        SIZE,
        preset="paper",
        initialization="default",
        changes={"batch_size": "3", "width": "0.125"},
        **ON_CPU,
    )
    assert (made.options.batch_size, made.options.width) == (3, 0.125)
    assert (made.options.initialization, made.options.learning_rate) == ("default", 5e-4)


def test_initializations_are_asked_of_the_options():
    assert initializations("zhang_classifier", "both", {}) == ["default", "xavier"]
    assert initializations("zhang_classifier", "xavier", {"width": "1"}) == ["xavier"]
    assert initializations("grey", None, {}) == []
    with pytest.raises(OptionError, match=r"models that have it: .*zhang_classifier"):
        initializations("gan_discriminator", "both", {})
    with pytest.raises(OptionError, match="leave one out"):
        initializations("zhang_classifier", "both", {"initialization": "xavier"})
    with pytest.raises(UnknownNameError):
        initializations("zhang_clasifier", "both", {})
    with pytest.raises(OptionError, match="must be one of xavier, default, got 'he'"):
        prepare_overfit("zhang_classifier", SIZE, initialization="he", **ON_CPU)


def test_the_tile_is_the_centre_square_in_colour(tmp_path):
    path = tmp_path / "cup.png"
    Image.fromarray(data.coffee()).save(path)
    tile = read_tile(path, SIZE)
    assert tile.shape == (SIZE, SIZE, 3)
    square = Image.fromarray(data.coffee()[:, 100:500])
    expected = np.asarray(square.resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    assert np.abs(tile.astype(int) - expected).mean() < 1
    found = truth_ab(tile).movedim(0, -1).numpy()
    assert np.abs(found - color.rgb2lab(tile)[..., 1:]).max() < 0.02


def test_what_cannot_be_learnt_from_is_refused(tmp_path):
    grey, tinted, small = (tmp_path / f"{n}.png" for n in ("grey", "tinted", "small"))
    Image.fromarray(data.camera()).save(grey)
    Image.fromarray(np.stack([data.camera()] * 3, axis=-1)).save(tinted)
    Image.fromarray(data.coffee()[:40, :90]).save(small)
    for path, part in (
        (grey, "no colour to learn"),
        (tinted, "no colour to learn"),
        (small, "90×40 pixels are less than 64×64"),
        (tmp_path / "none.png", "none.png"),
    ):
        with pytest.raises(InputError, match=part):
            read_tile(path, SIZE)
    with pytest.raises(InputError, match="cannot be trained on 60 px; type --size 64"):
        prepare_overfit("zhang_classifier", 60, **ON_CPU)
    with pytest.raises(InputError, match="0 px"):
        read_tile(grey, 0)


def test_an_impossible_budget_is_refused(tile):
    colorizer = prepare_overfit("zhang_rebalanced", SIZE, **ON_CPU)
    for budget, part in (("soon", "cannot read"), ("1e-9s", "cannot read"), ("0steps", "positive")):
        with pytest.raises(BudgetError, match=part):
            overfit(colorizer, tile, budget)


def test_the_picture_has_a_row_for_each_fit(tile, tmp_path):
    fit = overfit(prepare_overfit("fc_generator", SIZE, **ON_CPU), tile, "2steps")
    heights = []
    for count in (1, 2):
        path = tmp_path / f"{count}.png"
        plot_overfit(path, tile, [fit] * count, "a cup")
        with Image.open(path) as picture:
            assert picture.width > 1200
            heights.append(picture.height)
    assert heights[1] > heights[0] + 250


def test_an_image_of_one_colour_is_drawn_without_edges(tmp_path):
    flat = np.full((SIZE, SIZE, 3), (200, 60, 60), np.uint8)
    fit = overfit(prepare_overfit("fc_generator", SIZE, **ON_CPU), flat, "2steps")
    assert (fit.error.edges, fit.error.share) == (None, 0)
    plot_overfit(tmp_path / "flat.png", flat, [fit], "one colour")
    assert (tmp_path / "flat.png").stat().st_size > 10_000
