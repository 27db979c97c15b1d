"""The one interface of every method: `Colorizer`, with `fit`, `predict` and `save`.

A plugin sets `info`, implements `build` and `_predict`, and either `loss` (the shared
training loop then does the rest) or its own `_fit`. See CONTRIBUTING for the shortest one.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from zoo import containers
from zoo._version import __version__
from zoo.budget import Budget
from zoo.dataset import Dataset, ImageSet, UInt8Array
from zoo.errors import NotFittedError, OptionError, PluginError, TrainingError
from zoo.feed import Feed
from zoo.lab import check_L, grey_to_L, lab_to_rgb, rgb_to_lab
from zoo.lr_finder import search_in_budget
from zoo.options import NoOptions, replace_options
from zoo.training import TrainingOptions, autocast, resolve_device, resolve_precision, train
from zoo.training_record import TrainingRecord, read_record, record_training
from zoo.weights import load_state, read_weights, save_weights

__all__ = ["Colorizer", "Info", "TrainingOptions", "TrainingRecord"]

INTERFACE = 1
"""The version of what this module promises to plugins and asks of them."""

Preset = Literal["paper", "small"]

# `Colorizer.batch_pixels` by device.
_BATCH_PIXELS = {"cpu": 1 << 19, "cuda": 1 << 22, "mps": 1 << 20}


@dataclass(frozen=True)
class Info:
    """What a colorizer says of itself.

    Attributes:
        name: the entry point's name.
        title: the name for people.
        paper: the publication, or `none`.
        licence: of the code, as an SPDX identifier.
        differs: departures from the paper, one sentence each.
        minimum_size: the smallest side in pixels the network takes; smaller input is padded.
        multiple: sides must be multiples of this; other input is padded and cropped back.
        output: whether `_predict` gives `ab` or paints `rgb`.
        deterministic: the same seed and budget in steps give the same weights on one CPU.
        floor: a reference to be beaten rather than a method; tables mark it.
        known_failures: checks of `zoo.testing` that it does not pass, each with the reason.
        interface: the version of the interface the plugin was written for.
    """

    name: str
    title: str
    paper: str
    licence: str
    differs: tuple[str, ...] = ()
    minimum_size: int = 1
    multiple: int = 1
    output: Literal["ab", "rgb"] = "ab"
    deterministic: bool = True
    floor: bool = False
    known_failures: Mapping[str, str] = field(default_factory=dict, hash=False)
    interface: int = INTERFACE


class Colorizer(ABC):
    """A method that turns lightness into colour.

    Authors find `self.net` (what `build` returned: an eager float32 module on the device),
    `self.options`, `self.device` and `self.precision`. Public methods do the common work
    once: containers, checks, device, train/eval and grad mode, odd sizes, batching, and the
    merge of predicted chroma with the input's own lightness at full resolution.

    Args:
        options: an instance of the class' `Options`; the paper's where None.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `auto`, `fp32` or `bf16` for convolutions and matrix products.
        **changes: single options that replace those of `options`.

    Raises:
        UnknownNameError: an option that does not exist.
        OptionError: a value that it cannot have.
        DeviceError: a device that is not there.
    """

    info: ClassVar[Info]
    Options: ClassVar[type] = NoOptions

    def __init__(
        self,
        options: Any = None,
        *,
        device: str = "auto",
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
        self._net: nn.Module | None = None
        self._fitted = False
        self._feed: Feed | None = None

    # ---- what a plugin implements ------------------------------------------------------

    @abstractmethod
    def build(self) -> nn.Module:
        """A new network with fresh weights, from `self.options`; on the CPU, float32."""

    @abstractmethod
    def _predict(self, L: Tensor) -> Tensor:
        """N×1×H×W L to N×2×H×W ab (or N×3×H×W RGB in [0, 1] where `info.output` is `rgb`).

        Called in eval mode with sides that suit `info`. Differentiable where the method is:
        no `no_grad` inside, gradient mode is the caller's business.
        """

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        """The scalar to minimise on a batch N×1×S×S L, N×2×S×S ab, in train mode."""
        raise PluginError(f"{self.info.name} implements neither loss nor _fit")

    def prepare(self, feed: Feed) -> None:  # noqa: B027 - optional
        """Looks at the training set (`feed.survey()`) before the first step; optional."""

    def _fit(self, feed: Feed) -> None:
        """Trains `self.net` until the feed is spent; by default the shared loop on `loss`."""
        train(self.net, self.loss, feed, self.training_options, self.precision)

    # ---- what a user calls -------------------------------------------------------------

    @classmethod
    def preset(cls, preset: Preset) -> Any:
        """The options of a preset: `paper`, or `small`, its laptop version where it has one."""
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
            raise self._not_fitted()
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
        """Pixels that one pass of the network holds at most, unless told otherwise."""
        return _BATCH_PIXELS[self.device.type]

    @property
    def parameter_count(self) -> int:
        """Parameters of the network."""
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
        find_learning_rate: bool = False,
        on_step: Callable[[Feed], None] | None = None,
    ) -> Self:
        """Trains from scratch within the budget and returns self.

        Args:
            data: colour images: N×H×W×3 uint8, a list of H×W×3 uint8 arrays or PIL images of
                any sizes, an `ImageSet`, or a `Dataset` (its training split).
            budget: such as `30s`, `10min`, `500steps`, `50kimages`, `2PFLOP`.
            seed: of the weights and whatever else the method draws.
            data_seed: of the images' order, crops and flips; `seed` where None.
            size: side of the training crops in pixels; by default what the images allow.
            find_learning_rate: spends a tenth of the budget on a learning-rate range test and
                trains with what it suggests in place of the options' learning rate.
            on_step: called with the feed after every step, for progress bars.

        Raises:
            BudgetError: the budget cannot be read, or not one step, or no search, fits into it.
            InputError: images of a wrong kind, or none.
            TrainingError: the loss became NaN.
        """
        search_steps = 0
        session = self.training_session(
            data, budget, seed=seed, data_seed=data_seed, size=size, on_step=on_step
        )
        with session as feed:
            if find_learning_rate:
                search_steps = search_in_budget(self, feed)
            self._fit(feed)
            feed.close()
        self.net.eval()
        self._fitted = True
        self.record = record_training(
            feed, seed=seed, precision=self.precision, search_steps=search_steps
        )
        return self

    @contextmanager
    def training_session(
        self,
        data: UInt8Array | Sequence[npt.NDArray[Any] | Image.Image] | ImageSet | Dataset,
        budget: str | Budget,
        *,
        seed: int = 0,
        data_seed: int | None = None,
        size: int | None = None,
        on_step: Callable[[Feed], None] | None = None,
    ) -> Iterator[Feed]:
        """A fresh network in train mode and the feed of its budget: what `fit` trains in.

        Arguments and errors are those of `fit`. Inside the block the random state is the
        method's own. The colorizer is not fitted afterwards.
        """
        budget = Budget.parse(budget)
        images, size = containers.training_images(
            data, size, self.info.multiple, self.info.minimum_size
        )
        self._net, self._fitted, self.record = None, False, None
        with self._own_random_state(seed), torch.enable_grad():
            self.net = self._place(self.build())
            self.net.train()
            self._feed = feed = Feed(
                images,
                budget,
                batch_size=self.training_options.batch_size,
                size=size,
                device=self.device,
                seed=seed if data_seed is None else data_seed,
                on_step=on_step,
            )
            try:
                self.prepare(feed)
                yield feed
            finally:
                feed.abandon()
                self._feed = None

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside `on_step`: lets the half-trained network predict, outside of the budget.

        The clock stands still, and training goes on afterwards as if nothing had happened:
        random state, gradient mode and every module's train or eval mode come back.

        Raises:
            TrainingError: nothing is being trained.
        """
        if self._feed is None:
            raise TrainingError(f"{self.info.name} is not being trained; evaluate it directly")
        modes = [(module, module.training) for module in self.net.modules()]
        fitted = self._fitted
        with self._feed.paused(), self._own_random_state(0), torch.no_grad():
            self._fitted = True
            try:
                yield
            finally:
                self._fitted = fitted
                for module, mode in modes:
                    module.training = mode

    @overload
    def predict(self, images: Image.Image, *, batch_size: int | None = None) -> Image.Image: ...
    @overload
    def predict(self, images: UInt8Array, *, batch_size: int | None = None) -> UInt8Array: ...
    @overload
    def predict(
        self, images: Sequence[UInt8Array | Image.Image], *, batch_size: int | None = None
    ) -> list[UInt8Array | Image.Image]: ...
    def predict(self, images: Any, *, batch_size: int | None = None) -> Any:
        """Colours grey images; gives back the container it got, as 8-bit RGB.

        Args:
            images: a PIL image, an H×W or N×H×W uint8 array, or a list of H×W arrays and PIL
                images of any sizes. 8-bit grey v is read as sRGB (v, v, v). A PIL image in
                colour is taken as the grey of its lightness.
            batch_size: images per pass; by default about half a million pixels on a CPU.

        Returns:
            A PIL image, H×W×3, N×H×W×3, or a list. Chroma is merged into the input's own
            lightness; methods that paint RGB give what they painted.

        Raises:
            NotFittedError: neither fitted nor loaded.
            InputError: the wrong kind, dtype or shape of images.
        """
        if not self._fitted:
            raise self._not_fitted()
        greys, pack = containers.open_greys(images)
        colours: list[UInt8Array | None] = [None] * len(greys)
        for indices in containers.batches(greys, batch_size, self.batch_pixels):
            grey = torch.from_numpy(np.stack([greys[i] for i in indices])).to(self.device)
            rgb = self._colour(grey_to_L(grey.unsqueeze(1).float() / 255))
            array = (rgb * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
            for i, colour in zip(indices, array, strict=True):
                colours[i] = colour
        return pack([c for c in colours if c is not None])

    def predict_ab(self, L: Tensor) -> Tensor:
        """The tensor-level door: N×1×H×W float32 L in [0, 100] to N×2×H×W ab, unclamped.

        The result is on the device of `L`.

        Raises:
            NotFittedError: neither fitted nor loaded.
            InputError: the wrong shape, dtype or range.
            PluginError: the method gave NaN or the wrong shape.
        """
        output = self._run(check_L(L))
        return (rgb_to_lab(output)[1] if self.paints_rgb else output).to(L.device)

    def predict_rgb(self, L: Tensor) -> Tensor:
        """Like `predict_ab`, to N×3×H×W sRGB in [0, 1]: chroma merged with L, or as painted."""
        return self._colour(check_L(L)).to(L.device)

    def save(self, path: str | Path) -> None:
        """Writes the weights with model, options and training record as safetensors.

        Raises:
            NotFittedError: there is nothing to save yet.
        """
        if not self._fitted:
            raise self._not_fitted()
        record = asdict(self.record) if self.record else None
        if record is not None:
            record.pop("curve")
        save_weights(
            Path(path),
            self.net,
            {
                "model": self.info.name,
                "options": asdict(self.options),
                "licence": self.info.licence,
                "training": record,
                "zoo_version": __version__,
            },
        )

    def restore(self, path: str | Path) -> Self:
        """Loads weights written by `save` for the same model and options; returns self.

        Raises:
            WeightsError: the file is missing or unreadable, or belongs to something else.
        """
        path = Path(path)
        tensors, metadata = read_weights(path, model=self.info.name)
        with self._own_random_state(0):
            net = self.build()
        load_state(net, tensors, path)
        self.net = self._place(net).eval()
        self.record = read_record(metadata.get("training"))
        self._fitted = True
        return self

    # ---- common work -------------------------------------------------------------------

    def _place(self, net: nn.Module) -> nn.Module:
        # Channels-last is what tensor cores and oneDNN's bf16 kernels work in.
        channels_last = self.device.type == "cuda" or self.precision == "bf16"
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return net.to(device=self.device, memory_format=layout)  # type: ignore[call-overload,no-any-return]

    @contextmanager
    def _own_random_state(self, seed: int) -> Iterator[None]:
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed % 2**63)
            yield

    def _colour(self, L: Tensor) -> Tensor:
        output = self._run(L)
        L = L.to(output.device)
        return output.clamp(0, 1) if self.paints_rgb else lab_to_rgb(L, output)

    def _run(self, L: Tensor) -> Tensor:
        """`_predict` on any size: padded to what the network takes, cropped back, checked."""
        if not self._fitted:
            raise self._not_fitted()
        height, width = L.shape[2:]
        right, below = (self.padded_side(side) - side for side in (width, height))
        L = L.to(self.device)
        padded = F.pad(L, (0, right, 0, below), mode="replicate") if right or below else L
        was_training = self.net.training
        self.net.eval()
        try:
            with torch.no_grad(), autocast(self.device, self.precision):
                output = self._predict(padded)
        finally:
            self.net.train(was_training)
        expected = (len(L), 3 if self.paints_rgb else 2, *padded.shape[2:])
        if tuple(output.shape) != expected:
            raise PluginError(
                f"{self.info.name}: _predict gave shape {tuple(output.shape)} for L of "
                f"{tuple(padded.shape)}; it must give {expected}"
            )
        output = output[:, :, :height, :width].float()
        if not torch.isfinite(output).all():
            raise PluginError(f"{self.info.name}: _predict gave NaN or infinite values")
        return output

    def padded_side(self, side: int) -> int:
        """The side in pixels that the network sees where the image has `side`."""
        wanted = max(side, self.info.minimum_size)
        return -(-wanted // self.info.multiple) * self.info.multiple

    def _not_fitted(self) -> NotFittedError:
        name = self.info.name
        return NotFittedError(
            f"{name} has no weights yet: train it with .fit(images, budget='10min'), "
            f"or load some with zoo.load({name!r}, weights='FILE.safetensors')"
        )

    def __repr__(self) -> str:
        changed = ", ".join(
            f"{f.name}={getattr(self.options, f.name)!r}"
            for f in dataclasses.fields(self.options)
            if getattr(self.options, f.name) != getattr(self.Options(), f.name)
        )
        state = "fitted" if self._fitted else "not fitted"
        return f"<{self.info.name}({changed}) on {self.device}, {state}>"
