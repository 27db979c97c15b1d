"""Facts that a colorizer declares about itself, for people and for the harness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

INTERFACE = 1
"""The version of the interface: what the zoo promises to plugins and asks of them.

It rises when a hook of `Colorizer` changes its name or meaning, or what it is given. A plugin
that pins another one is refused.
"""

Preset = Literal["paper", "small"]


@dataclass(frozen=True)
class Info:
    """The facts that a colorizer declares about itself.

    Attributes:
        name: the entry point's name.
        title: the name for people.
        paper: the publication, or `none`.
        license: the license of the code, as an SPDX identifier.
        differs: departures from the paper, one sentence each.
        working_size: the short side in pixels at which `predict` and `zoo colorize` show a larger
            photograph to the network, unless told otherwise; None for the size that the weights
            were trained at.
        squashed: whether a photograph is shown at the working size along both sides, as a square
            whatever its shape, instead of in its own proportions.
        output: whether `forward` gives `ab` or paints `rgb`.
        deterministic: whether the same seed and budget in steps give the same weights on one CPU.
        floor: whether it is a reference to be beaten rather than a method; tables mark it.
        learns: whether training images change what it paints; one that learns nothing is compared
            without any, too.
        known_failures: checks of `zoo.testing` that it does not pass, each with the reason.
        interface: the version of the interface (`INTERFACE`) that the plugin was written for, so
            that another zoo says so instead of failing somewhere; None for any.
    """

    name: str
    title: str
    paper: str
    license: str
    differs: tuple[str, ...] = ()
    working_size: int | None = None
    squashed: bool = False
    output: Literal["ab", "rgb"] = "ab"
    deterministic: bool = True
    floor: bool = False
    learns: bool = True
    known_failures: Mapping[str, str] = field(default_factory=dict, hash=False)
    interface: int | None = None
