"""Fixtures of the exports' tests."""

from pathlib import Path

import pytest

from tests.exports.cases import write_case


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Path:
    """The folder of `cases`. Read only."""
    return write_case(tmp_path_factory.mktemp("pairs") / "mined")
