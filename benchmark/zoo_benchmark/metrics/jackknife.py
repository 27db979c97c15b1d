"""Intervals of values that only a whole set has: a jackknife over disjoint parts of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t

FIFTHS = 5
"""How many disjoint parts a set is divided into: image number i goes to part i mod 5."""

IN_WORDS = "jackknife over five disjoint fifths of the images"
"""For `MetricInfo.interval`."""


def half_interval(without: Sequence[float]) -> float | None:
    """Half the 95 % interval of a value, from those of the set without each part in turn.

    Each leaves out one part, so that all are of nearly the whole set's size and share its bias.
    None where a value is missing or not finite.
    """
    if len(without) < FIFTHS or not all(map(math.isfinite, without)):
        return None
    count = len(without)
    error = math.sqrt((count - 1) * float(np.var(without)))
    return float(t.ppf(0.975, count - 1)) * error
