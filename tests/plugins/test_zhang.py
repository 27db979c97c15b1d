"""The network and the decoder of Zhang 2016."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import map_coordinates
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import zoo
from zoo.color.bins import bin_centres
from zoo.color.soft_encoding import annealed_mean
from zoo.errors import OptionError
from zoo.registry import colorizer_class
from zoo_plugins.zhang.network import ZhangNet

CENTRES = bin_centres().double().numpy()
Q = 313


# ---- the network ------------------------------------------------------------------------


def released_tensors() -> dict[str, tuple[int, ...]]:
    """Names and shapes in the authors' public PyTorch release, up to the logits."""
    # Per block: input channels, output channels, indices of its convolutions, of its norm.
    blocks = [
        (1, 64, (0, 2), 4),
        (64, 128, (0, 2), 4),
        (128, 256, (0, 2, 4), 6),
        (256, 512, (0, 2, 4), 6),
        (512, 512, (0, 2, 4), 6),
        (512, 512, (0, 2, 4), 6),
        (512, 512, (0, 2, 4), 6),
    ]
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (wide_in, wide_out, convolutions, norm) in enumerate(blocks, start=1):
        for index in convolutions:
            first = index == 0
            shapes[f"model{number}.{index}.weight"] = (
                wide_out,
                wide_in if first else wide_out,
                3,
                3,
            )
            shapes[f"model{number}.{index}.bias"] = (wide_out,)
        for what in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"model{number}.{norm}.{what}"] = (wide_out,)
        shapes[f"model{number}.{norm}.num_batches_tracked"] = ()
    shapes["model8.0.weight"] = (512, 256, 4, 4)  # transposed: input first
    shapes["model8.2.weight"] = shapes["model8.4.weight"] = (256, 256, 3, 3)
    shapes["model8.6.weight"] = (313, 256, 1, 1)
    for index, width in ((0, 256), (2, 256), (4, 256), (6, 313)):
        shapes[f"model8.{index}.bias"] = (width,)
    return shapes


@pytest.fixture(scope="module")
def paper_net() -> nn.Module:
    with torch.device("meta"):
        return ZhangNet()


@pytest.mark.parametrize("name", ["zhang_classifier", "zhang_rebalanced"])
def test_the_papers_network_has_the_papers_parameters(name):
    options = colorizer_class(name).preset("paper")
    with torch.device("meta"):
        net = ZhangNet(options.width, options.initialization)
    assert sum(p.numel() for p in net.parameters()) == 32_235_385


def test_tensors_are_named_and_shaped_as_in_the_release(paper_net):
    found = {name: tuple(t.shape) for name, t in paper_net.state_dict().items()}
    assert found == released_tensors()


def test_flops_of_a_forward_pass_at_256(paper_net):
    with FlopCounterMode(display=False) as counter:
        logits = paper_net.eval()(torch.empty(1, 1, 256, 256, device="meta"))
    assert logits.shape == (1, 313, 64, 64)
    assert counter.get_total_flops() / 1e9 == pytest.approx(83.5, abs=0.05)


def test_the_layers_are_strided_and_dilated_as_in_the_paper(paper_net):
    strides = {n: m.stride[0] for n, m in paper_net.named_modules() if isinstance(m, nn.Conv2d)}
    assert [n for n, s in strides.items() if s == 2] == ["model1.2", "model2.2", "model3.4"]
    dilations = {n: m.dilation[0] for n, m in paper_net.named_modules() if isinstance(m, nn.Conv2d)}
    dilated = [n for n, d in dilations.items() if d == 2]
    assert dilated == [f"model{block}.{i}" for block in (5, 6) for i in (0, 2, 4)]
    up = paper_net.get_submodule("model8.0")
    assert isinstance(up, nn.ConvTranspose2d)
    assert (up.kernel_size, up.stride, up.padding) == ((4, 4), (2, 2), (1, 1))


def test_the_input_is_centred_and_divided_by_100():
    torch.manual_seed(0)
    net = ZhangNet(0.125).eval()
    seen = []
    net.model1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    L = torch.tensor([0.0, 50, 100, 75]).repeat(16).view(1, 1, 8, 8)
    net(L)
    assert torch.allclose(seen[0], (L - 50) / 100)


