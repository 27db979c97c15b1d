"""timm's backbones as feature pyramids, and their ImageNet weights.

What the plugins share that look at a photograph through a network of image classification:
which backbones can be had, how grey is scaled for them, and where their weights come from.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError
from timm.models import is_model_in_modules
from torch import Tensor, nn

from zoo.errors import OptionError, WeightsError
from zoo.text import first_line
from zoo.training.feed import Feed
from zoo.weights.download import OFFLINE_VARIABLE, is_offline
from zoo.weights.packaged import PACKAGED, packaged_imagenet

_GREY_MEAN, _GREY_STD = 0.449, 0.226  # ImageNet's, the means over R, G and B
_WEIGHTS_FILE = "model.safetensors"
_VGG_HIDDEN = 4096  # units of the classifier's hidden layer
_EXAMPLES = "type one such as resnet18, efficientnet_lite0, mobilenetv3_small_050 or vgg11"


@dataclass(frozen=True)
class Pyramid:
    """The stages of a backbone, shallowest first.

    Attributes:
        strides: pixels of the image per pixel of the features.
        channels: how many the features of each stage have.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]


def scale_grey(grey: Tensor) -> Tensor:
    """Scales sRGB grey in [0, 1] to zero mean and unit deviation over ImageNet."""
    return (grey - _GREY_MEAN) / _GREY_STD


@dataclass(frozen=True)
class Backbone:
    """A model of timm as a feature extractor, up to the last stage that is wanted.

    Attributes:
        name: timm's name of the model.
        in_chans: channels of the image; timm sums weights for RGB up for one channel.
        stages: indices of those to give out, from 0 on; all where None.
    """

    name: str
    in_chans: int
    stages: tuple[int, ...] | None = None

    def build(self, trained: Mapping[str, object] | None = None) -> Any:
        """The network, with fresh weights or trained ones of the whole model.

        Args:
            trained: where timm finds them: `file` or `state_dict` of its pretrained configuration.
        """
        keywords: dict[str, Any] = {} if self.stages is None else {"out_indices": self.stages}
        if trained is not None:
            keywords |= {"pretrained": True, "pretrained_cfg_overlay": dict(trained)}
        elif is_model_in_modules(self.name, {"vgg"}):
            # timm makes the classifier, too, before it throws it away: of a VGG that is a hundred
            # million weights to draw. One hidden unit will do.
            keywords["mlp_ratio"] = 1 / _VGG_HIDDEN
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of names that timm has renamed
            net: Any = timm.create_model(
                self.name, features_only=True, in_chans=self.in_chans, **keywords
            )
        if isinstance(getattr(net, "blocks", None), nn.Sequential):
            # timm cuts off what lies beyond the last stage, but not of an EfficientNet.
            last = max(
                stage.get("stage", len(net.blocks)) for stage in net.feature_info.get_dicts()
            )
            net.blocks = net.blocks[:last]
        return net

    def load_imagenet(self, net: nn.Module, feed: Feed, option: str) -> None:
        """Fills `net`, which `build` gave, with ImageNet weights.

        Those that a package brings along (extra `imagenet`) come from there, all others from
        timm's repositories on the hub. Getting a file is not training: the clock of the budget
        stands still.

        Args:
            net: the network.
            feed: the batches of the training that the weights are for.
            option: the option that asked for them, for the message.

        Raises:
            WeightsError: they could not be had.
        """
        with feed.paused():
            try:
                packaged = packaged_imagenet(self.name)
                if packaged is not None:
                    trained = self.build({"state_dict": packaged})
                else:
                    # Where downloads are forbidden, what the hub's cache has will do.
                    file = hf_hub_download(
                        _hub_name(self.name), _WEIGHTS_FILE, local_files_only=is_offline()
                    )
                    trained = self.build({"file": file})
            except (OSError, RuntimeError) as error:
                package = PACKAGED.get(self.name)
                if package is not None:
                    problem = f"{_reason(error)}; type pip install 'colorizer-zoo[imagenet]'"
                elif is_offline() and isinstance(error, LocalEntryNotFoundError):
                    problem = f"{OFFLINE_VARIABLE} forbids to download them; unset it once"
                else:
                    problem = f"{_reason(error)}; connect to the network once"
                raise WeightsError(
                    f"could not get timm's ImageNet weights of {self.name}: {problem}, "
                    f"or train from scratch with {option}=none"
                ) from error
            net.load_state_dict(trained.state_dict())


@lru_cache(maxsize=64)
def describe_backbone(name: str) -> Pyramid:
    """The stages that timm offers of a backbone, found without computing anything.

    Raises:
        OptionError: timm has no such model, or it is no pyramid of feature maps whose strides
            double from stage to stage for images of any size.
    """
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3, cutoff=0.6)
        raise OptionError(
            f"timm {timm.__version__} has no model {name!r}; "
            + (f"did you mean {' or '.join(map(repr, near))}?" if near else _EXAMPLES)
        )
    try:
        try:
            strides, channels, doubles = _stages(name, "meta")
        except NotImplementedError:
            # timm 1.0.20 to 1.0.29 computes the stages of a RegNet with tensors, on that device.
            strides, channels, doubles = _stages(name, "cpu")
    # A model says in its own way that it has no such stages, or takes one size alone.
    except Exception as error:
        raise OptionError(
            f"{name!r} cannot be a backbone: {_reason(error)}; {_EXAMPLES}"
        ) from error
    if not doubles:
        raise OptionError(
            f"{name!r} cannot be a backbone: its stages have the strides "
            f"{', '.join(map(str, strides))}, where each must be a power of two and twice the one "
            f"before; {_EXAMPLES}"
        )
    return Pyramid(tuple(strides), tuple(channels))


def check_imagenet(name: str, option: str) -> None:
    """Checks that timm has weights of a model that an option asks for.

    Raises:
        OptionError: it has none.
    """
    if not _hub_name(name):
        raise OptionError(
            f"timm {timm.__version__} has no ImageNet weights of {name!r}; "
            f"type {option}=none, or name another backbone"
        )


def _stages(name: str, device: str) -> tuple[list[int], list[int], bool]:
    """Strides and channels of a backbone, and whether its features have them, doubling."""
    with torch.device(device):
        net = Backbone(name, in_chans=1).build().eval()
        strides, channels = net.feature_info.reduction(), net.feature_info.channels()
        if not _doubles(strides):
            return strides, channels, False
        side = 2 * max(strides)
        features = net(torch.empty(1, 1, side, side))
    shapes = [(1, c, side // s, side // s) for c, s in zip(channels, strides, strict=True)]
    return strides, channels, [tuple(stage.shape) for stage in features] == shapes


def _hub_name(name: str) -> str:
    config = timm.get_pretrained_cfg(name)
    return str(config.hf_hub_id or "") if config is not None else ""


def _doubles(strides: list[int]) -> bool:
    first = strides[0]
    power_of_two = first > 0 and first & (first - 1) == 0
    return power_of_two and all(deep == 2 * shallow for shallow, deep in pairwise(strides))


def _reason(error: Exception) -> str:
    return textwrap.shorten(first_line(error).rstrip("."), 160, placeholder=" …")
