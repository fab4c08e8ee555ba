"""A small folder of pairs: titles, several positives, uneven negatives, known documents, fills, metadata."""

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow.ipc
import pyarrow.parquet as pq

from embedkit.core.pairs import Pair, Pairs, write_pairs
from embedkit.core.records import Corpus, Queries

DOCUMENTS = 12
PAIRS = (
    Pair(
        "q0",
        ("d0", "d1"),
        known=("d0", "d1", "d9"),
        negatives=("d2", "d3", "d4"),
        positive_scores=(0.75, 0.5),
        negative_scores=(0.25, 0.125, -0.5),
        positive_targets=(9.0, 8.0),
        negative_targets=(1.0, 2.0, 3.0),
        negative_ranks=(1, 4, 7),
    ),
    Pair(
        "q1",
        ("d5",),
        known=("d5",),
        negatives=("d6", "d7"),
        positive_scores=(0.5,),
        negative_scores=(0.375, 0.25),
        positive_targets=(7.0,),
        negative_targets=(-1.0, 0.0),
        suspects=("d8",),
        negative_ranks=(2, 0),
        fills=("d7",),
    ),
    Pair("q2", ("d9",), known=("d9",), positive_scores=(0.875,), positive_targets=(5.0,)),
    Pair(
        "q3",
        ("d10",),
        known=("d10",),
        negatives=("d0", "d2", "d11"),
        positive_scores=(1.0,),
        negative_scores=(0.5, 0.25, 0.0),
        positive_targets=(6.0,),
        negative_targets=(0.5, 0.25, 0.125),
        negative_ranks=(1, 2, 3),
    ),
)


def corpus() -> Corpus:
    rows = range(DOCUMENTS)
    return Corpus(
        [f"d{i}" for i in rows],
        [f"title {i}" if i % 2 else "" for i in rows],
        [f"text of {i}, «é»" for i in rows],
        metadata=[json.dumps({"year": i}) if i % 3 else "" for i in rows],
    )


def queries(count: int = 4) -> Queries:
    return Queries(
        [f"q{i}" for i in range(count)],
        [f"question {i}?" for i in range(count)],
        metadata=[json.dumps({"user": i}) for i in range(count)],
    )


def write_case(folder: Path, rows: tuple[Pair, ...] = PAIRS) -> Path:
    folder.mkdir(parents=True)
    write_pairs(folder, Pairs(corpus(), queries(), rows))
    return folder


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of an exported file, whatever its suffix."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".arrow":
        return pyarrow.ipc.open_stream(path).read_all().to_pylist()
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def load(path: Path, cache: Path) -> datasets.Dataset:
    """The same by `datasets.load_dataset`."""
    kind = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "json"}[path.suffix]
    return datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(cache))
