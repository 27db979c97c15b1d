"""LPIPS v0.1 on AlexNet: perceptual distance from the `lpips` package, its backbone from a file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.errors import WeightsError
from zoo.metric import Metric, MetricContext, MetricInfo, Pictures
from zoo_benchmark.metrics import check_pair, in_parts
from zoo_benchmark.metrics.lpips_weights import how_to_get, load_alexnet_features

_PIXELS_AT_A_TIME = 1 << 20


class LPIPSAlexNet(Metric):
    """Learned perceptual distance of whole images, RGB in [−1, 1].

    AlexNet's two poolings leave nothing of images under 31 pixels a side.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="lpips",
        title="LPIPS",
        unit="",
        direction="lower",
        version=1,
        minimum_size=31,
        paper="Zhang, Isola, Efros, Shechtman and Wang, CVPR 2018",
    )

    def __init__(self, context: MetricContext) -> None:
        super().__init__(context)
        if context.lpips_weights is None:
            raise WeightsError(f"LPIPS needs AlexNet's weights: {how_to_get()}")
        self._net = _build(load_alexnet_features(context.lpips_weights)).to(context.device)

    @torch.no_grad()
    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        """N values, 0 for identical pictures."""
        check_pair(self.info, predicted, truth)
        parts = in_parts(predicted, truth, _PIXELS_AT_A_TIME)
        with _without_tf32():
            values = [self._net(_signed(p), _signed(t)).reshape(-1) for p, t in parts]
        return torch.cat(values)


def _signed(rgb8: Tensor) -> Tensor:
    return rgb8.float() / 127.5 - 1


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Full float32 convolutions on CUDA: TF32 would cost LPIPS its fourth digit."""
    cudnn: Any = torch.backends.cudnn
    # Newer torch refuses to read the older switch once anybody has set the newer one.
    newer = hasattr(cudnn, "conv")
    switch, name, exact = (
        (cudnn.conv, "fp32_precision", "ieee") if newer else (cudnn, "allow_tf32", False)
    )
    before = getattr(switch, name)
    setattr(switch, name, exact)
    try:
        yield
    finally:
        setattr(switch, name, before)


def _build(features: dict[str, Tensor]) -> nn.Module:
    """The `lpips` package's network with AlexNet's ten convolution tensors in place."""
    # Building draws random weights, all of which are replaced: the caller's seed stays untouched.
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # The package asks torchvision for `pretrained=False`, which torchvision calls deprecated.
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        import lpips

        net: nn.Module = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    backbone = net.get_submodule("net")
    # Its five slices hold the layers under their number in AlexNet: `slice2.3` is `features.3`.
    state = {name: features["features." + name.split(".", 1)[1]] for name in backbone.state_dict()}
    backbone.load_state_dict(state, strict=True)
    return net.eval().requires_grad_(False)
