"""The conformance kit can fail: a correct plugin, and a deliberately wrong one for every check."""

import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.testing import CHECKS, CheckFailed, checks, run, subject
from zoo.testing.global_state import changed_since, read_global_state


@dataclass(frozen=True)
class TinyOptions(TrainingOptions):
    width: int = 16
    learning_rate: float = 1e-2


class Tiny(Colorizer):
    """Chroma from a neighbourhood of nine pixels and the place in the image: all is well."""

    info = Info(name="tiny", title="Tiny", paper="none", license="MIT")
    Options = TinyOptions

    def build(self):
        width = self.options.width
        return nn.Sequential(nn.Conv2d(3, width, 1), nn.ReLU(), nn.Conv2d(width, 2, 1))

    def forward(self, L):
        rows = torch.linspace(-1, 1, L.shape[2], device=L.device)[:, None].expand_as(L)
        columns = torch.linspace(-1, 1, L.shape[3], device=L.device).expand_as(L)
        return 110 * self.net(torch.cat((L / 50 - 1, rows, columns), dim=1))

    def loss(self, L, ab):
        return F.mse_loss(self.forward(L), ab) / 110


# ---- one wrong plugin for each check; the name of the attribute is what is wrong ----------------


class NoLicense(Tiny):
    info = replace(Tiny.info, license="", working_size=0)
    minimum_size = 0


class UnknownFailure(Tiny):
    info = replace(Tiny.info, known_failures={"sise": "it is a hard one", "sizes": " "})


class NoInfo(Tiny):
    info = "words"


class SomebodyElse(Tiny):
    info = replace(Tiny.info, name=zoo.list_colorizers()[0])


@dataclass(frozen=True)
class TupleOptions(TinyOptions):
    widths: tuple[int, ...] = (3, 4)


class ListOfWidths(Tiny):
    Options = TupleOptions


@dataclass
class ThawedOptions:
    width: int = 16


class Thawed(Tiny):
    Options = ThawedOptions


class BornFitted(Tiny):
    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        self.net, self._fitted = self.build(), True


class EvenSizesOnly(Tiny):
    def forward(self, L):
        return F.interpolate(super().forward(L)[..., ::2, ::2], scale_factor=2)


class ArraysOnly(Tiny):
    def predict(self, images, **keywords):
        return np.asarray(super().predict(images, **keywords))


class Reordered(Tiny):
    def predict(self, images, **keywords):
        result = super().predict(images, **keywords)
        if isinstance(result, list) and len(result) > 3:
            result[0], result[3] = result[3], result[0]
        return result


class Obliging(Tiny):
    def predict_ab(self, L):
        return super().predict_ab(100 * L if L.max() <= 1 else L)


class InPlace(Tiny):
    def forward(self, L):
        ab = super().forward(L)
        L.mul_(0.9)
        return ab


class WritesIntoTheTrainingSet(Tiny):
    def fit(self, data, **keywords):
        if isinstance(data, np.ndarray) and data.shape[1:2] and data.dtype == np.uint8:
            data[..., :1] = 0
        return super().fit(data, **keywords)


class BatchStatistics(Tiny):
    def forward(self, L):
        return super().forward(L) + (L - L.mean()) / 10


class Divided(Tiny):
    """Paints otherwise on every device but the first one it is made for."""

    made = 0

    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        type(self).made += 1
        self.number = self.made

    def forward(self, L):
        return super().forward(L) + 10 * self.number


class UnseededWeights(Tiny):
    def build(self):
        net = super().build()
        nn.init.constant_(net[2].bias, random.SystemRandom().random())
        return net


class WarmStart(Tiny):
    def build(self):
        self.kept = getattr(self, "kept", None) or super().build()
        return self.kept


class OwnMomentum(Tiny):
    def train(self, feed):
        descent = torch.optim.SGD(self.net.parameters(), lr=1e-2, momentum=0.9)
        for L, ab in feed:
            descent.zero_grad()
            loss = self.loss(L, ab)
            loss.backward()
            descent.step()
            feed.log(loss)


class Deaf(Tiny):
    def build(self):
        net = super().build()
        net.unused = nn.Linear(2, 2)
        return net

    def forward(self, L):
        return 110 * nn.Sequential(*list(self.net)[:3])(self.features(L))

    def features(self, L):
        return L.new_zeros(len(L), 3, *L.shape[2:]) + L / 100


