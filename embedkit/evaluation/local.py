"""mteb's task classes on data of one's own. Imports mteb: import it, and call it, within `contained`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import mteb
from datasets import Dataset, DatasetDict
from mteb.abstasks import (
    AbsTask,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)

from embedkit.core.spec import digest

SPLIT: Final = "test"
_MAIN: Final = {  # what mteb ranks models by in its tasks of the type
    "STS": "cosine_spearman",
    "Classification": "accuracy",
    "Clustering": "v_measure",
    "PairClassification": "max_ap",
    "Reranking": "map_at_1000",
}


def sts_task(
    sentences1: Sequence[str], sentences2: Sequence[str], scores: Sequence[float], *, min_score: float, max_score: float
) -> AbsTask:
    """Semantic textual similarity of n pairs."""
    columns = {"sentence1": sentences1, "sentence2": sentences2, "score": scores}
    return _filled(
        AbsTaskSTS, "STS", columns, DatasetDict({SPLIT: _table(columns)}), min_score=min_score, max_score=max_score
    )


def pair_classification_task(sentences1: Sequence[str], sentences2: Sequence[str], labels: Sequence[int]) -> AbsTask:
    """Pairs that are alike (1) or not (0)."""
    columns = {"sentence1": sentences1, "sentence2": sentences2, "labels": labels}
    return _filled(AbsTaskPairClassification, "PairClassification", columns, DatasetDict({SPLIT: _table(columns)}))


def classification_task(
    train: tuple[Sequence[str], Sequence[str]],
    test: tuple[Sequence[str], Sequence[str]],
    *,
    samples_per_label: int,
    experiments: int,
) -> AbsTask:
    """Classes of texts; `train` and `test` are texts and their labels. Every label of `test` must be one of `train`."""
    codes = _codes(train[1])
    rows = {
        name: {"text": texts, "label": [codes[label] for label in labels]}
        for name, (texts, labels) in (("train", train), (SPLIT, test))
    }
    data = DatasetDict({name: _table(columns) for name, columns in rows.items()})
    return _filled(
        AbsTaskClassification,
        "Classification",
        rows,
        data,
        samples_per_label=samples_per_label,
        n_experiments=experiments,
    )


def clustering_task(
    texts: Sequence[str], labels: Sequence[str], *, documents: int | None, samples: int, experiments: int
) -> AbsTask:
    """Clusters of texts. `documents` are embedded, drawn at random, all if None; `samples` go into one clustering."""
    codes = _codes(labels)
    columns = {"sentences": texts, "labels": [codes[label] for label in labels]}
    return _filled(
        AbsTaskClustering,
        "Clustering",
        columns,
        DatasetDict({SPLIT: _table(columns)}),
        max_fraction_of_documents_to_embed=None,
        max_document_to_embed=documents,
        max_documents_per_cluster=samples,
        n_clusters=experiments,
    )


def reranking_task(
    documents: Mapping[str, tuple[str, str]],
    queries: Mapping[str, str],
    relevance: Mapping[str, Mapping[str, int]],
    candidates: Mapping[str, Sequence[str]],
) -> AbsTask:
    """Candidates of every query; `documents` are id -> (title, text), `relevance` query_id -> doc_id -> relevance."""
    titles, texts = [title for title, _ in documents.values()], [text for _, text in documents.values()]
    split = {
        "corpus": _table({"id": list(documents), "title": titles, "text": texts}),
        "queries": _table({"id": list(queries), "text": list(queries.values())}),
        "relevant_docs": {query: dict(judged) for query, judged in relevance.items()},
        "top_ranked": {query: list(found) for query, found in candidates.items()},
    }
    about = {"documents": documents, "queries": queries, "relevance": relevance, "candidates": candidates}
    return _filled(AbsTaskRetrieval, "Reranking", about, {"default": {SPLIT: split}})


def _filled(base: type[AbsTask], kind: str, content: Any, data: Any, **settings: Any) -> AbsTask:
    """A task of mteb's class with its data; the revision is a digest of `content`, all that can change a score."""
    metadata = mteb.TaskMetadata(
        name=f"Local{kind}",
        description="Data of one's own.",
        type=kind,  # type: ignore[arg-type]
        main_score=_MAIN[kind],
        eval_langs=["eng-Latn"],  # mteb demands one; nothing here depends on it
        eval_splits=[SPLIT],
        dataset={"path": "local/dataset", "revision": digest({"content": content, "settings": settings})},
    )
    task: AbsTask = type(metadata.name, (base,), {"metadata": metadata, **settings})()
    task.dataset, task.data_loaded = data, True
    return task


def _codes(labels: Sequence[str]) -> dict[str, int]:
    """A number for each class, in the order of their names; of numbers, in their own.

    mteb's average precision needs numbers, and the one that stands for the second of two classes counts as positive.
    """
    names = sorted(set(labels), key=lambda name: (not _whole(name), int(name) if _whole(name) else 0, name))
    return {name: code for code, name in enumerate(names)}


def _whole(name: str) -> bool:
    return name.removeprefix("-").isascii() and name.removeprefix("-").isdigit()


def _table(columns: Mapping[str, Sequence[Any]]) -> Dataset:
    return Dataset.from_dict({name: list(values) for name, values in columns.items()})
