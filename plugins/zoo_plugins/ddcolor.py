"""DDColor: two decoders, one of pixels and one of colour queries (Kang et al., ICCV 2023).

X. Kang, T. Yang, W. Ouyang, P. Ren, L. Li, X. Xie, "DDColor: Towards Photo-Realistic Image
Colorization via Dual Decoders". An encoder sees the grey photograph. The pixel decoder enlarges
its features step by step to full resolution. The colour decoder has learnt queries that look at
three scales of it in turn, and become vectors of colour. A map for each query, its product with
the features of every pixel, is mixed with the others, and with the photograph, to ab.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from zoo.color.lab import lab_to_rgb
from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.errors import OptionError, WeightsError
from zoo.options import option
from zoo.training.feed import Feed
from zoo_plugins.timm_backbone import Backbone, check_imagenet, describe_backbone

_ENCODERS = {"large": "convnext_large.fb_in22k", "tiny": "convnext_tiny.fb_in22k"}
_FIRST_WIDTHS = {192: "large", 96: "tiny"}  # of the encoders, by which files are told apart
_STRIDES = (4, 8, 16, 32)
_HEADS = 8
_FEEDFORWARD = 8  # times the width of the queries
_LONGEST_WAVE = 10_000  # of the positions
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
_WORKING_SIZE = 512


@dataclass(frozen=True)
class DDColorOptions(TrainingOptions):
    """Options of DDColor."""

    variant: Literal["large", "tiny"] = option("large", "size of the ConvNeXt that encodes")
    encoder: str = option(
        "",
        "timm's name of another encoder, with features at the strides 4, 8, 16 and 32; empty: the "
        "variant's ConvNeXt",
    )
    encoder_weights: Literal["none", "imagenet"] = option(
        "none",
        "`none` trains the encoder from scratch like every other model; `imagenet` downloads "
        "timm's ImageNet weights (the paper's setting)",
    )
    queries: int = option(100, "learnt colour queries", least=1)
    width: int = option(
        256,
        "channels of the queries and of the pixel decoder's finest level, a multiple of 8; the "
        "coarser levels have twice as many",
        least=8,
    )
    layers: int = option(9, "layers of the colour decoder", least=1)
    l1_weight: float = option(0.1, "factor on the mean of |Δa| and |Δb|", above=0)
    colourfulness_weight: float = option(
        0.5, "factor on 1 − the colourfulness of the prediction", least=0
    )
    batch_size: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 1e-2

    def check(self) -> None:
        """Checks that the queries' channels can be shared among the heads."""
        if self.width % _HEADS:
            raise ValueError(f"width must be a multiple of {_HEADS}, got {self.width}")

    @property
    def encoder_name(self) -> str:
        """The encoder's name in timm."""
        return self.encoder or _ENCODERS[self.variant]

    @classmethod
    def small(cls) -> DDColorOptions:
        """The laptop's size: a RegNet encodes, 20 queries of half the width, 3 layers decode."""
        return cls(
            variant="tiny",
            encoder="regnetx_002",
            queries=20,
            width=128,
            layers=3,
            learning_rate=1e-3,
        )


