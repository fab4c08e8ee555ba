import shutil

import pytest


@pytest.fixture
def copy(tiny_model, tmp_path):
    """A model folder to change."""
    return shutil.copytree(tiny_model, tmp_path / "copy")
