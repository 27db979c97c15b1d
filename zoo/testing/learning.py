"""Checks that a colorizer learns: short trainings, measured as mean distance in ab."""

from __future__ import annotations

from zoo.arrays import UInt8Array
from zoo.testing import images
from zoo.testing.kit import Finding, Skipped, check
from zoo.testing.subject import Subject

# A second, longer try for those that are slow to start: a schedule follows the whole budget.
_ONE_IMAGE_STEPS, _TOY_STEPS = (60, 240), (60, 250)
# The share of grey's error that may be left.
_ONE_IMAGE_SHARE, _TOY_SHARE = 0.4, 0.9


@check
def one_image(subject: Subject) -> None:
    """One image alone is learnt almost by heart (methods that predict chroma)."""
    if subject.new().paints_rgb:
        raise Skipped("it paints RGB")
    image = images.one_photograph(subject.side)
    _learns(subject, image, image, _ONE_IMAGE_STEPS, _ONE_IMAGE_SHARE)


@check
def beats_grey(subject: Subject) -> None:
    """Where colours follow from brightness, a short training leads to less error than grey has."""
    train, test = images.toy_set(subject.side)
    _learns(subject, train, test, _TOY_STEPS, _TOY_SHARE)


def _learns(
    subject: Subject, train: UInt8Array, test: UInt8Array, tries: tuple[int, ...], share: float
) -> None:
    L, ab = subject.lab(test)
    grey = float(ab.norm(dim=1).mean())
    for steps in tries:
        colorizer = subject.fit(train, budget=f"{steps}steps")
        error = float((colorizer.predict_ab(L) - ab).norm(dim=1).mean())
        if error <= share * grey:
            return
        if not subject.takes_steps:
            break
    raise Finding(
        f"after {steps} steps the mean error is {error:.3g} in units of ab, and grey has "
        f"{grey:.3g}; at most {share * grey:.3g} was to be left.",
        "look at units (ab within ±110, L within 0 … 100), at the sign of the loss and at the "
        "learning rate; zoo lr-find draws it.",
    )