class DDColorNet(nn.Module):
    """The network: grey in, ab out; sides are multiples of 32.

    Args:
        options: those of the plugin.
        encoder: the stages of strides 4 … 32 of the options' encoder.
        channels: how many each of them has.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, options: DDColorOptions, encoder: Backbone, channels: Sequence[int]) -> None:
        super().__init__()
        width = options.width
        self.encoder = encoder.build()
        self.norms = nn.ModuleList(LayerNorm2d(count) for count in channels)
        # The published networks carry a norm over pooled features that nothing reads. It is kept
        # for their tensors to be all there, and is not trained.
        self.pooled_norm = nn.LayerNorm(channels[-1], eps=1e-6).requires_grad_(False)
        widths = (2 * width, 2 * width, width)
        deeper = (channels[-1], *widths)
        self.up = nn.ModuleList(
            Up(deep, skip, wide)
            for (deep, wide), skip in zip(pairwise(deeper), channels[-2::-1], strict=True)
        )
        self.last = Shuffle(width, width, times=4, norm=False)
        self.colours = ColourDecoder(widths, width, options.queries, options.layers)
        self.refine = SpectralConv(options.queries + len(_MEAN), 2)
        for name, values in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))

    def forward(self, grey: Tensor) -> Tensor:
        """N×3×H×W grey sRGB in [0, 1] to N×2×H×W ab."""
        image = (grey - self.mean) / self.std
        features = [
            norm(stage) for norm, stage in zip(self.norms, self.encoder(image), strict=True)
        ]
        x, scales = features.pop(), []
        for up in self.up:
            x = up(x, features.pop())
            scales.append(x)
        vectors = self.colours(scales)
        # Maps of the queries are mixed by a 1×1 convolution. Shuffling, blurring and mixing are
        # linear, so that mixing may come first: two maps are enlarged instead of all features.
        mix = self.refine.normalised(grey.device)[:, :, 0, 0]
        queries = vectors.shape[1]
        coarse = self.last.coarse(x)
        pixels = coarse.reshape(len(coarse), vectors.shape[2], -1, *coarse.shape[2:])
        mixed = torch.einsum("nkc,ncshw->nkshw", mix[:, :queries] @ vectors, pixels).float()
        from_photograph = F.conv2d(image, mix[:, queries:, None, None], self.refine.bias)
        return self.last.enlarge(mixed.flatten(1, 2)) + from_photograph.float()


class SpectralConv(nn.Conv2d):
    """A convolution whose weights have the spectral norm 1, found in float32 on any device."""

    def __init__(self, wide_in: int, wide_out: int, side: int = 1, *, bias: bool = True) -> None:
        super().__init__(wide_in, wide_out, side, padding=side // 2, bias=bias)
        nn.init.kaiming_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        spectral_norm(self)

    def normalised(self, device: torch.device) -> Tensor:
        """The weights, which are on `device`, over their largest singular value."""
        with torch.autocast(device.type, enabled=False):
            return self.weight

    def forward(self, x: Tensor) -> Tensor:
        """Convolves N×C×H×W features."""
        return F.conv2d(x, self.normalised(x.device), self.bias, padding=self.padding)


class Shuffle(nn.Module):
    """Enlargement by pixel shuffle after a 1×1 convolution, and a blur against its checkerboard."""

    def __init__(self, wide_in: int, wide_out: int, times: int, *, norm: bool) -> None:
        super().__init__()
        self.times = times
        self.layers = nn.Sequential(SpectralConv(wide_in, wide_out * times**2, bias=not norm))
        if norm:
            self.layers.append(nn.BatchNorm2d(wide_out * times**2))

    def coarse(self, x: Tensor) -> Tensor:
        """The features before they are enlarged, times² channels for each."""
        return F.relu(self.layers(x))

    def enlarge(self, x: Tensor) -> Tensor:
        """N×(C·times²)×H×W to N×C×(times·H)×(times·W), each pixel the mean of four."""
        return F.avg_pool2d(
            F.pad(F.pixel_shuffle(x, self.times), (1, 0, 1, 0), mode="replicate"), 2, stride=1
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features times² as large."""
        return self.enlarge(self.coarse(x))


class Up(nn.Module):
    """A step of the pixel decoder: enlarge twofold, join the encoder's features, convolve."""

    def __init__(self, deeper: int, skip: int, wide: int) -> None:
        super().__init__()
        self.shuffle = Shuffle(deeper, wide, times=2, norm=True)
        self.norm = nn.BatchNorm2d(skip)
        self.mix = nn.Sequential(
            SpectralConv(wide + skip, wide, 3, bias=False), nn.ReLU(), nn.BatchNorm2d(wide)
        )

    def forward(self, deeper: Tensor, skip: Tensor) -> Tensor:
        """N×C×h×w and N×S×2h×2w features to N×W×2h×2w."""
        joined = torch.cat((self.shuffle(deeper), self.norm(skip)), dim=1)
        out: Tensor = self.mix(F.relu(joined))
        return out


