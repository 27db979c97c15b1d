"""The operations of a training step, against plain formulas and PyTorch's own counter."""

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.training.budget import Budget
from zoo.training.feed import Feed
from zoo.training.flops import count_flops
from zoo.training.loop import TrainingOptions, train

N, C, SIDE = 3, 8, 12


def counted(counter, net, x):
    """Operations of a forward and of a backward pass, by a counter."""
    with counter() as forward:
        out = net(x)
    with counter() as backward:
        out.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def pytorchs():
    return FlopCounterMode(display=False)


# (layer, channels in, operations of its forward pass by hand)
LAYERS = {
    "depthwise": (nn.Conv2d(C, C, 3, padding=1, groups=C), 2 * N * C * 9 * SIDE**2),
    "depthwise 5×5, strided": (
        nn.Conv2d(C, C, 5, stride=2, padding=2, groups=C),
        2 * N * C * 25 * (SIDE // 2) ** 2,
    ),
    "two per channel": (nn.Conv2d(C, 2 * C, 3, padding=1, groups=C), 2 * N * 2 * C * 9 * SIDE**2),
    "four groups": (
        nn.Conv2d(C, 16, 3, padding=1, groups=4, bias=False),
        2 * N * 16 * (C // 4) * 9 * SIDE**2,
    ),
    "dilated": (nn.Conv2d(C, C, 3, padding=2, dilation=2, groups=C), 2 * N * C * 9 * SIDE**2),
    "transposed": (
        nn.ConvTranspose2d(C, 16, 4, stride=2, padding=1, groups=4),
        2 * N * C * (16 // 4) * 16 * SIDE**2,
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_grouped_convolution_costs_twice_its_forward_pass_backwards(layer):
    net, by_hand = LAYERS[layer]
    x = torch.randn(N, C, SIDE, SIDE)
    assert counted(count_flops, net, x.clone().requires_grad_()) == (by_hand, 2 * by_hand)
    # Of an image, no gradient is needed.
    assert counted(count_flops, net, x) == (by_hand, by_hand)
    assert counted(pytorchs, net, x)[1] > by_hand


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(C, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1)),
        nn.Sequential(nn.ConvTranspose2d(C, 16, 4, stride=2, padding=1), nn.Conv2d(16, 4, 3)),
        nn.Sequential(nn.Conv2d(C, 4, 3, dilation=2, bias=False), nn.Flatten(), nn.LazyLinear(9)),
        timm.create_model("resnet18", in_chans=C, num_classes=7),
    ],
    ids=["dense", "transposed", "linear", "resnet18"],
)
def test_networks_without_groups_cost_what_pytorch_counts(net):
    x = torch.randn(N, C, 32, 32)
    net(x)  # lazy layers are made
    for given in (x, x.clone().requires_grad_()):
        assert counted(count_flops, net, given) == counted(pytorchs, net, given)


def test_a_training_step_of_a_depthwise_network_costs_three_forward_passes(tiles):
    net = nn.Sequential(
        nn.Conv2d(1, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 2, 1)
    )
    feed = Feed(tiles, Budget.parse("2steps"), batch_size=N, size=32, device=torch.device("cpu"))
    train(net, lambda L, ab: (net(L / 100) - ab).square().mean(), feed, TrainingOptions(), "fp32")
    first, middle, last = (2 * N * 32**2 * each for each in (16, 16 * 9, 16 * 2))
    # The first layer's input is the image, which needs no gradient.
    assert feed.cost.flops == 2 * (2 * first + 3 * middle + 3 * last)
