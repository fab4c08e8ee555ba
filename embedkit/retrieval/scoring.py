"""Retrieval scores of an encoder on a split of a dataset: for greedy soups, checkpoints and checks of a teacher."""

from collections.abc import Sequence

from embedkit.core.dataset import Dataset
from embedkit.core.errors import DataError
from embedkit.core.progress import Progress, silent
from embedkit.core.records import SPLITS
from embedkit.measures.ranking import PerQuery, Run, parse_metric, per_query
from embedkit.retrieval.encoder import StoredEncoder
from embedkit.retrieval.index import AnyIndex, Exact


def score_split(
    encoder: StoredEncoder,
    dataset: Dataset,
    split: str,
    *,
    metrics: Sequence[str] = ("ndcg@10",),
    top_k: int = 100,
    index: AnyIndex | None = None,
    progress: Progress = silent,
) -> PerQuery:
    """query_id -> metric -> value for every judged query of `split`, searched in the whole corpus.

    At least `top_k` documents a query are ranked, more if a metric looks deeper. Raises `DataError` if the split has no
    judged queries, `RecipeError` on an unknown metric.
    """
    deepest = max(parse_metric(metric)[1] for metric in metrics)
    qrels = dataset.qrels.get(split)
    if not qrels:
        splits = ", ".join(name for name in SPLITS if dataset.qrels.get(name)) or "none"
        raise DataError(f"split {split!r} has no judged queries; this dataset has {splits}")
    run = search_split(encoder, dataset, split, top_k=max(top_k, deepest), index=index, progress=progress)
    return per_query(run, qrels, metrics)


def search_split(
    encoder: StoredEncoder,
    dataset: Dataset,
    split: str,
    *,
    top_k: int,
    index: AnyIndex | None = None,
    progress: Progress = silent,
) -> Run:
    """The `top_k` nearest documents of every judged query of `split`, with their scores."""
    texts = dict(zip(dataset.queries.ids, dataset.queries.texts, strict=True))
    ids = list(dataset.qrels.get(split, {}))
    queries = encoder.queries([texts[query] for query in ids])
    documents = encoder.stored("document", dataset.corpus.full_texts())
    rows, scores = (index or Exact()).search(queries, documents, top_k, progress)
    return {
        query: {dataset.corpus.ids[row]: score for row, score in zip(found.tolist(), values.tolist(), strict=True)}
        for query, found, values in zip(ids, rows, scores, strict=True)
    }
