"""Weights that a cell is scored with as they are: which file, and what it says of itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from zoo import registry
from zoo.colorizer import Colorizer
from zoo.errors import WeightsError
from zoo.weights.download import file_sha256
from zoo.weights.file import StoredWeights
from zoo_benchmark.run.trial_spec import Spec


@dataclass(frozen=True)
class GivenWeights:
    """A file of weights, and the facts that a row of it shows.

    Attributes:
        path: the file.
        sha256: its hash, by which it is known.
        trained_on: the images and the budget that it learnt from, or `not stated`.
        license: its terms.
        source: where it was published; empty where that is not known.
    """

    path: str
    sha256: str
    trained_on: str
    license: str
    source: str

    @classmethod
    def of(cls, stored: StoredWeights) -> Self:
        """The facts of weights that were opened."""
        path, origin = stored.path.resolve(), stored.origin
        return cls(str(path), file_sha256(path), stored.taught, origin.license, origin.source)

    def to_dict(self) -> dict[str, Any]:
        """All that a run keeps of them."""
        return dataclasses.asdict(self)


def load_given(spec: Spec, device: str) -> Colorizer:
    """The colorizer of a spec's weights, which must be those that it was planned with.

    Raises:
        WeightsError: the file is gone, or another one now.
    """
    wanted = spec.weights_sha256
    if wanted and (found := file_sha256(Path(spec.weights))) != wanted:
        raise WeightsError(
            f"{spec.weights} has changed since the start of this run: SHA-256 {found[:12]}…, "
            f"expected {wanted[:12]}…; start it again"
        )
    return registry.load(
        spec.model, spec.weights, device=device, precision=spec.precision, **spec.changes
    )
