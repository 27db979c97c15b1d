"""The prior over the 313 ab bins, the class weights made of it, and its file.

Rare colours count more in a rebalanced classification loss (Zhang, Isola, Efros, ECCV 2016,
section 2.2, eq. 4). How rare a colour is, the prior of a training set says: the share of its
pixels in each bin, counted on the loss' grid and smoothed by the soft encoding.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.color.bins import BIN_COUNT, bin_centres
from zoo.color.soft_encoding import BinOptions, SoftEncoding, SoftTarget
from zoo.errors import InputError
from zoo.files import atomic_path
from zoo.options import option
from zoo.text import read_text

if TYPE_CHECKING:
    from zoo.training.feed import Feed

STRIDE = 4
"""Zhang's loss stands at a quarter of the resolution: ab is averaged over 4×4 pixels."""

REBALANCING = 0.5
"""The paper's λ in eq. 4: the share of the uniform distribution in the prior."""

_COLUMNS = ["bin", "a", "b", "probability"]
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class RebalancingOptions(BinOptions):
    """Options of a plugin that classifies over the bins and weighs colours by their rarity."""

    rebalancing: float = option(
        REBALANCING,
        "λ of Zhang's eq. 4: the share of the uniform distribution in the prior; 1 is plain "
        "cross-entropy, and less is more daring",
        above=0,
        most=1,
    )
    prior: str = option(
        "",
        "file written by `zoo prior`; empty: the training set's own. Only training reads it",
    )


def smoothed_prior(targets: Iterable[SoftTarget]) -> Tensor:
    """p̃: the bins' distribution over all pixels of soft targets; 313 float64, sums to 1."""
    total = torch.zeros(BIN_COUNT, dtype=torch.float64, device="cpu")
    for target in targets:
        index, weight = target.index.cpu().flatten(), target.weight.cpu().flatten()
        total += torch.bincount(index, weights=weight.double(), minlength=BIN_COUNT)
    return total / total.sum()


def prior_of_ab(batches: Iterable[Tensor], encode: SoftEncoding, stride: int = STRIDE) -> Tensor:
    """The prior of N×2×H×W ab, averaged over stride×stride pixels as a loss sees it.

    Args:
        batches: ab in CIE Lab units, at full resolution.
        encode: the soft encoding of the loss.
        stride: the side of the squares in pixels.
    """
    return smoothed_prior(encode(F.avg_pool2d(ab, stride)) for ab in batches)


def check_counting(size: int, neighbours: int, sigma: float) -> None:
    """Checks that colours can be counted with these settings.

    Args:
        size: side of the crops in pixels.
        neighbours: bins with weight in a soft target.
        sigma: standard deviation of the soft encoding's Gaussian.

    Raises:
        InputError: they cannot.
    """
    if size < STRIDE or size % STRIDE:
        raise InputError(
            f"ab is averaged over {STRIDE}×{STRIDE} pixels, and {size} px are no multiple of "
            f"{STRIDE}; type --size {max(STRIDE, size // STRIDE * STRIDE)}"
        )
    try:
        BinOptions(neighbours=neighbours, sigma=sigma)
    except ValueError as error:
        raise InputError(str(error)) from error


def class_weights(prior: Tensor, rebalancing: float) -> Tensor:
    """w(q) = 1/((1−λ)p̃(q) + λ/Q), scaled to mean 1 under the prior (eq. 4).

    Args:
        prior: p̃, 313 probabilities; bins that never occur may be 0.
        rebalancing: λ in (0, 1]; 1 weighs all bins alike.
    """
    weights = 1 / ((1 - rebalancing) * prior + rebalancing / BIN_COUNT)
    return weights / (prior * weights).sum()


