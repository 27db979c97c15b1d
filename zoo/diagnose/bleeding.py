"""Colour that bleeds over object edges: the ab error beside them, against that elsewhere.

An edge is where the truth's chroma changes sharply: Canny's detector (IEEE PAMI 8(6), 1986)
on its a and on its b. Lightness is left out on purpose: every model is given it.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt
from skimage.feature import canny
from torch import Tensor

from zoo.errors import InputError

SIGMA = 1.5
"""Standard deviation in pixels of the Gaussian that smooths a and b before edges are sought."""

EDGE_STEP, LINKED_STEP = 20.0, 10.0
"""Steps of a or b that are an edge by themselves, and as the continuation of one; CIE Lab."""

REACH = 3.0
"""Pixels on either side of an edge that belong to its band."""

# scikit-image's gradient is Sobel's sum, eight times the slope.
_SOBEL_GAIN = 8.0


@dataclass(frozen=True)
class EdgeError:
    """Mean distances in the ab plane (CIE Lab units) between a prediction and the truth.

    Attributes:
        whole: the mean over all pixels.
        edges: the mean over the bands along object edges; None where the truth has no edge.
        elsewhere: the mean over all other pixels; None where there are none.
        share: how much of the picture lies in a band, in [0, 1].
    """

    whole: float
    edges: float | None
    elsewhere: float | None
    share: float

    @property
    def ratio(self) -> float | None:
        """`edges` / `elsewhere`; None where one of them is missing or nothing is off elsewhere."""
        if self.edges is None or not self.elsewhere:
            return None
        return self.edges / self.elsewhere


def edge_error(predicted_ab: Tensor, truth_ab: Tensor) -> EdgeError:
    """Compares one prediction with its truth, both 2×H×W ab in CIE Lab units.

    Raises:
        InputError: other shapes, or values that are not finite.
    """
    if predicted_ab.shape != truth_ab.shape:
        raise InputError(
            f"prediction and truth differ in shape: {tuple(predicted_ab.shape)} and "
            f"{tuple(truth_ab.shape)}"
        )
    band = edge_band(truth_ab)
    error = error_map(predicted_ab, truth_ab)
    if not np.isfinite(error).all():
        raise InputError("the prediction holds values that are not finite")
    return EdgeError(
        whole=float(error.mean()),
        edges=float(error[band].mean()) if band.any() else None,
        elsewhere=float(error[~band].mean()) if not band.all() else None,
        share=float(band.mean()),
    )


def error_map(predicted_ab: Tensor, truth_ab: Tensor) -> npt.NDArray[np.float64]:
    """H×W distances in the ab plane of two 2×H×W ab."""
    difference = predicted_ab.detach().cpu().double() - truth_ab.detach().cpu().double()
    distance: npt.NDArray[np.float64] = torch.linalg.vector_norm(difference, dim=0).numpy()
    return distance


def edge_band(truth_ab: Tensor) -> npt.NDArray[np.bool_]:
    """Which pixels of 2×H×W ab lie at most `REACH` from an edge of a or b: H×W.

    A step of a or b of `EDGE_STEP` is an edge, one of `LINKED_STEP` if it goes on from one.

    Raises:
        InputError: another shape, or values that are not finite.
    """
    if truth_ab.ndim != 3 or truth_ab.shape[0] != 2 or not truth_ab.is_floating_point():
        raise InputError(
            f"ab must be 2×H×W floating point, got {truth_ab.dtype} of shape "
            f"{tuple(truth_ab.shape)}"
        )
    planes = truth_ab.detach().cpu().double().numpy()
    if not np.isfinite(planes).all():
        raise InputError("the truth holds values that are not finite")
    # What a step of 1 between two pixels measures at either of them once it is smoothed.
    smoothed = NormalDist(sigma=SIGMA).cdf
    gain = _SOBEL_GAIN * (smoothed(1.5) - smoothed(-0.5)) / 2
    edges = np.zeros(planes.shape[1:], dtype=np.bool_)
    for plane in planes:
        edges |= canny(  # type: ignore[no-untyped-call]
            plane, sigma=SIGMA, low_threshold=gain * LINKED_STEP, high_threshold=gain * EDGE_STEP
        )
    if not edges.any():
        return edges
    band: npt.NDArray[np.bool_] = distance_transform_edt(~edges) <= REACH
    return band
