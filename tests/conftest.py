"""Fixtures shared by all tests. No test downloads anything."""

import os

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", WANDB_MODE="disabled")
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; torch and BLAS would each take all of them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

from embedkit.core.stage import Artifact, Context
from tests.tiny import build_tiny_beir, build_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """Folder of a random sentence-transformers model, 32 dimensions. Read only."""
    return build_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session")
def other_tiny_model(tmp_path_factory) -> Path:
    """A second model that differs from `tiny_model` in its weights alone. Read only."""
    return build_tiny_model(tmp_path_factory.mktemp("other-tiny-model"), seed=1)


@pytest.fixture(scope="session")
def tiny_beir(tmp_path_factory) -> Path:
    """A BEIR folder of 60 documents and 120 queries. Read only."""
    return build_tiny_beir(tmp_path_factory.mktemp("tiny-beir"))


@pytest.fixture(scope="session")
def tiny_dataset(tiny_beir, tmp_path_factory) -> Artifact:
    """`tiny_beir` as a dataset artifact's folder."""
    import json

    from embedkit.core.dataset import Dataset, write_dataset
    from embedkit.core.records import Corpus, Queries

    def lines(name: str) -> list[dict]:
        return [json.loads(line) for line in (tiny_beir / name).read_text().splitlines()]

    corpus, queries = lines("corpus.jsonl"), lines("queries.jsonl")
    qrels: dict = {}
    for split in ("train", "dev", "test"):
        for line in (tiny_beir / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]:
            query, doc, relevance = line.split("\t")
            qrels.setdefault(split, {}).setdefault(query, {})[doc] = int(relevance)
    out = tmp_path_factory.mktemp("tiny-dataset")
    write_dataset(
        out,
        Dataset(
            Corpus([d["_id"] for d in corpus], [d["title"] for d in corpus], [d["text"] for d in corpus]),
            Queries([q["_id"] for q in queries], [q["text"] for q in queries]),
            qrels,
        ),
    )
    return Artifact("d" * 64, out)


@pytest.fixture
def context(tmp_path) -> Context:
    """A context with folders of its own."""
    (tmp_path / "work").mkdir()
    return Context(work=tmp_path / "work", embeddings=tmp_path / "embeddings")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left alone with them at the end. Slow tests where asked for."""
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: minutes on two cores; run with --slow"))
    items.sort(key=lambda item: "/faults/" not in item.nodeid)
