"""What networks see is varied, and what they are to learn is not: the same for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stopping import stop_after
from torch import Tensor, nn

from zoo.color.lab import lab_to_rgb, rgb_to_lab, rgb_to_yuv
from zoo.errors import InputError, PluginError, WeightsError
from zoo.registry import colorizer_class
from zoo.training import crops
from zoo.training.budget import Budget
from zoo.training.checkpoint import Checkpoint
from zoo.training.crops import CropStream, ImageStore
from zoo.training.feed import Feed
from zoo.training.varied_input import VariedInput
from zoo.training.variety import (
    COLUMNS,
    UNVARIED,
    UniformStream,
    Variety,
    draw_changes,
    read_crop_scale,
)
from zoo.weights.file import open_weights

CPU = torch.device("cpu")
VARIED = Variety(input=True)
ALL = Variety(input=True, crop_scale=(0.5, 1.0), stored_size=48)


def feed_of(
    images: np.ndarray, budget: str, variety: Variety, *, batch_size: int = 4, seed: int = 0
) -> Feed:
    return Feed(
        images,
        Budget.parse(budget),
        batch_size=batch_size,
        size=32,
        device=CPU,
        seed=seed,
        variety=variety,
    )


def stream(images: np.ndarray, count: int, variety: Variety, **how: int) -> tuple[Tensor, Tensor]:
    """L and ab of the first `count` images."""
    feed = feed_of(images, f"{count}images", variety, **how)
    L, ab = zip(*feed, strict=True)
    return torch.cat(L)[:count], torch.cat(ab)[:count]


# ---- what is drawn ---------------------------------------------------------------------------


def test_numbers_depend_on_their_place_alone() -> None:
    whole = UniformStream(3, 5, 0).take(0, 3000)
    parts = UniformStream(3, 5, 0)
    for start, count in ((0, 10), (1000, 100), (2040, 960), (5, 1)):
        assert np.array_equal(parts.take(start, count), whole[start : start + count])
    assert len(np.unique(whole)) == whole.size
    for other in (UniformStream(3, 6, 0), UniformStream(3, 5, 1)):
        assert not np.array_equal(other.take(0, 10), whole[:10])


def test_each_change_befalls_its_share_of_the_images_with_strengths_in_range() -> None:
    count = 20_000
    drawn = draw_changes(UniformStream(COLUMNS, 0, 0).take(0, count))
    # Chance, and the least and the most of each strength, as the documents tell them.
    promised = {
        "resample": (0.10, [(0.5, 1)]),
        "blur": (0.15, [(0.3, 1.5)]),
        "fade": (0.20, [(0.5, 1), (0, 100)]),
        "noise": (0.18, [(0, 6), (0, 1), (0, 1)]),
        "grain": (0.12, [(0, 6), (0.5, 1.3), (0, 1), (0, 1)]),
        "specks": (0.08, [(0, 0.003), (8, 95), (0, 1), (0, 1)]),
        "jpeg": (0.30, [(30, 98), (0, 63)]),
    }
    assert list(drawn) == list(promised)
    for name, (chance, ranges) in promised.items():
        change = drawn[name]
        assert len(change.images) / count == pytest.approx(chance, abs=0.01), name
        for strengths, (low, high) in zip(change.strengths.T, ranges, strict=True):
            assert low <= strengths.min() < low + 0.05 * (high - low), name
            assert high - 0.05 * (high - low) < strengths.max() <= high, name
    grids = drawn["jpeg"].strengths[:, 1]
    assert np.mean(grids == 0) == pytest.approx(0.5, abs=0.03)
    assert set(grids) == set(range(64))
    # One does not come with the other.
    both = np.intersect1d(drawn["fade"].images, drawn["jpeg"].images)
    assert len(both) / count == pytest.approx(0.06, abs=0.01)


@pytest.mark.parametrize("scale", [(1, 0.5), (0, 1), (0.5, 1.1), (-0.5, 1), (float("nan"), 1)])
def test_shares_that_are_none_are_refused(scale: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"crop_scale .* is no pair of shares in \(0, 1\]"):
        Variety(crop_scale=scale)
    with pytest.raises(InputError, match="crop_scale"):
        read_crop_scale(",".join(map(str, scale)))


def test_crop_scales_are_read_from_text() -> None:
    assert read_crop_scale("0.5,1") == (0.5, 1.0)
    for text in ("half,1", "0.5", "0.5,0.7,1", ""):
        with pytest.raises(InputError, match=r"give two shares, as 0\.5,1"):
            read_crop_scale(text)


def test_a_stored_size_below_the_crop_is_refused(tiles: np.ndarray) -> None:
    with pytest.raises(InputError, match="stored_size 31 is smaller than the crops of 32 px"):
        feed_of(tiles, "1steps", Variety(stored_size=31))


# ---- crops -----------------------------------------------------------------------------------


def test_crops_are_pillows_within_a_level(tiles: np.ndarray) -> None:
    rows = CropStream(len(tiles), 64, 24, 3, Variety(crop_scale=(0.3, 1), stored_size=60))
    taken = rows.take(0, 60)
    covered = taken[:, 4]
    assert covered.min() < 24 < covered.max()  # some are enlarged, most made smaller
    assert (covered.min(), covered.max()) == (pytest.approx(18, abs=2), pytest.approx(60, abs=2))
    assert (taken[:, 1:3] >= 0).all()
    assert (taken[:, 1:3] + covered[:, None] <= 64).all()
    ours = ImageStore(tiles, CPU).crop(taken, 24).permute(0, 2, 3, 1).numpy()
    for mine, (image, y, x, flip, side) in zip(ours, taken, strict=True):
        part = Image.fromarray(tiles[image, y : y + side, x : x + side])
        theirs = np.asarray(part.resize((24, 24), Image.Resampling.BILINEAR))
        theirs = np.fliplr(theirs) if flip else theirs
        assert np.abs(mine.astype(int) - theirs).max() <= 1


def test_crops_from_the_devices_memory_are_those_from_the_host(
    tiles: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = CropStream(len(tiles), 64, 24, 3, Variety(crop_scale=(0.3, 1))).take(0, 40)
    host = ImageStore(tiles, CPU).crop(rows, 24)
    monkeypatch.setattr(crops, "_stay_on", lambda device, size: True)
    resident = ImageStore(tiles, CPU).crop(rows, 24)
    assert (host.int() - resident.int()).abs().max() <= 1


def test_whole_crops_of_images_stored_at_their_size_are_not_touched(tiles: np.ndarray) -> None:
    plain = stream(tiles, 50, UNVARIED)
    for same in (Variety(crop_scale=(1, 1)), Variety(stored_size=32), Variety(False, (1.0, 1.0))):
        for left, right in zip(plain, stream(tiles, 50, same), strict=True):
            assert torch.equal(left, right)


# ---- what the network sees -------------------------------------------------------------------


def test_the_target_stays_and_most_images_too(tiles: np.ndarray) -> None:
    L, ab = stream(tiles, 200, UNVARIED)
    seen, target = stream(tiles, 200, VARIED)
    assert torch.equal(ab, target)
    changed = (seen != L).flatten(1).any(1).float().mean()
    # 1 − 0.9 · 0.85 · 0.8 · 0.82 · 0.88 · 0.92 · 0.7
    assert float(changed) == pytest.approx(0.72, abs=0.09)
    assert 0 <= seen.min() <= seen.max() <= 100


@pytest.mark.parametrize("variety", [VARIED, ALL])
def test_the_stream_does_not_depend_on_the_batch_size(tiles: np.ndarray, variety: Variety) -> None:
    by_four = stream(tiles, 84, variety, batch_size=4)
    for batch_size in (1, 7, 84):
        other = stream(tiles, 84, variety, batch_size=batch_size)
        for left, right in zip(by_four, other, strict=True):
            assert torch.equal(left, right)


def test_the_stream_depends_on_the_seed_alone(tiles: np.ndarray) -> None:
    before = torch.get_rng_state()
    first, _ = stream(tiles, 36, ALL, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert torch.equal(first, stream(tiles, 36, ALL, seed=3)[0])
    assert not torch.equal(first, stream(tiles, 36, ALL, seed=4)[0])


def test_no_image_is_changed_the_same_way_twice(tiles: np.ndarray) -> None:
    seen, _ = stream(tiles[:1], 60, VARIED)
    clean, _ = rgb_to_lab(torch.from_numpy(tiles[:1]).permute(0, 3, 1, 2))
    assert len({each.numpy().tobytes() for each in seen}) > 50
    assert clean.shape[2] > seen.shape[2]


def test_surveys_and_searches_see_images_as_they_are(tiles: np.ndarray) -> None:
    feed = feed_of(tiles, "100steps", VARIED)
    for plain, varied in zip(
        feed_of(tiles, "1steps", UNVARIED).survey(), feed.survey(), strict=True
    ):
        assert torch.equal(torch.cat(plain, 1), torch.cat(varied, 1))
    with feed.search(0.2, 20, 4, lambda _: 1.0, lambda *_: None):
        searched = [L for L, _ in feed]
    clean, _ = stream(tiles, 16, UNVARIED)
    assert torch.equal(torch.cat(searched[:4]), clean)


def test_a_survey_of_larger_images_shows_them_whole() -> None:
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[:, 16:48, 16:48] = 255
    feed = feed_of(image, "1steps", Variety(stored_size=64))
    [(L, _)] = feed.survey()
    assert float((L > 50).float().mean()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.long  # the first operation on the meta device takes seconds
def test_nothing_is_read_back_from_the_device() -> None:
    """Tensors of the meta device have no values: reading one is an error, as a wait would be."""
    meta = torch.device("meta")
    varied = VariedInput(16, meta, seed=0)
    seen = varied(torch.empty(64, 1, 16, 16, device=meta), 0)
    assert seen.shape == (64, 1, 16, 16)


# ---- through fit -----------------------------------------------------------------------------


class Painted(nn.Module):
    """A network that paints the truth, whatever it sees."""

    def __init__(self, truth: Tensor) -> None:
        super().__init__()
        self.truth, self.scale = truth, nn.Parameter(torch.ones(()))

    def forward(self, grey: Tensor) -> Tensor:
        return self.truth.expand(len(grey), -1, -1, -1) * self.scale


def test_a_painter_of_rgb_aims_at_the_true_colours(tiles: np.ndarray) -> None:
    """The image is its own mirror image, so that the truth is known."""
    half = tiles[4, :32, :16]
    image = np.concatenate((half, half[:, ::-1]), axis=1)
    truth = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    losses = []

    class Perfect(colorizer_class("fc_generator")):  # type: ignore[misc]
        def train(self, feed: Feed) -> None:
            self.net = Painted(truth)
            for L, ab in feed:
                clean, _ = rgb_to_lab(truth)
                changed = (L - clean).abs().flatten(1).amax(1) > 1
                losses.append((int(changed.sum()), float(self.loss(L, ab).detach())))
                with pytest.raises(PluginError, match="the very tensor L"):
                    self.true_rgb(L.clone(), ab)

    Perfect(device="cpu", batch_size=16).fit(image[None], budget="4steps", size=32)
    assert sum(changed for changed, _ in losses) > 20
    assert max(loss for _, loss in losses) < 1e-6


def test_what_teaches_the_residual_encoder_most_gives_the_true_chroma(
    new: Any, tiles: np.ndarray
) -> None:
    """The UV of the least loss on a changed L are those that become the true ab with that L."""
    L, ab = rgb_to_lab(torch.from_numpy(tiles[:4, :32, :32]).permute(0, 3, 1, 2))
    ab = ab / 4  # colours that stay within sRGB at any of these lightnesses
    seen = 20 + 0.6 * L
    colorizer = new("residual_encoder_vgg16")
    losses, errors = [], []
    for lightness in (seen, L):
        colorizer.net = Painted(rgb_to_yuv(lab_to_rgb(lightness, ab))[:, 1:])
        with torch.no_grad():
            losses.append(float(colorizer.loss(seen, ab)))
            errors.append(float((colorizer.forward(seen) - ab).abs().mean()))
    assert losses[0] < 2e-4 < losses[1]
    assert errors[0] < errors[1]


def test_the_record_says_how_images_were_varied(new: Any, tiles: np.ndarray, tmp_path: Any) -> None:
    plain = new("mean_color").fit(tiles, budget="1steps", size=32, input_variety=False)
    assert (plain.record.input_variety, plain.record.crop_scale) == (False, [1.0, 1.0])
    assert plain.record.stored_size == 32
    colorizer = new("mean_color").fit(
        tiles, budget="1steps", size=32, crop_scale=(0.5, 1), stored_size=48
    )
    colorizer.save(tmp_path / "w.safetensors")
    record = open_weights(tmp_path / "w.safetensors", type(colorizer)).record
    assert record is not None
    assert (record.input_variety, record.crop_scale, record.stored_size) == (True, [0.5, 1.0], 48)


def test_larger_images_are_kept_at_the_stored_size(new: Any, tiles: np.ndarray) -> None:
    photographs = [Image.fromarray(np.tile(tile, (3, 4, 1))) for tile in tiles[:4]]
    seen = []
    new("zhang_rebalanced").fit(
        photographs,
        budget="1steps",
        size=32,
        stored_size=64,
        on_step=lambda feed: seen.append(feed._images.side),
    )
    assert seen == [72]
    with pytest.raises(InputError, match=r"give both, such as size=64, stored_size=128"):
        new("zhang_rebalanced").fit(photographs, budget="1steps", stored_size=64)
    with pytest.raises(InputError, match="smaller than the crops of 32 px"):
        new("zhang_rebalanced").fit(photographs, budget="1steps", size=32, stored_size=16)


@pytest.fixture
def stopped(new: Any, tiles: np.ndarray, tmp_path: Any) -> Checkpoint:
    """A training of five steps with all variety, stopped after two."""
    checkpoint = Checkpoint(tmp_path / "c.pt")
    with pytest.raises(KeyboardInterrupt):
        new("zhang_rebalanced").fit(
            tiles, **HOW, checkpoint=checkpoint, on_step=stop_after(checkpoint, 2)
        )
    return checkpoint


HOW: dict[str, Any] = {
    "budget": "5steps",
    "size": 32,
    "crop_scale": (0.5, 1),
    "stored_size": 48,
    "seed": 3,
}


def test_resumed_with_variety_gives_the_same_bits(
    new: Any, tiles: np.ndarray, stopped: Checkpoint
) -> None:
    straight = new("zhang_rebalanced").fit(tiles, **HOW)
    resumed = new("zhang_rebalanced").fit(tiles, **HOW, checkpoint=Checkpoint(stopped.path))
    assert resumed.record.cost.steps == 5
    for name, tensor in straight.net.state_dict().items():
        assert torch.equal(tensor, resumed.net.state_dict()[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_variety": False}, "input variety was True, now it is False"),
        ({"crop_scale": (0.6, 1)}, r"crop scale was \[0.5, 1\], now it is \[0.6, 1\]"),
        ({"stored_size": 40}, "stored size was 48, now it is 40"),
    ],
)
def test_a_training_with_other_variety_is_not_resumed(
    new: Any, tiles: np.ndarray, stopped: Checkpoint, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        new("zhang_rebalanced").fit(tiles, **{**HOW, **change}, checkpoint=Checkpoint(stopped.path))
