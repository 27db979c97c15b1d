"""The fastest number of images at once is found by the clock, within memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import zoo.prediction.batch_size
from zoo.colorizer import Colorizer, Info
from zoo.errors import InputError
from zoo.prediction.batch_size import Batches, FastestBatch


def search(cost) -> FastestBatch:
    """A search on a machine where a batch of n takes cost(n) seconds."""
    fastest = FastestBatch()
    for _ in range(60):
        fastest.took(fastest.size, cost(fastest.size))
    assert fastest.settled
    return fastest


@pytest.mark.parametrize(
    ("cost", "size"),
    [
        (lambda n: 1.0 * n, 1),  # nothing to gain
        (lambda n: 1.0 + 0.1 * n + 0.001 * n * n, 32),  # least time per image near √1000
        (lambda n: 1.0 if n <= 8 else 1.0 * n, 8),  # a cliff
        (lambda n: 1.0 if n in (1, 2) else 0.2 * n, 4),  # one doubling in vain is not the end
    ],
)
def test_the_size_of_the_least_time_per_image_is_found(cost, size):
    assert search(cost).size == size


def test_what_is_too_small_a_gain_ends_the_search():
    assert search(lambda n: n * 0.999 ** np.log2(n)).size <= 4


def test_the_first_batch_of_a_size_does_not_count():
    fastest = FastestBatch()
    fastest.took(1, 100.0)
    fastest.took(1, 1.0)
    fastest.took(2, 100.0)
    fastest.took(2, 1.0)
    assert fastest.size == 4
    fastest.took(3, 1e-9)  # what is left of the images
    assert fastest.size == 4


def test_nothing_beyond_the_limit_is_tried_and_the_search_goes_on_without_it():
    fastest = FastestBatch()
    taken = []
    for limit in [12] * 20 + [3, 1] + [64] * 6:
        taken.append(fastest.within(limit))
        fastest.took(taken[-1], 1.0)
    assert taken[:20] == [1, 1, 2, 2, 4, 4, *[8] * 14]
    assert taken[20:] == [3, 1, 16, 16, 32, 32, 64, 64]
    assert search(lambda n: 1.0 if n <= 8 else 1.0 * n).within(4) == 4


def test_a_limited_search_is_not_over(monkeypatch):
    """Neither `most`, as `zoo colorize` sets it, nor memory that ended once, lasts for good."""
    now = [0.0]
    monkeypatch.setattr(zoo.prediction.batch_size.time, "perf_counter", lambda: now[0])
    fastest, memory = FastestBatch(), 99

    def run(batch):
        now[0] += 1.0
        if len(batch) > memory:
            raise OUT[0]

    def sizes(**limits):
        batches = Batches("auto", 1 << 16, lambda _: fastest, run, lambda *_: None, **limits)
        for item in range(40):
            batches.add(item, (8, 8))
        found = []
        while batches.waiting:
            found.append(len(batches.run_next((8, 8))[0]))
        return found

    assert max(sizes(most=4)) == 4
    memory = 9
    assert max(sizes()) == 8
    memory = 99
    assert sizes()[:2] == [16, 16]


class Tight(Colorizer):
    """Has room for so many images at once; notes how many it was given."""

    info = Info(name="tight", title="Little memory", paper="none", license="MIT")

    def __init__(self, room: int, error: Exception) -> None:
        super().__init__(device="cpu", precision="fp32")
        self.room, self.error, self.given = room, error, []
        self.net, self._fitted = self.build(), True

    def build(self):
        return nn.Identity()

    def forward(self, L):
        self.given.append(len(L))
        if len(L) > self.room:
            raise self.error
        return L.repeat(1, 2, 1, 1) / 10


OUT = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"),
    MemoryError("Unable to allocate 3 GiB"),
]


@pytest.mark.parametrize("error", OUT, ids=["cuda", "cpu", "numpy"])
@pytest.mark.parametrize("batch_size", [None, 16, "auto"])
def test_out_of_memory_takes_fewer_and_loses_nothing(error, batch_size, greys):
    images = np.concatenate([greys[:4]] * 5)
    roomy, tight = Tight(99, error), Tight(5, error)
    with pytest.warns(UserWarning, match=r"out of memory with \d+ images at once; going on with"):
        coloured = tight.predict(images, batch_size=batch_size)
    assert np.array_equal(coloured, roomy.predict(images))
    assert sum(n for n in tight.given if n <= 5) == len(images)


def test_one_image_that_does_not_fit_is_said(greys):
    with (
        pytest.warns(UserWarning, match="going on with 1"),
        pytest.raises(InputError, match=r"out of memory with one image \(CUDA out"),
    ):
        Tight(0, OUT[0]).predict(greys[:2])


def test_another_error_is_not_taken_for_it(greys):
    tight = Tight(0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        tight.predict(greys[:2])
    assert tight.given == [2]


def test_auto_remembers_what_it_measured(greys, monkeypatch):
    now = [0.0]
    colorizer = Tight(99, OUT[0])
    monkeypatch.setattr(zoo.prediction.batch_size.time, "perf_counter", lambda: now[0])

    def predict(L, paint=colorizer.forward):
        now[0] += 1.0 if len(L) <= 4 else float(len(L))
        return paint(L)

    monkeypatch.setattr(colorizer, "forward", predict)
    images = np.concatenate([greys[:4]] * 16)
    once = colorizer.predict(images, batch_size="auto")
    assert colorizer.given[:6] == [1, 1, 2, 2, 4, 4]
    assert colorizer.fastest_batch(images.shape[1:]).size == 4
    colorizer.given.clear()
    assert np.array_equal(colorizer.predict(images, batch_size="auto"), once)
    assert set(colorizer.given) == {4}


def test_a_batch_is_of_one_shape():
    assert run_all(2, 0) == [([0, 2], 2), ([3], 3), ([1, 4], 5)]
    assert [batch for batch, _ in run_all(None, 130)] == [[0, 2, 3], [1, 4]]


def run_all(batch_size, pixels):
    """Every batch of five items with its result, which is the items' sum."""
    batches = Batches(batch_size, pixels, lambda _: FastestBatch(), sum)
    for item, shape in enumerate([(4, 4), (8, 8), (4, 4), (4, 4), (8, 8)]):
        batches.add(item, shape)
    found = []
    while batches.waiting:
        found.append(batches.run_next(next(iter(batches.waiting))))
    return found
