"""The interface of metrics: numbers from pictures and their truth.

A metric is an entry point in the group `zoo.metrics`. The harness constructs each one once
per trial with a `MetricContext` and then calls it on batches. All that tables, files and plots
need to know of a metric stands in its `MetricInfo`.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from zoo.color.lab import rgb_to_lab
from zoo.errors import WeightsError
from zoo.weights.download import file_sha256, wrong_hash

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from zoo.arrays import UInt8Array

Direction = Literal["higher", "lower", "match"]

BY_STRANGERS = 100
"""The first `MetricInfo.place` behind the zoo's own metrics."""

ALWAYS = math.inf
"""`MetricInfo.keep` of a column that no terminal is too narrow for."""


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights that a metric needs.

    It is looked for where the option `--weights-file` says, where the environment variable
    says, in a cache, and at last downloaded.

    Attributes:
        name: what the metric calls it: the key in `MetricContext.files`.
        title: what the file is, in words and in the plural: `AlexNet's weights`.
        file_name: its name in the cache.
        sha256: the hash of the file to be downloaded, or its first digits, at least eight.
        urls: where it is, tried in this order; empty where it cannot be downloaded.
        size: in bytes, if known.
        license: the license of the weights.
        how_to_get: what a person does who has no network, before naming the file; empty for
            downloading the first URL elsewhere.
        variable: the environment variable that names a file; empty for `ZOO_<KEY>_WEIGHTS`, the
            key as in `--weights-file`.
        option: an option of its own that names a file, if the command line has one.
        in_torch_hub: whether it is kept in the cache of `torch.hub`, which other programs share.
    """

    name: str
    title: str
    file_name: str
    sha256: str
    urls: tuple[str, ...] = ()
    size: int | None = None
    license: str = ""
    how_to_get: str = ""
    variable: str = ""
    option: str = ""
    in_torch_hub: bool = False


@dataclass(frozen=True)
class MetricInfo:
    """The facts that a metric declares about itself, for tables, files and plots.

    Attributes:
        name: the column's name, as in `scores.csv`.
        title: the name for people.
        unit: the unit of the values; empty for a pure number.
        direction: `higher` or `lower` is better, or `match`: nearest to the truth is best.
        version: raised whenever the same pictures would get other values.
        minimum_size: the smallest side in pixels that can be scored.
        paper: where the metric is defined.
        default: shown by `zoo bench` unless asked otherwise.
        per: whether each image has a value, or only a whole set of images (`SetMetric`).
        heading: two lines at the head of its column; empty for title, arrow and unit.
        decimals: how many its values have in tables; four significant digits where None.
        place: its rank among the columns, the lowest first. One below `BY_STRANGERS` has one in
            every `leaderboard.csv`, empty where it was not scored.
        ranks: a table is ordered by the scored metric whose number here is largest; 0 for never.
        keep: how long its column stays where a terminal is too narrow: the lowest goes first.
            Costs and speeds lie between 10 and 20.
        brief: whether a terminal shows its values without their interval.
        l_copied: whether pictures of another lightness are scored with the input's as well
            (`NAME_l_copied`).
        pooled: makes one more value, `NAME_pooled`, out of the values of all images.
        conditions: whether it can be measured where the input was changed and the truth was not.
        weights: the files that it needs.
        packages: distributions that decide its values; their versions are recorded.
        fine_print: what must be known before a value is compared with another program's, such as
            the network, how images are resized for it, and in which range; stands below tables.
        least_images: the smallest set that has a value.
        reliable_from: the number of images below which a value of a set is marked as biased;
            learning curves, which look at a few images, leave such a metric out.
        interval: how `SetMetric.half_interval` is found, in words; empty where there is none.
    """

    name: str
    title: str
    unit: str
    direction: Direction
    version: int
    minimum_size: int = 1
    paper: str = ""
    default: bool = True
    per: Literal["image", "set"] = "image"
    heading: str = ""
    decimals: int | None = None
    place: int = BY_STRANGERS
    ranks: int = 0
    keep: float = 30
    brief: bool = False
    l_copied: bool = False
    pooled: Callable[[ArrayLike], float] | None = None
    conditions: bool = True
    weights: tuple[WeightsFile, ...] = ()
    packages: tuple[str, ...] = ()
    fine_print: str = ""
    least_images: int = 1
    reliable_from: int = 1
    interval: str = ""

    @property
    def arrow(self) -> str:
        """The arrow that points to where values are better; empty for `match`."""
        return {"higher": "↑", "lower": "↓", "match": ""}[self.direction]

    @property
    def sign(self) -> int:
        """The factor on values that puts the best ones first in rising order."""
        return -1 if self.direction == "higher" else 1

    def weights_key(self, wanted: WeightsFile) -> str:
        """The key of a file in `--weights-file KEY=FILE`: the metric, and which if of several."""
        return self.name if len(self.weights) == 1 else f"{self.name}.{wanted.name}"

    def weights_variable(self, wanted: WeightsFile) -> str:
        """The environment variable that names a file."""
        key = re.sub(r"[^A-Z0-9]", "_", self.weights_key(wanted).upper())
        return wanted.variable or f"ZOO_{key}_WEIGHTS"

    def how_to_get(self, wanted: WeightsFile) -> str:
        """Advice for a file that could not be had."""
        option = wanted.option or f"--weights-file {self.weights_key(wanted)}="
        name = f"{option}FILE" if option.endswith("=") else f"{option} FILE"
        elsewhere = f"download {wanted.urls[0]} elsewhere" if wanted.urls else ""
        first = wanted.how_to_get or elsewhere
        return f"{first} and pass {name}" if first else f"pass {name}"


@dataclass(frozen=True)
class Pictures:
    """A batch of 8-bit colour images, and what several metrics derive from them.

    Attributes:
        rgb8: N×3×H×W uint8, sRGB, on the device where metrics are computed.
    """

    rgb8: Tensor

    @classmethod
    def from_unit_rgb(cls, rgb: Tensor) -> Pictures:
        """Rounds N×3×H×W RGB in [0, 1] to 8 bits, as a saved file would."""
        return cls((rgb.clamp(0, 1) * 255).round().to(torch.uint8))

    @classmethod
    def from_array(cls, images: UInt8Array, device: torch.device | str = "cpu") -> Pictures:
        """The pictures of an array N×H×W×3 uint8."""
        return cls(torch.from_numpy(images.copy()).to(device).permute(0, 3, 1, 2).contiguous())

    @cached_property
    def rgb(self) -> Tensor:
        """The pictures as N×3×H×W float32 RGB in [0, 1]."""
        return self.rgb8.float() / 255

    @cached_property
    def ab(self) -> Tensor:
        """The chroma of the 8-bit pictures: N×2×H×W float32, in CIE Lab units."""
        return rgb_to_lab(self.rgb8)[1]

    def __len__(self) -> int:
        return len(self.rgb8)


@dataclass(frozen=True)
class MetricContext:
    """The context of a metric: what it may use besides the pictures.

    Attributes:
        device: where the pictures are and the metric computes.
        truth: all truth pictures of the test set, N×H×W×3 uint8, for metrics whose weights
            depend on the test set (the rebalanced AuC).
        files: the files of `MetricInfo.weights` by their names. All of them are there, and
            `check_file` has accepted each.
    """

    device: torch.device
    truth: UInt8Array
    files: Mapping[str, Path] = field(default_factory=dict)


class Metric(ABC):
    """A metric: one number per image.

    Subclasses set `info` and implement `__call__`. A metric that cannot work here raises
    `zoo.errors.WeightsError` from its constructor; its column then states the reason and every
    other metric goes on.
    """

    info: ClassVar[MetricInfo]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "info" in vars(cls) and (cls.info.per == "set") != issubclass(cls, SetMetric):
            raise TypeError(
                f"{cls.__name__} says per={cls.info.per!r}: a metric per image derives from "
                "Metric, one per set from SetMetric"
            )

    def __init__(self, context: MetricContext) -> None:
        self.context = context

    def file(self, wanted: WeightsFile) -> Path:
        """The path of one of `info.weights`.

        Raises:
            WeightsError: the context lacks it.
        """
        if wanted.name not in self.context.files:
            raise WeightsError(
                f"{self.info.title} needs {wanted.title}: {self.info.how_to_get(wanted)}"
            )
        return self.context.files[wanted.name]

    @abstractmethod
    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        """N values, float, for N predicted pictures and their N truths of the same size."""

    @classmethod
    def check_file(cls, wanted: WeightsFile, path: Path, where: str) -> None:
        """Refuses a file that is not the wanted one; by default, its SHA-256 decides.

        A metric that takes other files of the same weights, such as another format, does so
        here. All files that pass must give the same values.

        Args:
            wanted: one of `info.weights`.
            path: a file that exists.
            where: the path and what named it, for the message.

        Raises:
            WeightsError: in one line, that begins with `where`.
        """
        found = file_sha256(path)
        if not found.startswith(wanted.sha256):
            raise WeightsError(f"{wrong_hash(where, found, wanted.sha256)}: it is another file")


class SetMetric(Metric):
    """A metric of whole sets of images: one number, such as the distance of two distributions.

    Subclasses set `info` with `per="set"` and implement `update` and `compute`. What was
    gathered of the pictures so far is a state that `update` gives back, so that one metric can
    gather several sets at a time.
    """

    @abstractmethod
    def update(self, state: Any, predicted: Pictures, truth: Pictures) -> Any:
        """The state with a batch of pictures added; the state is None before the first one."""

    @abstractmethod
    def compute(self, state: Any) -> float:
        """The value of all pictures that were added to a state."""

    def half_interval(self, state: Any) -> float | None:
        """Half the 95 % interval of `compute`'s value; None where it is not known.

        A distance of distributions grows where images are drawn twice: no bootstrap, but a
        jackknife or disjoint parts, as `info.interval` says.
        """
        return None

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        """One value: that of these pictures as a whole set."""
        return torch.tensor([self.compute(self.update(None, predicted, truth))])
