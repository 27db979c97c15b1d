"""LPIPS v0.1 on AlexNet: perceptual distance from the `lpips` package, its backbone from a file."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.errors import WeightsError
from zoo.metric import ALWAYS, Metric, MetricContext, MetricInfo, Pictures, WeightsFile
from zoo.weights.file import read_torch
from zoo_benchmark.metrics import check_pair, in_parts

ALEXNET = WeightsFile(
    name="alexnet",
    title="AlexNet's weights",
    file_name="alexnet-owt-7be5be79.pth",
    sha256="7be5be79",
    urls=("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",),
    license="BSD-3-Clause",
    option="--lpips-weights",
    in_torch_hub=True,
)
"""torchvision's checkpoint IMAGENET1K_V1, of which LPIPS takes the convolutions."""

FEATURES_SHA256 = "2b566cc3a4d6f0a7343701af22f461f1ac3dcd03a3ac28cce10968a1d3c85fdc"
"""The hash of IMAGENET1K_V1's ten convolution tensors as little-endian float32, in order."""

_SHAPES: dict[str, tuple[int, ...]] = {
    "features.0.weight": (64, 3, 11, 11),
    "features.0.bias": (64,),
    "features.3.weight": (192, 64, 5, 5),
    "features.3.bias": (192,),
    "features.6.weight": (384, 192, 3, 3),
    "features.6.bias": (384,),
    "features.8.weight": (256, 384, 3, 3),
    "features.8.bias": (256,),
    "features.10.weight": (256, 256, 3, 3),
    "features.10.bias": (256,),
}

_PIXELS_AT_A_TIME = 1 << 20


class LPIPSAlexNet(Metric):
    """LPIPS: the learned perceptual distance of whole images, RGB in [−1, 1].

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
        decimals=4,
        place=3,
        ranks=2,
        keep=ALWAYS,
        l_copied=True,
        weights=(ALEXNET,),
        packages=("lpips",),
    )

    def __init__(self, context: MetricContext) -> None:
        super().__init__(context)
        self._net = _build(load_alexnet_features(self.file(ALEXNET))).to(context.device)

    @classmethod
    def check_file(cls, wanted: WeightsFile, path: Path, where: str) -> None:
        """Takes torchvision's checkpoint and its features alone, in any format."""
        load_alexnet_features(path, where)

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
    """A block of full float32 convolutions on CUDA: TF32 would cost LPIPS its fourth digit."""
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


def load_alexnet_features(path: Path, where: str = "") -> dict[str, Tensor]:
    """The ten tensors `features.0.weight` … `features.10.bias`, float32, in this order.

    The file is safetensors or a torch checkpoint (`.pth`, `.pt`) of the whole AlexNet or of its
    features, with or without the prefix `features.`. Pickled code is never run.

    Args:
        path: the file.
        where: the path and what named it, for the message.

    Raises:
        WeightsError: the file cannot be read, lacks a tensor, or its tensors are not
            those of torchvision's IMAGENET1K_V1: a distance from others would not be LPIPS.
    """
    where = where or str(path)
    state = _read(path, where)
    features: dict[str, Tensor] = {}
    for name, shape in _SHAPES.items():
        tensor = state.get(name, state.get(name.removeprefix("features.")))
        if not isinstance(tensor, torch.Tensor):
            raise WeightsError(f"{where} is not AlexNet's: it lacks {name}")
        if tuple(tensor.shape) != shape:
            raise WeightsError(
                f"{where} is not AlexNet's: {name} is {tuple(tensor.shape)}, not {shape}"
            )
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{where} is damaged: {name} holds NaN or infinity")
        features[name] = tensor.detach().to(torch.float32).contiguous()
    if _digest(features) != FEATURES_SHA256:
        raise WeightsError(
            f"{where} is not torchvision's IMAGENET1K_V1, the only AlexNet that gives LPIPS; "
            f"{ALEXNET.urls[0]} is"
        )
    return features


def _digest(features: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in _SHAPES:
        digest.update(features[name].numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _read(path: Path, where: str) -> dict[str, object]:
    try:
        state: object = load_file(path) if path.suffix == ".safetensors" else read_torch(path)
    # Whatever the many readers behind torch.load raise, it means the same to the user.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{where} cannot be read as weights: {reason[:200]}") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{where} is not AlexNet's: it holds a {type(state).__name__}")
    return state