def class_weights_for(
    feed: Feed, encode: SoftEncoding, *, stride: int, rebalancing: float, prior: str = ""
) -> Tensor:
    """The class weights of a training, from a file's prior or that of its own images.

    Args:
        feed: the training's; up to 4,096 of its images are looked at, on the budget's clock.
        encode: the soft encoding of the loss.
        stride: pixels of the image per cell of the loss' grid.
        rebalancing: λ in (0, 1].
        prior: file written by `write_prior`; empty: count the images.

    Returns:
        313 float32 on the feed's device.

    Raises:
        InputError: `prior` names no such file.
    """
    if prior:
        probabilities = read_prior(prior)
    else:
        probabilities = prior_of_ab((ab for _, ab in feed.survey()), encode, stride)
    return class_weights(probabilities, rebalancing).float().to(feed.device)


def write_prior(path: Path | str, prior: Tensor) -> None:
    """Writes 313 probabilities as CSV, atomically: `bin`, `a`, `b` (CIE Lab), `probability`.

    Numbers keep their full precision: `read_prior` gives back the same float64 values.

    Raises:
        InputError: they are no distribution over the 313 bins.
    """
    prior = prior.detach().cpu().double()
    if flaw := _flaw(prior):
        raise InputError(f"that is no prior: {flaw}")
    with (
        atomic_path(Path(path)) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for place, probability in zip(_places(), prior.tolist(), strict=True):
            writer.writerow([*place, repr(probability)])


def read_prior(path: Path | str) -> Tensor:
    """The 313 float64 probabilities of a file that `write_prior` or `zoo prior` wrote.

    Raises:
        InputError: there is no such file, or it is something else: other rows, bins or order,
            a probability that is negative or no number, or a sum that is not 1.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no prior at {path}; zoo prior DATA -o {path} makes one")
    try:
        rows = list(islice(csv.reader(io.StringIO(read_text(path))), BIN_COUNT + 2))
        prior = torch.tensor(_probabilities(rows), dtype=torch.float64, device="cpu")
        flaw = _flaw(prior)
    except (ValueError, csv.Error) as error:  # a UnicodeDecodeError is a ValueError
        flaw = str(error)
    if flaw:
        raise InputError(
            f"{path} is no prior: {' '.join(flaw.split())}; zoo prior DATA -o FILE.csv makes one"
        )
    return prior


def _probabilities(rows: list[list[str]]) -> list[float]:
    if not rows or rows[0] != _COLUMNS:
        found = ",".join(rows[0])[:60] if rows else ""
        raise ValueError(f"its first line is {found!r}, not {','.join(_COLUMNS)!r}")
    if len(rows) != BIN_COUNT + 1:
        found = "more" if len(rows) > BIN_COUNT + 1 else str(len(rows) - 1)
        raise ValueError(f"it has {found} rows, not one for each of the {BIN_COUNT} bins")
    probabilities = []
    for number, (place, row) in enumerate(zip(_places(), rows[1:], strict=True), start=2):
        bin_of_row = [str(value) for value in place]
        if len(row) != len(_COLUMNS) or row[:3] != bin_of_row:
            raise ValueError(
                f"line {number} is {','.join(row)[:60]!r}, where bin,a,b is {','.join(bin_of_row)}"
            )
        try:
            probabilities.append(float(row[3]))
        except ValueError:
            raise ValueError(f"line {number} has the probability {row[3][:60]!r}") from None
    return probabilities


def _flaw(prior: Tensor) -> str:
    """What keeps `prior` from being a distribution over the bins; empty where nothing does."""
    if prior.shape != (BIN_COUNT,):
        return f"it has the shape {tuple(prior.shape)}, not ({BIN_COUNT},)"
    wrong = ~torch.isfinite(prior) | (prior < 0)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        return f"bin {first} has the probability {prior[first].item()}"
    total = prior.sum().item()
    return "" if abs(total - 1) <= _TOLERANCE else f"its probabilities sum to {total:.8g}, not to 1"


def _places() -> Iterator[tuple[int, int, int]]:
    for index, (a, b) in enumerate(bin_centres().int().tolist()):
        yield index, a, b