class ColourDecoder(nn.Module):
    """The colour decoder: learnt queries that look at the scales of the pixel decoder in turn."""

    def __init__(self, scales: Sequence[int], width: int, queries: int, layers: int) -> None:
        super().__init__()
        self.query = nn.Embedding(queries, width)
        self.query_position = nn.Embedding(queries, width)
        self.level = nn.Embedding(len(scales), width)
        self.project = nn.ModuleList(nn.Conv2d(scale, width, 1) for scale in scales)
        self.layers = nn.ModuleList(QueryLayer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.to_colour = nn.Sequential(
            *(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()),
            nn.Linear(width, width),
        )

    def forward(self, scales: Sequence[Tensor]) -> Tensor:
        """Features of the scales, coarsest first, to N×queries×width vectors."""
        seen = []
        for project, scale, level in zip(self.project, scales, self.level.weight, strict=True):
            features = project(scale).flatten(2).mT + level
            where = positions(scale, features.shape[2])
            seen.append((features, where))
        # A copy: PyTorch's counter of operations stumbles over a view of a parameter.
        x = self.query.weight.repeat(len(scales[0]), 1, 1)
        for number, layer in enumerate(self.layers):
            x = layer(x, self.query_position.weight, *seen[number % len(seen)])
        vectors: Tensor = self.to_colour(self.norm(x))
        return vectors


class QueryLayer(nn.Module):
    """A layer of the colour decoder: cross-attention, self-attention and a small network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(width, _HEADS, batch_first=True)
        self.own = nn.MultiheadAttention(width, _HEADS, batch_first=True)
        self.feedforward = nn.Sequential(
            nn.Linear(width, _FEEDFORWARD * width),
            nn.ReLU(),
            nn.Linear(_FEEDFORWARD * width, width),
        )
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, position: Tensor, features: Tensor, where: Tensor) -> Tensor:
        """N×Q×C queries, changed by what they find among N×P×C features at P places."""
        found = self.cross(x + position, features + where, features, need_weights=False)[0]
        x = self.norms[0](x + found)
        placed = x + position
        x = self.norms[1](x + self.own(placed, placed, x, need_weights=False)[0])
        out: Tensor = self.norms[2](x + self.feedforward(x))
        return out


def positions(planes: Tensor, channels: int) -> Tensor:
    """Sines and cosines of the places of N×…×H×W planes, (H·W)×C.

    The first half of the channels tells the row, the second the column.
    """
    height, width = planes.shape[2:]
    each = channels // 2
    pair = torch.arange(each, device=planes.device) // 2
    frequency = _LONGEST_WAVE ** (-2 * pair / each)
    halves = []
    for side in (height, width):
        angle = torch.arange(1, side + 1, device=planes.device) / (side + 1e-6) * 2 * math.pi
        phase = angle[:, None] * frequency
        halves.append(torch.stack((phase[:, ::2].sin(), phase[:, 1::2].cos()), dim=2).flatten(1))
    rows = halves[0][:, None].expand(-1, width, -1)
    columns = halves[1][None].expand(height, -1, -1)
    return torch.cat((rows, columns), dim=2).flatten(0, 1)


def colourfulness(rgb: Tensor) -> Tensor:
    """N×3×H×W RGB in [0, 1] to the colourfulness of each image, of |R − G| and |(R + G)/2 − B|."""
    red, green, blue = rgb.unbind(1)
    opponents = torch.stack(((red - green).abs(), ((red + green) / 2 - blue).abs()), dim=1)
    opponents = opponents.flatten(2)
    # The small constant keeps the root's gradient finite where an image is grey.
    spread = (opponents.var(dim=2).sum(dim=1) + 1e-8).sqrt()
    return spread + 0.3 * (opponents.mean(dim=2).square().sum(dim=1) + 1e-8).sqrt()


class DDColor(Colorizer):
    """DDColor: regression of ab by a pixel decoder and a decoder of learnt colour queries.

    Raises:
        OptionError: an encoder that cannot be one, or has no such weights.
    """

    info = Info(
        name="ddcolor",
        title="DDColor: pixel decoder and colour queries",
        paper="X. Kang et al., DDColor: Towards Photo-Realistic Image Colorization via Dual "
        "Decoders, ICCV 2023",
        license="Apache-2.0",
        differs=(
            "the loss is that of L1 and colourfulness; the perceptual term, which needs a trained "
            "VGG-16, is left out, and gan_discriminator:generator=ddcolor adds the adversarial one",
            "the encoder is trained from scratch unless encoder_weights=imagenet",
            "the truth is as it is; the authors' training multiplies its saturation by 1.2",
            "photographs with a side of less than 512 px are not enlarged along it",
            "AdamW with warm-up and decay",
        ),
        working_size=_WORKING_SIZE,
        squashed=True,
    )
    multiple = _STRIDES[-1]
    Options = DDColorOptions
    options: DDColorOptions

    def __init__(self, options: Any = None, **keywords: Any) -> None:
        super().__init__(options, **keywords)
        name = self.options.encoder_name
        pyramid = describe_backbone(name)
        stages = [i for i, stride in enumerate(pyramid.strides) if stride in _STRIDES]
        if len(stages) != len(_STRIDES):
            raise OptionError(
                f"ddcolor: the stages of {name} have the strides "
                f"{', '.join(map(str, pyramid.strides))}, where 4, 8, 16 and 32 are needed; "
                "type one such as resnet18"
            )
        if self.options.encoder_weights == "imagenet":
            check_imagenet(name, "encoder_weights")
        self._encoder = Backbone(name, in_chans=len(_MEAN), stages=tuple(stages))
        self._channels = [pyramid.channels[i] for i in stages]

    @property
    def pretrained(self) -> Sequence[str]:
        """The encoder, where it starts from ImageNet weights."""
        return ("encoder",) if self.options.encoder_weights == "imagenet" else ()

    def build(self) -> nn.Module:
        """Encoder, both decoders and the mixing layer, with fresh weights."""
        return DDColorNet(self.options, self._encoder, self._channels)

    def prepare(self, feed: Feed) -> None:
        """Fills in the encoder's ImageNet weights where they were asked for.

        Raises:
            WeightsError: they could not be had.
        """
        if self.options.encoder_weights == "imagenet":
            self._encoder.load_imagenet(self.net.get_submodule("encoder"), feed, "encoder_weights")

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        """L1 of ab, and 1 − the mean colourfulness of what is predicted."""
        predicted = self.forward(L)
        grey = 1 - colourfulness(lab_to_rgb(L, predicted)).mean()
        l1 = F.l1_loss(predicted, ab)
        return self.options.l1_weight * l1 + self.options.colourfulness_weight * grey

    def forward(self, L: Tensor) -> Tensor:
        """Chroma as the network gives it."""
        ab: Tensor = self.net(lab_to_rgb(L, torch.zeros_like(L).expand(-1, 2, -1, -1)))
        return ab

    @classmethod
    def convert_state_dict(
        cls, tensors: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Weights as the authors publish them; their shapes tell which variant they are of."""
        first = tensors.get("encoder.arch.downsample_layers.0.0.weight")
        queries = tensors.get("decoder.color_decoder.query_feat.weight")
        variant = _FIRST_WIDTHS.get(len(first)) if first is not None and first.ndim else None
        if variant is None or queries is None or queries.ndim != 2:
            raise WeightsError(
                "ddcolor also reads the authors' files, which this is not: those have "
                "encoder.arch.…, decoder.… and refine_net.…, of the large or the tiny variant"
            )
        state = {_renamed(name): tensor for name, tensor in tensors.items()}
        layers = {name.split(".")[2] for name in state if name.startswith("colours.layers.")}
        options = {
            "variant": variant,
            "queries": queries.shape[0],
            "width": queries.shape[1],
            "layers": len(layers),
        }
        return options, state


_NAMES = (
    # The encoder's: ours are timm's.
    (r"^encoder\.arch\.norm\.", "pooled_norm."),
    (r"^encoder\.arch\.norm(\d)\.", r"norms.\1."),
    (r"^encoder\.arch\.downsample_layers\.0\.", "encoder.stem_"),
    (r"^encoder\.arch\.downsample_layers\.(\d)\.", r"encoder.stages_\1.downsample."),
    (r"^encoder\.arch\.stages\.(\d)\.", r"encoder.stages_\1.blocks."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
    # The pixel decoder's.
    (r"^decoder\.layers\.(\d)\.shuf\.conv\.", r"up.\1.shuffle.layers."),
    (r"^decoder\.layers\.(\d)\.bn\.", r"up.\1.norm."),
    (r"^decoder\.layers\.(\d)\.conv\.", r"up.\1.mix."),
    (r"^decoder\.last_shuf\.conv\.", "last.layers."),
    # The colour decoder's.
    (r"^decoder\.color_decoder\.", "colours."),
    (r"^colours\.decoder_norm\.", "colours.norm."),
    (r"^colours\.query_feat\.", "colours.query."),
    (r"^colours\.query_embed\.", "colours.query_position."),
    (r"^colours\.level_embed\.", "colours.level."),
    (r"^colours\.input_proj\.", "colours.project."),
    (
        r"^colours\.transformer_cross_attention_layers\.(\d+)\.multihead_attn\.",
        r"colours.layers.\1.cross.",
    ),
    (r"^colours\.transformer_cross_attention_layers\.(\d+)\.norm\.", r"colours.layers.\1.norms.0."),
    (r"^colours\.transformer_self_attention_layers\.(\d+)\.self_attn\.", r"colours.layers.\1.own."),
    (r"^colours\.transformer_self_attention_layers\.(\d+)\.norm\.", r"colours.layers.\1.norms.1."),
    (r"^colours\.transformer_ffn_layers\.(\d+)\.linear1\.", r"colours.layers.\1.feedforward.0."),
    (r"^colours\.transformer_ffn_layers\.(\d+)\.linear2\.", r"colours.layers.\1.feedforward.2."),
    (r"^colours\.transformer_ffn_layers\.(\d+)\.norm\.", r"colours.layers.\1.norms.2."),
    (r"^colours\.color_embed\.layers\.0\.", "colours.to_colour.0."),
    (r"^colours\.color_embed\.layers\.1\.", "colours.to_colour.2."),
    (r"^colours\.color_embed\.layers\.2\.", "colours.to_colour.4."),
    # The layer that mixes, and spectral norms.
    (r"^refine_net\.0\.0\.", "refine."),
    (r"\.weight_orig$", ".parametrizations.weight.original"),
    (r"\.weight_([uv])$", r".parametrizations.weight.0._\1"),
)
"""Names in the authors' files, and what stands for them here; one after the other is replaced."""


def _renamed(name: str) -> str:
    for pattern, ours in _NAMES:
        name = re.sub(pattern, ours, name)
    return name
