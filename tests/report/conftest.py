"""Fixtures of the report's tests."""

import pytest

from embedkit.report.lineage import Lineage, walk
from tests.report.fake import FakeRun, build_run


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> FakeRun:
    """The quickstart, as if it had run. Read only."""
    return build_run(tmp_path_factory.mktemp("fake-run"))


@pytest.fixture(scope="session")
def lineage(run) -> Lineage:
    """The lineage of the fake run's scores."""
    return walk([run.artifacts["scores"].key], run.store.get, run.labels)
