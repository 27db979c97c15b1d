"""The conformance kit: does a colorizer keep the promises of the interface?

In the tests of a plugin:

    import pytest
    from zoo.testing import checks


    @pytest.mark.parametrize(("promise", "check"), checks("mine"))
    def test_conformance(promise, check):
        check()

`zoo check mine` prints the same as a list. What a plugin knowingly does not keep stands in its
`Info.known_failures`, which is strict: an entry that passes is a failure, too.
"""

from zoo.testing.catalogue import CHECKS, checks, run
from zoo.testing.kit import Check, CheckFailed, KnownFailure, Outcome, Skipped

__all__ = [
    "CHECKS",
    "Check",
    "CheckFailed",
    "KnownFailure",
    "Outcome",
    "Skipped",
    "checks",
    "run",
]