class NoGradient(Tiny):
    def loss(self, L, ab):
        with torch.no_grad():
            hidden = self.net[:2](torch.cat((L, L, L), dim=1) / 100)
        return F.mse_loss(self.net[2](hidden), ab / 110)


class OwnLoopLeavesOut(Tiny):
    def train(self, feed):
        optimizer = torch.optim.SGD(self.net[2].parameters(), lr=1e-3)
        for L, ab in feed:
            optimizer.zero_grad()
            self.loss(L, ab).backward()
            optimizer.step()


class Overtime(Tiny):
    """Keeps the batches and goes on with them after the feed has ended."""

    def train(self, feed):
        optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-4)
        kept = []
        for batch in feed:
            kept.append(batch)
            self.learn(optimizer, batch)
        for batch in kept * 5:
            self.learn(optimizer, batch)

    def learn(self, optimizer, batch):
        optimizer.zero_grad()
        self.loss(*batch).backward()
        optimizer.step()


class WithoutTheFeed(Overtime):
    """Trains on the survey, which is not charged, and takes no step of the feed."""

    def train(self, feed):
        optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-4)
        for _ in range(5):
            for batch in feed.survey():
                self.learn(optimizer, batch)


class Forgetful(Tiny):
    """Keeps what it found out beside its network, where no file holds it."""

    offset = 0.0

    def prepare(self, feed):
        self.offset = 5.0

    def forward(self, L):
        return super().forward(L) + self.offset


class Selfish(Tiny):
    def prepare(self, feed):
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        torch.set_num_threads(torch.get_num_threads() + 1)


class RandomPaint(Tiny):
    def forward(self, L):
        return super().forward(L) + 1e-4 * torch.rand(1)


class CountsInPython(Tiny):
    def forward(self, L):
        return super().forward(L) * (int(L.shape[3]) / 32)


class Stubborn(Tiny):
    """One colour for all, which even one image is too much for."""

    def forward(self, L):
        return 110 * self.net[2].bias[None, :, None, None] + 0 * super().forward(L)


class Contrary(Tiny):
    """Learns one image by the places in it, and nothing of brightness."""

    def forward(self, L):
        return super().forward(torch.full_like(L, 50))


class Ashamed(Tiny):
    info = replace(Tiny.info, known_failures={"sizes": "odd ones are hard"})


class Explodes(Tiny):
    def forward(self, L):
        raise RuntimeError("the cat sat\non the cable")


