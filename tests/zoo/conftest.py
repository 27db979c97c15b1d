"""Colorizers as small as they come, each trained once."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from skimage import data

from zoo.colorizer import Colorizer, TrainingOptions
from zoo.registry import colorizer_class

_SIZE = 32


def _new(name: str, **changes) -> Colorizer:
    cls = colorizer_class(name)
    options = cls.preset("small")
    if isinstance(options, TrainingOptions):
        options = dataclasses.replace(options, batch_size=4)
    return cls(options, **{"device": "cpu", "precision": "fp32", **changes})


def _fit(name: str, tiles: np.ndarray, **changes) -> Colorizer:
    return _new(name).fit(tiles, **{"budget": "2steps", "size": _SIZE, **changes})


@pytest.fixture(scope="session")
def new():
    """`new(name)`: untrained, small, with tiny batches, on the CPU."""
    return _new


@pytest.fixture(scope="session")
def fit():
    """`fit(name, tiles)`: newly trained for two steps of 32×32 crops, unless told otherwise."""
    return _fit


@pytest.fixture(scope="session")
def fitted(_tiles):
    """`fitted(name)`: trained for two steps, once for all tests, which must not change it."""
    trained: dict[str, Colorizer] = {}

    def get(name: str) -> Colorizer:
        if name not in trained:
            trained[name] = _fit(name, _tiles)
        return trained[name]

    return get


@pytest.fixture(scope="session")
def saved(fitted, tmp_path_factory):
    """`saved(name)`: the file with the weights of `fitted(name)`."""
    folder = tmp_path_factory.mktemp("weights")

    def get(name: str):
        path = folder / f"{name}.safetensors"
        if not path.exists():
            fitted(name).save(path)
        return path

    return get


@pytest.fixture
def greys(tiles) -> np.ndarray:
    """6×32×32 uint8."""
    return np.ascontiguousarray(tiles[::6, 16:48, 16:48, 1])


@pytest.fixture(scope="session")
def rgb():
    return np.ascontiguousarray(data.astronaut()[20:116, 150:278])


@pytest.fixture
def scans(tmp_path, rgb):
    """Five photographs of one size, in a folder and one below it."""
    folder = tmp_path / "scans"
    (folder / "box").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.jpg", "c.tif", "box/a.png", "box/0007.png")):
        Image.fromarray(np.roll(rgb[..., 1], 9 * i, axis=1)).save(folder / name)
    return folder
