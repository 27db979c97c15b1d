"""The metric and the dataset of the tutorial do what they say, compared with something else."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest
import torch
from documents import DOCUMENTS, files
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.metrics import structural_similarity
from typing_in import PRESUMED

from zoo.errors import DataError
from zoo.metric import MetricContext, Pictures


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Imports the one module that a document writes."""

    def get(document):
        ((name, content),) = [f for f in files(DOCUMENTS[document]) if f[0].endswith(".py")]
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        spec = spec_from_file_location(path.stem, path)
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return get


# ---- MS-SSIM ---------------------------------------------------------------------------------


def ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang, Simoncelli and Bovik 2003, eq. 7, of two H×W planes of 0 to 255, with SciPy."""
    structures = []
    for _ in range(4):
        structures.append(contrast_and_structure(x, y))
        x, y = (p.reshape(p.shape[0] // 2, 2, -1, 2).mean((1, 3)) for p in (x, y))
    last = structural_similarity(
        x, y, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    return float(np.prod(np.clip([*structures, last], 0, None) ** weights))


def contrast_and_structure(x: np.ndarray, y: np.ndarray) -> float:
    def mean(plane: np.ndarray) -> np.ndarray:
        return gaussian_filter(plane, 1.5, radius=5)[5:-5, 5:-5]

    covariance = mean(x * y) - mean(x) * mean(y)
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    c2 = (0.03 * 255) ** 2
    return float(((2 * covariance + c2) / (variances + c2)).mean())


def pairs():
    """Truths of 176 and 192 px, and what was done to them."""
    random = np.random.default_rng(0)
    for photo, side in ((data.astronaut(), 176), (data.coffee(), 192)):
        truth = photo[40 : 40 + side, 100 : 100 + side]
        noisy = np.clip(truth + random.normal(0, 25, truth.shape), 0, 255).astype(np.uint8)
        blurred = gaussian_filter(truth, (3, 3, 0))
        grey = np.repeat(truth.mean(2, keepdims=True), 3, axis=2).astype(np.uint8)
        for name, changed in (("noise", noisy), ("blur", blurred), ("grey", grey)):
            yield pytest.param(changed, truth, id=f"{name}-{side}")
        yield pytest.param(255 - truth, truth, id=f"negative-{side}")


@pytest.mark.parametrize(("predicted", "truth"), list(pairs()))
def test_the_metric_is_ms_ssim(predicted, truth, imported):
    metric_class = imported("docs/tutorial/first-metric.md").MSSSIM
    context = MetricContext(torch.device("cpu"), truth[None])
    values = metric_class(context)(
        Pictures.from_array(np.stack([predicted, truth])),
        Pictures.from_array(np.stack([truth, truth])),
    )
    channels = [ms_ssim(*(p[..., c].astype(float) for p in (predicted, truth))) for c in range(3)]
    assert values.tolist() == pytest.approx([np.mean(channels), 1], abs=1e-4)


# ---- a folder with a list of its test images ---------------------------------------------------


def test_the_dataset_is_divided_as_its_list_says(imported, tmp_path, cache):
    album_class = imported("docs/tutorial/first-dataset.md").Album
    PRESUMED["holiday"](tmp_path / "holiday")
    album = album_class(str(tmp_path / "holiday"))
    train, test = (album.open(split, 48) for split in ("train", "test"))
    listed = (tmp_path / "holiday" / "test.txt").read_text().split()
    assert list(test.ids) == listed
    assert {*train.ids, *listed} == {p.name for p in (tmp_path / "holiday").glob("*.png")}
    assert set(train.ids).isdisjoint(listed)
    with Image.open(tmp_path / "holiday" / listed[0]) as opened:
        colours = np.asarray(opened).mean((0, 1))
    assert np.abs(test.images[0].mean((0, 1)) - colours).max() < 25  # its centre, reduced
    assert (test.size, train.size) == (48, 54)


def test_what_is_wrong_with_the_list_is_said(imported, tmp_path):
    album_class = imported("docs/tutorial/first-dataset.md").Album
    PRESUMED["holiday"](tmp_path / "holiday")
    listed, album = tmp_path / "holiday" / "test.txt", album_class(str(tmp_path / "holiday"))
    listed.write_text("")
    with pytest.raises(DataError, match=r"no images for the test split; change .*test\.txt"):
        album.open("test", 48)
    listed.write_text("nope.png\n")
    with pytest.raises(DataError, match=r"names 'nope\.png', which is no image below"):
        album.open("train", 48)
    listed.unlink()
    with pytest.raises(DataError, match=r"test\.txt is missing"):
        album.open("train", 48)