# The check, the plugin that fails it, words of its message, and what else cannot but fail.
ALL_THAT_TRAIN = set(CHECKS) - {"info", "entry_point", "options", "not_fitted"}
LEARNING = {"one_image", "beats_grey"}
WRONG = [
    (
        "info",
        NoLicense,
        ["license is ''", "minimum_size is 0", "working_size is 0", "correct these fields"],
        {"save_and_load", "devices"},  # weights without a license are not read
    ),
    (
        "info",
        UnknownFailure,
        ["'sise', and there is no such check", "known_failures['sizes'] is ' '"],
        {"sizes"},
    ),
    ("info", NoInfo, ["info is 'words'", "info = Info(name=…"], {*ALL_THAT_TRAIN, "not_fitted"}),
    ("entry_point", SomebodyElse, ["belongs to", "SomebodyElse", "an info of its own"], set()),
    ("options", ListOfWidths, ["widths", "keep to int, float, bool"], {"save_and_load"}),
    ("options", Thawed, ["no frozen dataclass", "@dataclass(frozen=True)"], LEARNING),
    ("not_fitted", BornFitted, ["is_fitted is True before fit", "in build"], {"global_state"}),
    ("sizes", EvenSizesOnly, ["33×47 px", "minimum_size, multiple"], {"containers", "exports"}),
    ("sizes", Ashamed, ["declares it broken ('odd ones are hard'), but it passes"], set()),
    ("containers", ArraysOnly, ["a PIL image came back as ndarray", "leave predict"], {"exports"}),
    (
        "containers",
        Reordered,
        ["item 0 of a list", "not what the same image gives alone"],
        {"exports"},
    ),
    ("wrong_input", Obliging, ["L in [0, 1] was taken as if it were right"], set()),
    (
        "input_untouched",
        InPlace,
        ["predict_ab wrote into the L", "L = L - 50"],
        {"batch_mates", "save_and_load", "devices"},
    ),
    (
        "input_untouched",
        WritesIntoTheTrainingSet,
        ["fit wrote into the training set"],
        LEARNING,
    ),
    (
        "batch_mates",
        BatchStatistics,
        ["alone and in a batch of 12", "statistics over its first"],
        {"containers"},
    ),
    (
        "batch_mates",
        Explodes,
        ["RuntimeError: the cat sat on the cable", "forward"],
        ALL_THAT_TRAIN,
    ),
    (
        "devices",
        Divided,
        ["differ by", "on average", "float32 parameters and buffers"],
        {"repeatable", "resumable", "save_and_load"},
    ),
    ("repeatable", UnseededWeights, ["differ in 0.weight", "deterministic=False"], {"resumable"}),
    ("repeatable", WarmStart, ["differ in 0.weight", "a new network in every build"], set()),
    ("resumable", OwnMomentum, ["stopped after 2 of 4 steps", "feed.keep"], LEARNING),
    ("gradients", Deaf, ["leaves unused.weight, unused.bias as they are"], set()),
    ("gradients", NoGradient, ["leaves 0.weight, 0.bias as they are", "without no_grad"], LEARNING),
    ("gradients", OwnLoopLeavesOut, ["leaves 0.weight, 0.bias as they are"], LEARNING),
    (
        "budget",
        Overtime,
        ["its 4 steps are charged with", "stop where the loop stops"],
        LEARNING | {"resumable"},
    ),
    ("budget", WithoutTheFeed, ["of an optimizer were made without the feed"], LEARNING),
    ("save_and_load", Forgetful, ["differ by up to 5 in ab", "register_buffer"], {"devices"}),
    (
        "global_state",
        Selfish,
        ["fit changed NumPy's", "Python's random state", "threads ("],
        {"repeatable", "resumable"},
    ),
    ("global_state", RandomPaint, ["predict changed torch's random"], {"save_and_load"}),
    (
        "exports",
        CountsInPython,
        ["gives other colours than predict", "at most by", "no int(…), no item()"],
        set(),
    ),
    ("one_image", Stubborn, ["after 240 steps the mean error"], {"gradients", "beats_grey"}),
    ("beats_grey", Contrary, ["after 250 steps the mean error", "within ±110"], {"one_image"}),
]
each_wrong = pytest.mark.parametrize(
    ("check", "plugin", "words", "others"), WRONG, ids=[f"{c}-{p.__name__}" for c, p, _, _ in WRONG]
)


@pytest.fixture
def two_devices(monkeypatch):
    """A second device where there is none: the CPU again, which the wrong plugin tells apart."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(subject.Subject, "other_device", "cpu")


def test_every_check_is_shown_to_fail():
    assert {check for check, *_ in WRONG} == set(CHECKS)


@each_wrong
def test_a_wrong_plugin_is_found_out_in_plain_english(check, plugin, words, others, two_devices):
    before = read_global_state()
    with pytest.raises(CheckFailed) as caught:
        dict(checks(plugin))[check]()
    message = str(caught.value)
    assert message.startswith(f"{getattr(plugin.info, 'name', plugin.__name__)} fails {check}.")
    assert CHECKS[check].promise in message
    assert all(word in message for word in words), message
    assert "What to do: " in message
    assert "\n" not in message
    assert "tensor(" not in message
    assert changed_since(before) == [], "what the plugin does to the process outlives the check"


@pytest.mark.long
@each_wrong
def test_a_wrong_plugin_fails_nothing_that_is_right(check, plugin, words, others, two_devices):
    failed = {outcome.check for outcome in run(plugin) if outcome.status == "failed"}
    assert {check} <= failed <= {check} | others


@pytest.mark.parametrize("check", CHECKS)
def test_a_correct_plugin_passes_each_check_alone(check, two_devices):
    [outcome] = run(Tiny, [check])
    if check == "entry_point":
        assert outcome.status == "skipped"
        assert "no entry point is named 'tiny'" in outcome.reason
    else:
        assert (outcome.status, outcome.reason) == ("ok", "")
