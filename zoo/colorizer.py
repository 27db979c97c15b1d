"""The one interface of every method: `Colorizer`, with `fit`, `predict` and `save`.

A plugin sets `info`, implements `build` and `forward`, and either `loss` (the shared
training loop then does the rest) or its own `train`. See CONTRIBUTING for the shortest one.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, overload

import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from zoo.arrays import UInt8Array
from zoo.color.lab import check_L, lab_to_rgb, rgb_to_lab
from zoo.data import containers
from zoo.data.dataset import Dataset, ImageSet
from zoo.device import (
    autocast,
    own_random_state,
    resolve_device,
    resolve_precision,
)
from zoo.errors import NotFittedError, OptionError, PluginError, TrainingError, WeightsError
from zoo.info import INTERFACE, Info, Preset
from zoo.options import NoOptions, replace_options
from zoo.prediction.batch_size import BATCH_PIXELS, BatchSize, FastestBatch
from zoo.prediction.engine import colour_planes, padded_size
from zoo.prediction.working_size import WorkingSize, pad_edges, suited_working_size
from zoo.training.budget import Budget
from zoo.training.checkpoint import Checkpoint
from zoo.training.feed import Feed
from zoo.training.loop import TrainingOptions, train
from zoo.training.session import Session
from zoo.training.variety import WHOLE, Variety
from zoo.weights.file import Origin, StoredWeights, save_weights
from zoo.weights.record import TrainingRecord

__all__ = ["INTERFACE", "Colorizer", "Info", "TrainingOptions", "TrainingRecord"]


class Colorizer(ABC):
    """A method that turns lightness into colour.

    Authors find `self.net` (what `build` returned: an eager float32 module on the device),
    `self.options`, `self.device` and `self.precision`. Public methods do the common work
    once: containers, checks, device, train/eval and grad mode, odd sizes, batching, and the
    merge of predicted chroma with the input's own lightness at full resolution.

    Args:
        options: an instance of the class' `Options`; the paper's where None.
        device: `auto`, `cpu`, `cuda` or `mps`, or one of PyTorch's.
        precision: `auto`, `fp32` or `bf16` for convolutions and matrix products.
        **changes: single options that replace those of `options`.

    Raises:
        UnknownNameError: an option that does not exist.
        OptionError: a value that it cannot have.
        DeviceError: a device that is not there.
    """

    info: ClassVar[Info]
    Options: ClassVar[type] = NoOptions
    # A plugin with options says `options: ItsOptions`, so that type checkers know their fields.
    options: Any

    def __init__(
        self,
        options: Any = None,
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        **changes: object,
    ) -> None:
        if options is None:
            options = self.Options()
        elif not isinstance(options, self.Options):
            raise OptionError(
                f"{self.info.name} takes {self.Options.__qualname__}, got {options!r}"
            )
        self.options = replace_options(options, changes, self.info.name)
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.record: TrainingRecord | None = None
        self.origin: Origin | None = None
        self._net: nn.Module | None = None
        self._fitted = False
        self._feed: Feed | None = None
        self._fastest: dict[tuple[int, ...], FastestBatch] = {}

    # ---- what a plugin implements ------------------------------------------------------

    # Properties, since they may depend on options; where not, a plugin writes `multiple = 8`.

    @property
    def multiple(self) -> int:
        """Sides must be multiples of this; other input is padded and cropped back."""
        return 1

    @property
    def minimum_size(self) -> int:
        """The smallest side in pixels that the network takes; smaller input is padded."""
        return self.multiple

    @property
    def pretrained(self) -> Sequence[str]:
        """Names of the network's submodules that `prepare` fills with published weights; none.

        The shared loop trains them at the option `pretrained_rate`.
        """
        return ()

    @abstractmethod
    def build(self) -> nn.Module:
        """A new network with fresh weights, from `self.options`; on the CPU, float32."""

    @abstractmethod
    def forward(self, L: Tensor) -> Tensor:
        """N×1×H×W L to N×2×H×W ab (or N×3×H×W RGB in [0, 1] where `info.output` is `rgb`).

        Called with sides that suit `multiple` and `minimum_size`: in train mode from `loss`, in
        eval mode otherwise. Differentiable where the method is: no `no_grad` inside, as gradient
        mode is the caller's business.
        """

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        """The scalar to minimise on a batch N×1×S×S L, N×2×S×S ab, in train mode.

        L is what the network sees: blurred, noisy or faded here and there, where the input is
        varied. ab is the truth's. The truth's own colours are `true_rgb(L, ab)`.
        """
        raise PluginError(f"{self.info.name} implements neither loss nor train")

    def true_rgb(self, L: Tensor, ab: Tensor) -> Tensor:
        """The truth of a batch that `loss` was given, N×3×S×S sRGB: what an RGB painter aims at.

        Outside of a training it is the colour of L and ab.

        Raises:
            PluginError: the input is varied, and L is another tensor than the feed's.
        """
        return lab_to_rgb(L if self._feed is None else self._feed.true_lightness(L), ab)

    def prepare(self, feed: Feed) -> None:  # noqa: B027 - optional
        """Looks at the training set (`feed.survey()`) before the first step; optional."""

    def train(self, feed: Feed) -> None:
        """Trains `self.net` until the feed is spent; by default the shared loop on `loss`."""
        train(self.net, self.loss, feed, self.training_options, self.precision, self.pretrained)

    # ---- what a user calls -------------------------------------------------------------

    @classmethod
    def preset(cls, preset: Preset) -> Any:
        """The options of a preset: `paper`, or `small`, the laptop version where there is one."""
        if preset not in ("paper", "small"):
            raise OptionError(f"unknown preset {preset!r}; type paper or small")
        small = getattr(cls.Options, "small", None)
        return small() if preset == "small" and small is not None else cls.Options()

    @property
    def net(self) -> nn.Module:
        """The network.

        Raises:
            NotFittedError: it has not been built yet.
        """
        if self._net is None:
            raise NotFittedError(self.info.name)
        return self._net

    @net.setter
    def net(self, net: nn.Module) -> None:
        self._net = net

    @property
    def is_fitted(self) -> bool:
        """True after a complete `fit` or with loaded weights."""
        return self._fitted

    @property
    def training_options(self) -> TrainingOptions:
        """The options of the training loop: the plugin's own where it offers them."""
        return self.options if isinstance(self.options, TrainingOptions) else TrainingOptions()

    @property
    def batch_pixels(self) -> int:
        """Pixels of one pass of the network, unless told otherwise."""
        return BATCH_PIXELS[self.device.type]

    @property
    def parameter_count(self) -> int:
        """How many parameters the network has."""
        return sum(p.numel() for p in self.net.parameters())

    @property
    def paints_rgb(self) -> bool:
        """True where the network paints RGB itself instead of predicting chroma."""
        return self.info.output == "rgb"

    def fit(
        self,
        data: UInt8Array | Sequence[npt.NDArray[Any] | Image.Image] | ImageSet | Dataset,
        *,
        budget: str | Budget,
        seed: int = 0,
        data_seed: int | None = None,
        size: int | None = None,
        input_variety: bool = True,
        crop_scale: tuple[float, ...] = WHOLE,
        stored_size: int | None = None,
        find_learning_rate: bool = False,
        initial: str | Path | None = None,
        checkpoint: Checkpoint | None = None,
        on_step: Callable[[Feed], None] | None = None,
    ) -> Self:
        """Trains within the budget, from scratch unless told otherwise, and returns self.

        Args:
            data: colour images: N×H×W×3 uint8, a list of H×W×3 uint8 arrays or PIL images of
                any sizes, an `ImageSet`, or a `Dataset` (its training split). Squares in one
                array or set are taken as they are; photographs in a list are reduced to what
                the crops need. A PIL image with an EXIF orientation is turned upright.
            budget: such as `30s`, `10min`, `500steps`, `50kimages`, `2PFLOP`.
            seed: decides the weights and whatever else the method draws.
            data_seed: decides the images' order, crops, flips and variety; `seed` where None.
            size: side of the training crops in pixels; by default the dataset's own, or what
                the images allow.
            input_variety: whether the lightness that the network sees is changed at random as
                scanners, cameras and codecs change it. The target stays the image's own colour.
            crop_scale: the smallest and the largest share of the stored side that a crop
                covers; crops are resized to `size` with antialiasing.
            stored_size: the least side in pixels to keep images at, from `size` on, for crops
                that are made smaller; by default `size`.
            find_learning_rate: spends a tenth of the budget on a learning-rate range test and
                trains with what it suggests in place of the options' learning rate.
            initial: weights to start from, for fine-tuning: a file or a published name. They
                must be of this model, and fit the network of its options; other options may
                differ.
            checkpoint: a file that training is written to now and then. Where it holds an
                unfinished training of the same kind, that one is resumed. Delete it once the
                weights are saved.
            on_step: called with the feed after every step, for progress bars.

        Raises:
            OptionError: `pretrained_rate` is set, and nothing starts from published weights.
            BudgetError: the budget cannot be read, or not one step, or no search, fits into it.
            InputError: images of a wrong kind, or none; shares that are none; a stored size below
                the crops, or without a size.
            OutputError: there is no room for the weights where the checkpoint is to be.
            TrainingError: the loss became NaN.
            WeightsError: `initial` or the checkpoint does not fit.
        """
        session = Session(
            self,
            data,
            budget,
            seed=seed,
            data_seed=data_seed,
            size=size,
            variety=Variety(input_variety, crop_scale, stored_size),
            find_learning_rate=find_learning_rate,
            initial=initial,
            checkpoint=checkpoint,
            on_step=on_step,
        )
        with self._training(session) as feed:
            session.run(feed)
        self.net.eval()
        self._fitted = True
        self.record = session.record(feed)
        self.origin = session.origin(self.record)
        return self

    @contextmanager
    def training_session(
        self,
        data: UInt8Array | Sequence[npt.NDArray[Any] | Image.Image] | ImageSet | Dataset,
        budget: str | Budget,
        *,
        seed: int = 0,
        size: int | None = None,
        on_step: Callable[[Feed], None] | None = None,
    ) -> Iterator[Feed]:
        """A fresh network in train mode and the feed of its budget, for a loop of one's own.

        Arguments and errors are those of `fit`. Inside the block the random state is the
        method's own. The colorizer is not fitted afterwards.
        """
        session = Session(self, data, budget, seed=seed, size=size, on_step=on_step)
        with self._training(session) as feed:
            yield feed

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """A block inside `on_step` in which the half-trained network predicts, off the budget.

        The clock stands still, and training goes on afterwards as if nothing had happened:
        random state, gradient mode and every module's train or eval mode come back.

        Raises:
            TrainingError: nothing is being trained.
        """
        if self._feed is None:
            raise TrainingError(f"{self.info.name} is not being trained; evaluate it directly")
        modes = [(module, module.training) for module in self.net.modules()]
        fitted = self._fitted
        with self._feed.paused(), own_random_state(self.device, 0), torch.no_grad():
            self._fitted = True
            try:
                yield
            finally:
                self._fitted = fitted
                for module, mode in modes:
                    module.training = mode

    @overload
    def predict(
        self,
        images: Image.Image,
        working_size: WorkingSize = "auto",
        *,
        batch_size: BatchSize = None,
    ) -> Image.Image: ...
    @overload
    def predict(
        self,
        images: UInt8Array,
        working_size: WorkingSize = "auto",
        *,
        batch_size: BatchSize = None,
    ) -> UInt8Array: ...
    @overload
    def predict(
        self,
        images: Sequence[UInt8Array | Image.Image],
        working_size: WorkingSize = "auto",
        *,
        batch_size: BatchSize = None,
    ) -> list[UInt8Array | Image.Image]: ...
    def predict(
        self, images: Any, working_size: WorkingSize = "auto", *, batch_size: BatchSize = None
    ) -> Any:
        """Colours grey images; gives back the container it got, as 8-bit RGB.

        The network sees a copy of the working size. Its chroma is enlarged and merged into the
        input's own lightness at full size. That holds for methods that paint RGB as well;
        `predict_rgb` gives what they painted. `zoo colorize` makes the same pictures of files.

        Args:
            images: a PIL image, an H×W or N×H×W uint8 array, or a list of H×W arrays and PIL
                images of any sizes. 8-bit grey v is read as sRGB (v, v, v). A PIL image in
                colour is taken as its lightness; one with an EXIF orientation comes back upright.
            working_size: what the network sees, in pixels of the short side, or of both where
                `info.squashed`; nothing is ever enlarged to it. `auto` is the size that suits the
                weights, see `working_size`; `full` is each image's own.
            batch_size: images per pass, at most; by default what suits the device, 65,536 pixels
                on a CPU. `auto` finds the fastest number by measurement. Where memory ends,
                fewer are taken, with a warning.

        Returns:
            A PIL image, H×W×3, N×H×W×3, or a list.

        Raises:
            NotFittedError: neither fitted nor loaded.
            InputError: the wrong kind, dtype or shape of images; too little memory for one.
            OptionError: no such working size.
        """
        self._check_fitted()
        planes, pack = containers.open_greys(images)
        return pack(colour_planes(self, planes, working_size, batch_size))

    @property
    def working_size(self) -> int | None:
        """The short side in pixels that `auto` shows to the network; None for any.

        It is what `info` declares; else the size that the weights were, or are being, trained
        at, and at least 64; or 256 where that is unknown.
        """
        training = self.record or self._feed
        return suited_working_size(self.info.working_size, training.size if training else None)

    def fastest_batch(self, shape: tuple[int, ...]) -> FastestBatch:
        """The search for the fastest batch size of images H×W, under way or over."""
        return self._fastest.setdefault(shape, FastestBatch())

    def predict_ab(self, L: Tensor) -> Tensor:
        """The chroma of lightness: N×1×H×W float32 L in [0, 100] to N×2×H×W ab, unclamped.

        This is the tensor-level way in: nothing is resized. The result is on the device of `L`.

        Raises:
            NotFittedError: neither fitted nor loaded.
            InputError: the wrong shape, dtype or range.
            PluginError: the method gave NaN or the wrong shape.
        """
        return self._predict_ab(check_L(L))

    def predict_rgb(self, L: Tensor) -> Tensor:
        """The colours of lightness: N×1×H×W L to N×3×H×W sRGB, merged with L or as painted."""
        output = self._run(check_L(L))
        rgb = output.clamp(0, 1) if self.paints_rgb else lab_to_rgb(L.to(output.device), output)
        return rgb.to(L.device)

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Writes the weights with model, options and training record as safetensors.

        Args:
            path: the file, `.safetensors`.
            half: kernels and matrices in half precision, for half the size.

        Raises:
            NotFittedError: there is nothing to save yet.
        """
        self._check_fitted()
        save_weights(
            Path(path),
            self.net,
            info=self.info,
            options=self.options,
            record=self.record,
            origin=self.origin or Origin(self.info.license),
            half=half,
        )

    def restore(self, stored: StoredWeights) -> Self:
        """Takes over weights that were opened for this model; returns self.

        Raises:
            WeightsError: they do not fit the options.
        """
        with own_random_state(self.device, 0):
            net = self.build()
        stored.load_into(net, self.options)
        self.net = self._place(net).eval()
        self.record, self.origin = stored.record, stored.origin
        self._fitted = True
        return self

    def ready(self) -> Self:
        """Makes a method that learns nothing (`Info.learns`) predict without `fit`; returns self.

        Raises:
            NotFittedError: it has something to learn.
        """
        if self.info.learns:
            raise NotFittedError(self.info.name)
        with own_random_state(self.device, 0):
            net = self.build()
        self.net, self._fitted = self._place(net).eval(), True
        return self

    @classmethod
    def convert_state_dict(
        cls, tensors: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Options and tensors out of a state dict of another program; for plugins that know one.

        Raises:
            WeightsError: it is in no format that this colorizer knows.
        """
        raise WeightsError(
            f"{cls.info.name} knows no other format; use a file written by colorizer.save(…)"
        )

    @classmethod
    def open_file(cls, path: Path) -> StoredWeights | None:
        """A file that holds more than tensors, for plugins whose weights are of that kind.

        Returns:
            What it says of itself, which `restore` is given; None to read it as tensors.

        Raises:
            WeightsError: it is no such file.
        """
        return None

    # ---- common work -------------------------------------------------------------------

    @contextmanager
    def _training(self, session: Session) -> Iterator[Feed]:
        with own_random_state(self.device, session.seed), torch.enable_grad():
            net = self.build()
            if session.initial is not None:
                session.initial.load_into(net, self.options)
            self._fitted, self.record, self.origin = False, None, None
            self.net = self._place(net).train()
            self._feed = feed = session.new_feed()
            try:
                self.prepare(feed)
                yield feed
            finally:
                feed.abandon()
                self._feed = None

    def _place(self, net: nn.Module) -> nn.Module:
        self._fastest.clear()
        # Channels-last is what tensor cores and oneDNN's bf16 kernels work in.
        channels_last = self.device.type == "cuda" or self.precision == "bf16"
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return net.to(device=self.device, memory_format=layout)  # type: ignore[call-overload,no-any-return]

    def _predict_ab(self, L: Tensor) -> Tensor:
        """`predict_ab` without its checks, of what is known to be lightness."""
        output = self._run(L)
        return (rgb_to_lab(output)[1] if self.paints_rgb else output).to(L.device)

    def _run(self, L: Tensor) -> Tensor:
        """`forward` on any size: padded to what the network takes, cropped back, checked."""
        self._check_fitted()
        height, width = L.shape[2:]
        padded = pad_edges(L.to(self.device), padded_size(self, (height, width)))
        was_training = self.net.training
        self.net.eval()
        try:
            with torch.no_grad(), autocast(self.device, self.precision):
                output = self.forward(padded)
        finally:
            self.net.train(was_training)
        expected = (len(L), 3 if self.paints_rgb else 2, *padded.shape[2:])
        if tuple(output.shape) != expected:
            raise PluginError(
                f"{self.info.name}: forward gave shape {tuple(output.shape)} for L of "
                f"{tuple(padded.shape)}; it must give {expected}"
            )
        output = output[:, :, :height, :width].float()
        if not torch.isfinite(output).all():
            raise PluginError(f"{self.info.name}: forward gave NaN or infinite values")
        return output

    def padded_side(self, side: int) -> int:
        """The side in pixels that the network sees where the image has `side`."""
        wanted = max(side, self.minimum_size)
        return -(-wanted // self.multiple) * self.multiple

    def _check_fitted(self) -> None:
        if not self._fitted:
            raise NotFittedError(self.info.name)

    def __repr__(self) -> str:
        changed = ", ".join(
            f"{f.name}={getattr(self.options, f.name)!r}"
            for f in dataclasses.fields(self.options)
            if getattr(self.options, f.name) != getattr(self.Options(), f.name)
        )
        state = "fitted" if self._fitted else "not fitted"
        return f"<{self.info.name}({changed}) on {self.device}, {state}>"
