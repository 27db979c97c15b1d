"""The exponential moving average of the weights, an option of the shared loop."""

import numpy as np
import pytest
import torch
from torch import nn

import zoo
from zoo.errors import OptionError
from zoo.training.checkpoint import Checkpoint

NAME = "zhang_classifier"


def new(**options):
    options = {"width": 0.0625, "batch_size": 4, **options}
    return zoo.load(NAME, device="cpu", precision="fp32", **options)


def weights(colorizer):
    return {k: v.clone().double() for k, v in colorizer.net.state_dict().items()}


def test_training_ends_with_the_average_of_the_steps_weights(tiles):
    seen = []
    colorizer = new(averaging=0.9)

    def watch(_):
        seen.append(weights(colorizer))

    colorizer.fit(tiles, budget="12steps", size=32, on_step=watch)
    plain = new().fit(tiles, budget="12steps", size=32)
    ends = weights(colorizer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = {k: v.clone().double() for k, v in new().build().state_dict().items()}
    for n, step in enumerate(seen, start=1):
        decay = min(0.9, (1 + n) / (10 + n))
        expected = {k: decay * expected[k] + (1 - decay) * step[k] for k in expected}
    for name, tensor in ends.items():
        if name.endswith("num_batches_tracked"):
            continue
        error = (tensor - expected[name]).norm() / (1e-12 + expected[name].norm())
        assert error < 1e-5, name
    # The steps themselves are those of a training without it.
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, seen[-1][name]), name


def test_stopped_and_resumed_gives_the_same_average(tiles, tmp_path):
    whole = new(averaging=0.9).fit(tiles, budget="8steps", size=32)

    class Stopped(Exception):
        pass

    def stop(feed):
        if feed.cost.steps == 5:
            raise Stopped

    path = tmp_path / "training.ckpt"
    with pytest.raises(Stopped):
        new(averaging=0.9).fit(
            tiles,
            budget="8steps",
            size=32,
            checkpoint=Checkpoint(path, every=1e-9),
            on_step=stop,
        )
    resumed = new(averaging=0.9).fit(tiles, budget="8steps", size=32, checkpoint=Checkpoint(path))
    assert resumed.record.cost.steps == 8
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_batch_norms_statistics_are_averaged_too(tiles):
    colorizer = new(averaging=0.5).fit(tiles, budget="4steps", size=32)
    norms = [m for m in colorizer.net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(int(norm.num_batches_tracked) == 4 for norm in norms)
    assert all(np.isfinite(norm.running_var.numpy()).all() for norm in norms)


@pytest.mark.parametrize("decay", [1, -0.1, float("nan")])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(OptionError, match="averaging must"):
        new(averaging=decay)
