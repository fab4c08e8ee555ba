from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from embedkit.core.stage import Artifact
from tests.tiny_backbones import build_tiny_decoder


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory) -> Path:
    """Folder of a random decoder, Qwen3, 32 dimensions, 2 layers, last-token pooling. Read only."""
    return build_tiny_decoder(tmp_path_factory.mktemp("tiny-decoder"))


@pytest.fixture
def make(tmp_path, context):
    """Runs a stage, its references by name; the artifact's folder."""
    numbers = count()

    def run(stage, **inputs) -> Path:
        folder = tmp_path / f"made-{next(numbers)}"
        (folder / "work").mkdir(parents=True)
        (folder / "out").mkdir()
        artifacts = {name: Artifact(name[0] * 64, path) for name, path in inputs.items()}
        stage.run(artifacts, folder / "out", replace(context, work=folder / "work"))
        return folder / "out"

    return run
