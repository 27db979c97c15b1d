"""What every test has: a cache folder of its own, real image tiles, the shared material."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from skimage import data

_SIDE = 64

# It is installed, and its tests run, in an environment of its own (test_strangers_plugin.py).
collect_ignore = ["plugin_example"]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of this test run, for subprocesses too; the user's is never touched."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(folder / "zoo"))
        # stevedore caches entry points there.
        patch.setenv("XDG_CACHE_HOME", str(folder / "xdg"))
        yield folder / "zoo"


@pytest.fixture(scope="session")
def _tiles() -> np.ndarray:
    cut = []
    for image in (data.astronaut(), data.coffee(), data.chelsea()):
        rows, columns = (side // _SIDE for side in image.shape[:2])
        grid = image[: rows * _SIDE, : columns * _SIDE].reshape(rows, _SIDE, columns, _SIDE, 3)
        # Not the border, where much is background.
        cut.append(grid.swapaxes(1, 2)[1:4, 1:5].reshape(-1, _SIDE, _SIDE, 3))
    return np.concatenate(cut)


@pytest.fixture
def tiles(_tiles: np.ndarray) -> np.ndarray:
    """36×64×64×3 uint8 out of three photographs; a fresh copy."""
    return _tiles.copy()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared(repository: Path) -> Path:
    """The folder of research data beside the source tree."""
    folder = repository.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"the shared research data is not at {folder}")
    return folder
