"""Every installed colorizer keeps the promises of the interface: the kit, run over all."""

import pytest

import zoo
from zoo.testing import checks

TAKES_LONG = ("beats_grey", "one_image", "exports")


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(
            check,
            id=f"{name}-{promise}",
            marks=[pytest.mark.long] if promise in TAKES_LONG else [],
        )
        for name in zoo.list_colorizers()
        for promise, check in checks(name)
    ],
)
def test_conformance(check):
    check()
