"""Ceilings and the self-check, against plain loops and the design's own figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio
from skimage.transform import downscale_local_mean

from zoo import registry
from zoo.color.bins import bin_centres
from zoo.data.dataset import ImageSet
from zoo.errors import DataError, UnknownNameError
from zoo.metric import MetricContext
from zoo_benchmark.results.references import CEILINGS, ceiling_scores, quarter_ab, through_bins
from zoo_benchmark.run import scoring
from zoo_benchmark.self_check import check_pipeline

CPU = torch.device("cpu")


def _ab(tiles: np.ndarray) -> np.ndarray:
    return rgb2lab(tiles)[..., 1:].transpose(0, 3, 1, 2).astype(np.float32)


def _bilinear(grid: np.ndarray, factor: int) -> np.ndarray:
    """One plane, pixel centres aligned by area, borders repeated."""
    sides = []
    for side in grid.shape:
        position = np.clip((np.arange(side * factor) + 0.5) / factor - 0.5, 0, side - 1)
        low = np.floor(position).astype(int)
        sides.append((low, np.minimum(low + 1, side - 1), position - low))
    (y0, y1, v), (x0, x1, u) = sides
    top = grid[y0][:, x0] * (1 - u) + grid[y0][:, x1] * u
    below = grid[y1][:, x0] * (1 - u) + grid[y1][:, x1] * u
    return top * (1 - v[:, None]) + below * v[:, None]


def _through_a_grid(ab: np.ndarray, decode) -> np.ndarray:
    planes = np.stack([downscale_local_mean(plane, (4, 4)) for plane in ab])
    planes = decode(planes)
    return np.stack([_bilinear(plane, 4) for plane in planes])


def _decode_plainly(planes: np.ndarray) -> np.ndarray:
    centres = bin_centres().numpy().astype(np.float64)
    out = np.empty_like(planes, dtype=np.float64)
    for y, x in np.ndindex(planes.shape[1:]):
        square = ((centres - planes[:, y, x]) ** 2).sum(1)
        nearest = np.argsort(square, kind="stable")[:5]
        weight = np.exp(-square[nearest] / (2 * 5**2))
        weight /= weight.sum()
        annealed = weight ** (1 / 0.38)
        out[:, y, x] = (annealed[:, None] * centres[nearest]).sum(0) / annealed.sum()
    return out


def test_a_quarter_of_the_resolution(tiles: np.ndarray) -> None:
    ab = _ab(tiles[:3])
    plain = np.stack([_through_a_grid(each, lambda planes: planes) for each in ab])
    assert np.abs(quarter_ab(torch.from_numpy(ab)).numpy() - plain).max() < 1e-3


def test_through_the_bins(tiles: np.ndarray) -> None:
    ab = _ab(tiles[:3])
    plain = np.stack([_through_a_grid(each, _decode_plainly) for each in ab])
    assert np.abs(through_bins(torch.from_numpy(ab)).numpy() - plain).max() < 1e-2


@pytest.mark.parametrize("name", CEILINGS)
@pytest.mark.parametrize("shape", [(33, 47), (64, 62), (5, 3)])
def test_sides_that_are_no_multiples_of_four(name: str, shape: tuple[int, int]) -> None:
    flat = torch.full((1, 2, *shape), 10.0)
    assert CEILINGS[name](flat).shape == flat.shape
    # On a bin's own centre all weight stays near it.
    assert (CEILINGS[name](flat) - 10).abs().max() < 1.5


def test_scores_of_the_ceilings(tiles: np.ndarray) -> None:
    test = ImageSet(tiles, [str(i) for i in range(len(tiles))])
    metrics, _ = scoring.open_metrics(["psnr"], MetricContext(CPU, tiles), 64)
    scores = ceiling_scores(test, list(CEILINGS), metrics, CPU)
    assert len(scores) == len(CEILINGS) * len(tiles)
    lab = rgb2lab(tiles[0])
    planes = _through_a_grid(_ab(tiles[:1])[0], _decode_plainly)
    truth = (np.clip(lab2rgb(lab), 0, 1) * 255).round().astype(np.uint8)
    painted = np.clip(lab2rgb(np.concatenate([lab[..., :1], planes.transpose(1, 2, 0)], 2)), 0, 1)
    painted = (painted * 255).round().astype(np.uint8)
    ours = scores[(scores["model"] == "313 bins") & (scores["image"] == "0")]["value"].item()
    assert ours == pytest.approx(peak_signal_noise_ratio(truth, painted), abs=0.02)


def test_an_unknown_ceiling_is_named(tiles: np.ndarray) -> None:
    with pytest.raises(UnknownNameError, match="unknown ceiling '314 bins': did you mean"):
        ceiling_scores(ImageSet(tiles[:1], ["a"]), ["314 bins"], [], CPU)


def test_the_self_check_measures_what_scikit_image_does(tiles: np.ndarray) -> None:
    found = check_pipeline(ImageSet(tiles, [str(i) for i in range(len(tiles))]), None, CPU)
    psnr, colourfulness = [], []
    for tile in tiles:
        lab = rgb2lab(tile)
        grey = lab2rgb(lab * [1, 0, 0])
        psnr.append(peak_signal_noise_ratio(tile, (grey * 255).round().astype(np.uint8)))
        red, green, blue = tile.astype(float).reshape(-1, 3).T
        rg, yb = red - green, (red + green) / 2 - blue
        spread = np.hypot(rg.std(), yb.std())
        colourfulness.append(spread + 0.3 * np.hypot(rg.mean(), yb.mean()))
    assert found["grey_psnr"] == pytest.approx(np.mean(psnr), abs=0.01)
    assert found["truth_colourfulness"] == pytest.approx(np.mean(colourfulness), abs=0.05)


def test_the_self_check_fails_loudly(tiles: np.ndarray) -> None:
    images = ImageSet(tiles, [str(i) for i in range(len(tiles))])
    right = check_pipeline(images, None, CPU)
    check_pipeline(images, right, CPU)
    check_pipeline(images, {"grey_psnr": right["grey_psnr"] + 0.015}, CPU)
    for name, off in (("grey_psnr", 0.05), ("truth_colourfulness", -0.2)):
        with pytest.raises(DataError, match=rf"self-check failed before training: {name}"):
            check_pipeline(images, right | {name: right[name] + off}, CPU)
    with pytest.raises(DataError, match="grey_psnr"):
        check_pipeline(images, {"grey_psnr": float("nan")}, CPU)


def test_the_self_check_catches_swapped_channels(tiles: np.ndarray) -> None:
    ids = [str(i) for i in range(len(tiles))]
    right = check_pipeline(ImageSet(tiles, ids), None, CPU)
    swapped = np.ascontiguousarray(tiles[..., ::-1])
    with pytest.raises(DataError, match="self-check failed"):
        check_pipeline(ImageSet(swapped, ids), right, CPU)


@pytest.mark.parametrize(
    ("folder", "size", "count", "grey_psnr"),
    [("photos-256", 256, 98, 22.13), ("tiny-imagenet-20k", 64, 1956, 22.87)],
)
def test_the_floors_of_the_design(
    shared: Path, tmp_path: Path, folder: str, size: int, count: int, grey_psnr: float
) -> None:
    import tarfile

    with tarfile.open(shared / "data" / f"{folder}.tar") as tar:
        wanted = [m for m in tar if {"test", "val"} & set(Path(m.name).parts[1:2])]
        tar.extractall(tmp_path, wanted, filter="data")
    root = tmp_path / folder
    # A folder needs both splits; what is trained on does not matter here.
    held = next(p for p in root.iterdir() if p.name in ("test", "val"))
    (root / "train").symlink_to(held)
    test = registry.open_dataset(f"folder:{root}").open("test", size)
    assert len(test) == count
    assert check_pipeline(test, None, CPU)["grey_psnr"] == pytest.approx(grey_psnr, abs=0.005)
