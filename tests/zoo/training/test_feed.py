import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import color
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.errors import BudgetError, InputError, TrainingError
from zoo.training.budget import Budget
from zoo.training.feed import Feed

CPU = torch.device("cpu")


def feed_of(images, budget, *, batch_size=4, size=32, seed=0, **keywords) -> Feed:
    return Feed(
        images,
        Budget.parse(budget),
        batch_size=batch_size,
        size=size,
        device=CPU,
        seed=seed,
        **keywords,
    )


def stream(images, count, **keywords) -> torch.Tensor:
    """The first `count` crops as N×3×S×S Lab."""
    feed = feed_of(images, f"{count}images", **keywords)
    batches = [torch.cat(batch, 1) for batch in feed]
    feed.close()
    return torch.cat(batches)[:count]


def flat(count, side=8) -> np.ndarray:
    """Images of one grey each, told apart by their lightness."""
    levels = np.linspace(20, 240, count).round().astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, side, side, 3)).copy()


def levels_of(L: torch.Tensor) -> list[float]:
    return [round(float(v), 2) for v in L[:, 0, 0, 0]]


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 2, 5, padding=2)

    def forward(self, L):
        return self.second(F.relu(self.first(L / 100)))


def train_steps(feed: Feed, pause: float = 0.0) -> None:
    net = ConvNet()
    for L, ab in feed:
        loss = F.mse_loss(net(L), ab)
        loss.backward()
        feed.log(loss)
        time.sleep(pause)
    feed.close()


@pytest.mark.parametrize("count", [10, 36])
def test_the_stream_does_not_depend_on_the_batch_size(tiles, count):
    by_four = stream(tiles[:count], 84, batch_size=4)
    assert torch.equal(by_four, stream(tiles[:count], 84, batch_size=7))
    assert torch.equal(by_four, stream(tiles[:count], 84, batch_size=84))


def test_the_stream_depends_on_the_seed_alone(tiles):
    first = stream(tiles, 36, seed=3)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    assert torch.equal(first, stream(tiles, 36, seed=3))
    assert not torch.equal(first, stream(tiles, 36, seed=4))
    assert torch.equal(stream(tiles, 8, seed=-1), stream(tiles, 8, seed=-1))


def test_the_stream_draws_nothing_from_torchs_random_state(tiles):
    before = torch.get_rng_state()
    stream(tiles, 36)
    assert torch.equal(before, torch.get_rng_state())


def test_every_crop_is_a_crop_of_an_image_maybe_mirrored(tiles):
    images, size = tiles[:3, :20, :20], 16
    crops = stream(images, 60, size=size).permute(0, 2, 3, 1).numpy()
    seen = set()
    for crop in crops:
        found = [
            (i, y, x, flip)
            for i, image in enumerate(color.rgb2lab(images))
            for y in range(5)
            for x in range(5)
            for flip in (1, -1)
            if np.abs(image[y : y + size, x : x + size][:, ::flip] - crop).max() < 0.02
        ]
        assert found, "no crop of any image"
        seen.add(found[0])
    # Images, both axes and both directions are all drawn from.
    assert [len({where[axis] for where in seen}) for axis in range(4)] == [3, 5, 5, 2]


def test_batches_are_lab_of_the_right_shape_and_kind(tiles):
    [(L, ab)] = feed_of(tiles, "1steps", batch_size=5, size=24)
    assert (L.shape, ab.shape) == ((5, 1, 24, 24), (5, 2, 24, 24))
    assert L.dtype == ab.dtype == torch.float32
    assert L.device == CPU
    assert 0 <= L.min() <= L.max() <= 100.01
    assert not L.requires_grad


def test_every_image_once_per_epoch_in_a_new_order():
    images = flat(10)
    feed = feed_of(images, "50images", batch_size=5, size=8)
    seen = [level for L, _ in feed for level in levels_of(L)]
    epochs = [seen[i : i + 10] for i in range(0, 50, 10)]
    assert len(set(epochs[0])) == 10
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


