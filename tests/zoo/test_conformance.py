"""Every installed colorizer keeps the promises of the interface: the kit, run over all."""

import pytest

import zoo
from zoo.testing import checks


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{promise}")
        for name in zoo.list_colorizers()
        for promise, check in checks(name)
    ],
)
def test_conformance(check):
    check()
