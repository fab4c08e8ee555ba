"""Entries of a mirror from a BEIR folder, for retrieval tasks."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa

from embedkit.core.dataset import Dataset
from embedkit.core.records import Qrels
from embedkit.evaluation.mirror.entry import Check, make_entry, unchecked
from embedkit.evaluation.mirror.facts import TaskFacts, check_buildable, choose_splits
from embedkit.evaluation.mirror.layout import HubLayout
from embedkit.evaluation.mirror.manifest import Manifest

_SOURCE: Final = "a BEIR folder"
_CORPUS = pa.schema([("_id", pa.string()), ("title", pa.string()), ("text", pa.string())])
_QUERIES = pa.schema([("_id", pa.string()), ("text", pa.string())])
_QRELS = pa.schema([("query-id", pa.string()), ("corpus-id", pa.string()), ("score", pa.int32())])


def mirror_from_beir(
    mirror: Path,
    facts: TaskFacts,
    dataset: Dataset,
    *,
    splits: Mapping[str, tuple[str, ...]] | None = None,
    check: Check = unchecked,
    place: str = "the data set",
) -> Manifest:
    """Make the entry of a retrieval task from a data set's corpus, queries and judgements.

    Every query is kept, judged or not. `splits` says of which of the data set's splits an official one is made, where
    it has another name. `place` is what the data set is called in errors.
    Raises `DataError` if the task is not one of plain retrieval, or judgements that it needs are not there.
    """
    check_buildable(facts, _SOURCE, types=("Retrieval",))
    made_of = choose_splits(facts, list(dataset.qrels), splits or {}, place)

    def fill(folder: Path) -> str:
        shutil.rmtree(folder)
        layout, corpus, queries = HubLayout(folder), dataset.corpus, dataset.queries
        for official, parts in sorted(made_of.items()):
            layout.write("default", official, _QRELS, _judgements([dataset.qrels[part] for part in parts]))
        layout.write("corpus", "corpus", _CORPUS, zip(corpus.ids, corpus.titles, corpus.texts, strict=True))
        layout.write("queries", "queries", _QUERIES, zip(queries.ids, queries.texts, strict=True))
        return layout.finish("beir")

    return make_entry(mirror, facts, "beir", fill, check)


def _judgements(parts: list[Qrels]) -> Iterator[tuple[str, str, int]]:
    for qrels in parts:
        for query, docs in qrels.items():
            for doc, relevance in docs.items():
                yield query, doc, relevance
