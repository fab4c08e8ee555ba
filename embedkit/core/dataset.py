"""Datasets: texts and who is relevant to whom, by split. `core.records` lays the files out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embedkit.core.pairs import pairs_of, write_pair_rows
from embedkit.core.records import (
    SPLITS,
    Corpus,
    Qrels,
    Queries,
    open_corpus,
    open_queries,
    read_corpus,
    read_qrels,
    read_queries,
    write_corpus,
    write_qrels,
    write_queries,
)


@dataclass(frozen=True)
class Dataset:
    """A dataset artifact in memory."""

    corpus: Corpus
    queries: Queries
    qrels: Mapping[str, Qrels] = field(default_factory=dict)  # split -> qrels


def write_dataset(folder: Path, dataset: Dataset) -> None:
    """Write a dataset artifact, its train pairs included."""
    write_corpus(folder, dataset.corpus)
    write_queries(folder, dataset.queries)
    for split, qrels in dataset.qrels.items():
        write_qrels(folder, split, qrels)
    write_pair_rows(folder, pairs_of(dataset.qrels.get("train", {})))


def read_dataset(folder: Path) -> Dataset:
    """Read a dataset artifact."""
    qrels = {split: read_qrels(folder, split) for split in SPLITS}
    return Dataset(read_corpus(folder), read_queries(folder), {k: v for k, v in qrels.items() if v})


def open_dataset(folder: Path, work: Path) -> Dataset:
    """The same, its texts memory-mapped from copies in `work`: for corpora larger than memory."""
    qrels = {split: read_qrels(folder, split) for split in SPLITS}
    return Dataset(open_corpus(folder, work), open_queries(folder, work), {k: v for k, v in qrels.items() if v})
