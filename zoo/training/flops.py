"""The floating-point operations of a training step."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def count_flops() -> FlopCounterMode:
    """PyTorch's counter of floating-point operations, with grouped convolutions put right.

    PyTorch's own formula takes the gradient of a grouped convolution's weights for that of a
    dense one: of a depthwise convolution it counts as many times too much as there are channels.
    """
    # mypy cannot see the operators of PyTorch.
    backward: Any = torch.ops.aten.convolution_backward
    return FlopCounterMode(display=False, custom_mapping={backward: _convolution_backward})


def _convolution_backward(
    grad_out: Sequence[int],
    x: Sequence[int],
    weight: Sequence[int],
    _bias: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    transposed: bool,
    _output_padding: object,
    _groups: object,
    output_mask: Sequence[bool],
    **_: object,
) -> int:
    """The operations of a convolution's gradients, by tensors' shapes; multiply and add are two.

    Each gradient, that of the input and that of the weights, takes every product that the forward
    pass takes: one per place, weight and image. A weight's shape has its group's channels alone.
    """
    places = (x if transposed else grad_out)[2:]
    forward = 2 * x[0] * prod(places) * prod(weight)
    return forward * sum(map(bool, output_mask[:2]))