@pytest.mark.parametrize("count", [1, 3])
def test_sets_smaller_than_a_batch_are_repeated(count):
    feed = feed_of(flat(count), "6steps", batch_size=4, size=8)
    batches = [levels_of(L) for L, _ in feed]
    assert [len(batch) for batch in batches] == [4] * 6
    together = [level for batch in batches for level in batch]
    assert {together.count(level) for level in set(together)} == {24 // count}
    assert feed.images_seen == feed.image_count == count


def test_images_seen_counts_different_images(tiles):
    feed = feed_of(tiles, "3steps", batch_size=4)
    train_steps(feed)
    assert feed.images_seen == 12
    assert feed.image_count == 36


@pytest.mark.parametrize(
    ("budget", "steps"),
    [("1steps", 1), ("5steps", 5), ("1images", 1), ("4images", 1), ("10images", 3)],
)
def test_steps_and_images_are_overshot_by_at_most_one_step(tiles, budget, steps):
    feed = feed_of(tiles, budget)
    train_steps(feed)
    assert (feed.cost.steps, feed.cost.images) == (steps, 4 * steps)
    assert feed.stop_reason == "budget"
    assert feed.progress == 1


def test_seconds_are_overshot_by_at_most_one_step(tiles):
    steps = []
    feed = feed_of(tiles, "0.3s", on_step=lambda feed: steps.append(feed.cost.seconds))
    train_steps(feed, pause=0.05)
    assert feed.stop_reason == "budget"
    assert steps[-2] < 0.3 <= feed.cost.seconds
    longest = max(np.diff([0, *steps]))
    assert feed.cost.seconds < 0.3 + longest + 0.05


def test_flops_are_flop_counters_of_one_step_and_overshot_by_at_most_one(tiles):
    L, ab = (torch.rand(4, channels, 32, 32) for channels in (1, 2))
    with FlopCounterMode(display=False) as counter:
        F.mse_loss(ConvNet()(L), ab).backward()
    per_step = counter.get_total_flops()
    # By hand: two per multiply-add; backward to the weights of both, to the input of one.
    first, second = (2 * 4 * 32 * 32 * taps for taps in (1 * 6 * 9, 6 * 2 * 25))
    assert per_step == 2 * first + 3 * second

    feed = feed_of(tiles, "2steps")
    train_steps(feed)
    assert feed.cost.flops == 2 * per_step

    feed = feed_of(tiles, f"{per_step * 2.5 / 1e9:.9f}GFLOP")
    train_steps(feed)
    assert feed.cost.steps == 3
    assert feed.cost.flops == 3 * per_step


def test_a_step_that_costs_nothing_yet_does_not_end_a_flop_budget(tiles):
    feed = feed_of(tiles, "1GFLOP")
    progress = [feed.progress for _ in zip(feed, range(3), strict=False)]
    feed.abandon()
    assert progress == [0, 0, 0]
    assert feed.stop_reason == "plugin"


def test_the_clock_stands_still_while_paused_and_before_and_after(tiles):
    feed = feed_of(tiles, "10s")
    time.sleep(0.05)
    assert feed.cost.seconds == 0
    started = time.perf_counter()
    iterator = iter(feed)
    next(iterator)
    before = feed.cost.seconds
    with feed.paused():
        inside = feed.cost.seconds
        time.sleep(0.3)
        assert feed.cost.seconds == inside
    with pytest.raises(RuntimeError, match="evaluation"), feed.paused():
        raise RuntimeError("evaluation")
    time.sleep(0.1)
    next(iterator)
    feed.abandon()
    spent = feed.cost.seconds
    assert before + 0.1 <= spent <= time.perf_counter() - started - 0.3
    time.sleep(0.05)
    assert feed.cost.seconds == spent


def test_progress_rises_to_one(tiles):
    for budget in ("7steps", "25images", "0.1s", "0.02GFLOP"):
        seen = []
        feed = feed_of(tiles, budget, on_step=lambda feed, seen=seen: seen.append(feed.progress))
        train_steps(feed, pause=0.01)
        assert seen == sorted(seen), budget
        assert 0 < seen[0] <= seen[-1] <= 1, budget
        assert feed.progress == 1, budget


def test_stop_reasons(tiles):
    feed = feed_of(tiles, "5steps")
    assert feed.stop_reason == "no steps"
    feed.close()
    assert feed.stop_reason == "no steps"

    feed = feed_of(tiles, "5steps")
    for _ in feed:
        break
    feed.close()
    assert feed.stop_reason == "plugin"

    feed = feed_of(tiles, "2steps")
    train_steps(feed)
    assert feed.stop_reason == "budget"


def test_a_budget_spent_before_the_first_step_is_an_error(tiles):
    feed = feed_of(tiles, "0.02s")
    list(feed.survey())
    time.sleep(0.03)
    assert list(feed) == []
    with pytest.raises(BudgetError, match=r"0\.02s was spent before the first step"):
        feed.close()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("good_steps", [0, 2])
def test_a_loss_that_is_not_a_number_is_an_error(tiles, bad, good_steps):
    feed = feed_of(tiles, "9steps")
    with pytest.raises(TrainingError, match=f"{bad} in step {good_steps + 1}"):
        for _ in feed:
            feed.log(torch.tensor(bad if feed.cost.steps == good_steps else 1.0))
    feed.abandon()
    assert feed.cost.steps == good_steps + 1


def test_the_curve_gives_each_step_its_own_loss_and_cost(tiles):
    feed = feed_of(tiles, "5steps")
    weight = torch.ones(32, 32)
    for step, (L, _) in enumerate(feed, start=1):
        (L @ weight).sum()
        feed.log(torch.tensor(float(step)))
    feed.close()
    assert [(p["steps"], p["loss"]) for p in feed.curve.points] == [(n, n) for n in range(1, 6)]
    assert feed.curve.points[0]["flops"] == pytest.approx(feed.cost.flops / 5)
    assert feed.cost.flops > 0


@pytest.mark.parametrize("error", [TrainingError, KeyboardInterrupt])
def test_no_flop_counter_outlives_a_failing_first_step(tiles, error):
    feed = feed_of(tiles, "9steps")
    with pytest.raises(error):
        try:
            for _ in feed:
                assert torch._C._len_torch_dispatch_stack() == 1
                raise error
        except BaseException:
            feed.abandon()
            raise
    assert torch._C._len_torch_dispatch_stack() == 0
    assert float(torch.ones(2, 2).mm(torch.ones(2, 2)).sum()) == 8


def test_only_the_first_step_is_counted(tiles):
    feed = feed_of(tiles, "3steps")
    depths = [torch._C._len_torch_dispatch_stack() for _ in feed]
    assert depths == [1, 0, 0]


def test_a_feed_is_iterated_once(tiles):
    feed = feed_of(tiles, "2steps")
    list(feed)
    with pytest.raises(TrainingError, match="once"):
        iter(feed)


def test_the_survey_shows_every_image_once_centred_and_charges_no_step(tiles):
    feed = feed_of(tiles, "5steps", size=32)
    Ls, abs_ = zip(*feed.survey(), strict=True)
    surveyed = torch.cat((torch.cat(Ls), torch.cat(abs_)), 1).permute(0, 2, 3, 1).numpy()
    assert (feed.cost.steps, feed.cost.images) == (0, 0)
    expected = color.rgb2lab(tiles[:, 16:48, 16:48])
    assert surveyed.shape == expected.shape
    # All of them fit in one chunk, within which they are in the set's order.
    assert np.abs(surveyed - expected).max() < 0.02
    train_steps(feed)
    assert feed.cost.steps == 5


def test_the_survey_is_deterministic_limited_and_drawn_by_the_seed():
    images = flat(60)

    def levels(seed, limit):
        batches = feed_of(images, "1steps", size=8, seed=seed).survey(limit)
        return [level for L, _ in batches for level in levels_of(L)]

    assert levels(0, 20) == levels(0, 20)
    assert len(set(levels(0, 20))) == 20
    assert levels(0, 20) != levels(1, 20)
    assert len(levels(0, 4096)) == 60


def test_surveying_does_not_change_the_stream(tiles):
    feed = feed_of(tiles, "2steps")
    list(feed.survey())
    surveyed = torch.cat([L for L, _ in feed])
    assert torch.equal(surveyed, torch.cat([L for L, _ in feed_of(tiles, "2steps")]))


def test_the_curve_holds_the_mean_loss_and_all_costs_and_stays_short():
    feed = feed_of(flat(2), "3000steps", batch_size=1, size=8)
    for step, _ in enumerate(feed):
        feed.log(torch.tensor(float(step)))
    feed.close()
    points = feed.curve.points
    assert set(points[0]) == {"seconds", "steps", "images", "flops", "loss"}
    assert 100 < len(points) < 1000
    for cost in ("seconds", "steps", "images"):
        along = [point[cost] for point in points]
        assert along == sorted(along)
    assert points[-1]["steps"] == points[-1]["images"] == 3000
    # The loss is the step's number: a point's mean is the middle between the last point and it.
    ends = np.array([0, *(point["steps"] for point in points)])
    losses = np.array([point["loss"] for point in points])
    assert np.abs(losses - (ends[1:] + ends[:-1]) / 2).max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 65}, "65 px do not fit into images of 64"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_what_cannot_be_fed_is_refused(tiles, change, message):
    with pytest.raises(InputError, match=message):
        feed_of(tiles, "1steps", **change)


def test_an_empty_set_is_refused(tiles):
    with pytest.raises(InputError, match="empty"):
        feed_of(tiles[:0], "1steps")