def test_xavier_is_xavier_and_the_default_is_not():
    def limits(initialization):
        torch.manual_seed(0)
        net = ZhangNet(0.25, initialization)
        return {
            name: (
                module,
                module.weight.detach().abs().max().item(),
                module.bias.detach().abs().max().item(),
            )
            for name, module in net.named_modules()
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        }

    xavier, default = limits("xavier"), limits("default")
    for name, (module, largest, bias) in xavier.items():
        out, into, *kernel = module.weight.shape
        bound = (6 / ((out + into) * np.prod(kernel))) ** 0.5
        assert 0.95 * bound < largest <= bound, name
        assert bias == 0, name
        uniform = module.weight.detach().flatten().numpy() / bound / 2 + 0.5
        assert stats.kstest(uniform[:2000], "uniform").pvalue > 1e-4, name
        assert default[name][1] != pytest.approx(bound, rel=0.05) or default[name][2] > 0, name


class Given(nn.Module):
    """Gives these logits, whatever comes in."""

    def __init__(self, logits: torch.Tensor):
        super().__init__()
        self.logits = logits

    def forward(self, L):
        return self.logits


# ---- decoding ---------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("temperature", [0.1, 0.38, 0.7, 1.0])
@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 31, 37)])  # one piece, and more than one
def test_the_annealed_mean_is_the_plain_formula(shape, temperature, layout):
    images, *grid = shape
    logits = torch.randn(images, Q, *grid, generator=torch.Generator().manual_seed(0)) * 2
    z = torch.softmax(logits.double(), 1).numpy()
    sharpened = z ** (1 / temperature)
    sharpened /= sharpened.sum(1, keepdims=True)
    expected = np.einsum("nqhw,qc->nchw", sharpened, CENTRES)
    found = annealed_mean(logits.contiguous(memory_format=layout), temperature)
    assert found.shape == (images, 2, *grid)
    assert np.abs(found.numpy() - expected).max() < 1e-3


def test_the_limits_are_the_mode_and_the_mean():
    logits = torch.randn(2, Q, 4, 4, generator=torch.Generator().manual_seed(0)) * 2
    mode = CENTRES[logits.argmax(1).numpy()].transpose(0, 3, 1, 2)
    assert np.abs(annealed_mean(logits, 0).numpy() - mode).max() < 1e-6
    # At 0.001 the runner-up has e^-(gap/0.001).
    assert np.abs(annealed_mean(logits, 1e-3).numpy() - mode).max() < 0.1
    mean = np.einsum("nqhw,qc->nchw", torch.softmax(logits, 1).numpy(), CENTRES)
    assert np.abs(annealed_mean(logits, 1).numpy() - mean).max() < 1e-3


def test_a_lower_temperature_is_more_colourful(tiles):
    logits = torch.randn(4, Q, 8, 8, generator=torch.Generator().manual_seed(0))
    chroma = [float(annealed_mean(logits, t).norm(dim=1).mean()) for t in (1, 0.38, 0.1, 0)]
    assert chroma == sorted(chroma)


def test_bf16_surroundings_do_not_round_ab():
    logits = torch.randn(1, Q, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = annealed_mean(logits, 0.38)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(annealed_mean(logits, 0.38), expected)


def test_ab_is_enlarged_four_times_bilinearly():
    logits = torch.randn(1, Q, 6, 5, generator=torch.Generator().manual_seed(0)) * 3
    colorizer = zoo.load("zhang_classifier", device="cpu", temperature=0.38)
    colorizer.net = Given(logits)
    found = colorizer.forward(torch.zeros(1, 1, 24, 20))
    small = annealed_mean(logits, 0.38)
    assert found.shape == (1, 2, 24, 20)
    # Half-pixel centres: output i stands at (i + 0.5) / 4 − 0.5 of the small grid.
    rows, columns = ((np.arange(4 * n) + 0.5) / 4 - 0.5 for n in (6, 5))
    places = np.meshgrid(rows.clip(0, 5), columns.clip(0, 4), indexing="ij")
    for channel in range(2):
        expected = map_coordinates(small[0, channel].double().numpy(), places, order=1)
        assert np.abs(found[0, channel].numpy() - expected).max() < 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1.5},
        {"temperature": -0.1},
        {"neighbours": 0},
        {"neighbours": 314},
        {"sigma": 0},
        {"width": 0},
        {"width": 9},
        {"initialization": "he"},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(OptionError):
        zoo.load("zhang_classifier", **options)
