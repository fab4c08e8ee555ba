"""Cases of a test that take long and tell little more than the others."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def mostly(cases: Iterable[Any], *, slow: Collection[Any]) -> list[Any]:
    """The cases as parameters of a test; those of `slow` are left for `--slow`."""
    known = list(cases)
    assert set(slow) < set(known), f"{sorted(slow)} are not among {known}, or all of them"
    return [pytest.param(case, marks=pytest.mark.slow) if case in slow else case for case in known]
