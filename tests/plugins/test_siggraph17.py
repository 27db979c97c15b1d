"""SIGGRAPH17: what the authors' network gives, with hints and without; its loss by hand."""

import numpy as np
import pytest
import torch
from peers import filled, golden, needs_peers, relative_error, shapes

import zoo
from zoo.errors import WeightsError
from zoo.registry import colorizer_class

NAME = "siggraph17"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp(NAME) / "siggraph17.pth"
    torch.save(filled(NAME), path)
    return path


@needs_peers
def test_the_published_file_gives_what_the_authors_network_gives(file):
    colorizer = zoo.load(NAME, weights=file, device="cpu", precision="fp32")
    assert colorizer.parameter_count == 34_187_027
    own = {name: list(tensor.shape) for name, tensor in colorizer.net.state_dict().items()}
    assert own == shapes(NAME)
    expected = golden(NAME)
    assert relative_error(colorizer.predict_ab(expected["L"]), expected["ab"]) < 1e-4
    with torch.no_grad():
        hinted = colorizer.net(expected["L"], expected["hint_ab"], expected["hint_mask"])
    assert relative_error(hinted, expected["ab_with_hints"]) < 1e-4
    # The hints are seen: without them it is another picture.
    assert relative_error(expected["ab"], expected["ab_with_hints"]) > 0.01


def test_a_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"model1.0.weight": torch.zeros(64, 1, 3, 3)}, path)
    with pytest.raises(WeightsError, match=r"not written by the zoo: siggraph17 also reads"):
        zoo.load(NAME, weights=path)


def test_the_loss_is_l1_and_the_cross_entropy_of_529_colours():
    cls = colorizer_class(NAME)
    colorizer = cls(cls.preset("small"), device="cpu", precision="fp32", width=0.125)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        colorizer.net = colorizer.build().eval()
        L, ab = torch.rand(2, 1, 16, 16) * 100, torch.randn(2, 2, 16, 16) * 60
    with torch.no_grad():
        loss = float(colorizer.loss(L, ab))
        predicted, logits = colorizer.net.colours_and_classes(L)
    assert torch.equal(predicted, colorizer.forward(L))
    grid = np.arange(-110, 111, 10)
    terms = []
    for image in range(2):
        for row in range(4):
            for column in range(4):
                a, b = ab[image, :, 4 * row, 4 * column].numpy()
                place = 23 * np.abs(grid - a).argmin() + np.abs(grid - b).argmin()
                scores = logits[image, :, row, column].double().numpy()
                terms.append(np.log(np.exp(scores).sum()) - scores[place])
    distance = np.abs((predicted - ab).detach().numpy()).sum(1).mean() / 110
    assert loss == pytest.approx(np.mean(terms) + 10 * distance, rel=1e-5)
