"""The promises of the interface, checked by the zoo's own kit."""

import pytest

from zoo.testing import checks


@pytest.mark.parametrize(("promise", "check"), checks("tiny_cnn"))
def test_conformance(promise, check):
    check()
