"""A model as mteb sees it: vectors from the embedding store, exact search that streams, a name that is its identity.

Imports mteb; import it, and call it, within `contained`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from mteb._create_dataloaders import create_dataloader
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder, get_prompt_name
from mteb.types import PromptType
from numpy.typing import NDArray
from sentence_transformers.util import cos_sim, dot_score, pairwise_cos_sim, pairwise_dot_score
from torch import Tensor, as_tensor

from embedkit.core.columns import Documents, Picked, Strings, places
from embedkit.core.progress import Progress, silent
from embedkit.core.spec import digest
from embedkit.measures.ranking import Run
from embedkit.retrieval.encoder import StoredEncoder
from embedkit.retrieval.exact import look_exactly
from embedkit.retrieval.identity import Task
from embedkit.retrieval.nearest import best_of, pair_scores
from embedkit.retrieval.shard_files import StoredVectors

_TASKS: Final[Mapping[PromptType | None, Task]] = {
    PromptType.query: "query",
    PromptType.document: "document",
    None: "text",
}
_BLOCK: Final = 2048  # queries whose nearest documents are in memory as rows
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Search:
    """What was searched for one subset and split of a task, and what was found."""

    query_ids: Sequence[str]
    query_texts: Sequence[str]
    queries: Floats  # (Q, D)
    doc_ids: Sequence[str]
    documents: StoredVectors  # (N, D)
    run: Run  # mteb takes identical ids out of it where a task says so

    def pairs(self, qrels: Mapping[str, Mapping[str, int]]) -> tuple[list[tuple[str, str]], NDArray[np.int64], Floats]:
        """The P judged pairs that can be scored, as ids, as rows (P, 2) of queries and documents, and scored (P,)."""
        own = {query: row for row, query in enumerate(self.query_ids)}
        wanted = [(query, doc) for query, docs in qrels.items() if query in own for doc in docs]
        rows = np.column_stack(
            [
                np.array([own[query] for query, _ in wanted], dtype=np.int64),
                places(self.doc_ids, [doc for _, doc in wanted]),
            ]
        )
        known = np.flatnonzero(rows[:, 1] >= 0)
        scores = pair_scores(self.queries, self.documents, rows[known, 0], rows[known, 1])
        return [wanted[at] for at in known.tolist()], rows[known], scores

    def vectors(
        self, qrels: Mapping[str, Mapping[str, int]], most: int = 4096
    ) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
        """Of relevant pairs, the vectors of queries (n, D) and documents (n, D); those of documents of any kind (m, D);
        and the rows (n,) of the pairs' queries. At most `most` each, evenly spaced in the order they come."""
        relevant = {query: {d: grade for d, grade in docs.items() if grade > 0} for query, docs in qrels.items()}
        _, rows, _ = self.pairs(relevant)
        rows = rows[_spread(len(rows), most)]
        return (
            self.queries[rows[:, 0]],
            self.documents[rows[:, 1]],
            self.documents[_spread(self.documents.shape[0], most)],
            rows[:, 0],
        )


class StoredModel:
    """An encoder and a search engine for mteb, whose vectors come from the embedding store.

    mteb names a local model after the base model in its card, so that a result cache gives one fine-tuned model the
    scores of another; here name and revision are a digest of weights, modules, tokenizer, prompts and arithmetic.
    Prompts are found as mteb finds them for sentence-transformers' models: by task, type of task, and query or
    document; `prompts` (query, document, text) take the place of all of them. Of retrieval tasks, what was searched
    and found is kept in `searches`, by subset and split.
    """

    def __init__(
        self,
        encoder: StoredEncoder,
        named_prompts: Mapping[str, str],
        prompts: Mapping[Task, str],
        progress: Progress = silent,
    ) -> None:
        valid, _ = AbsEncoder.validate_task_to_prompt_name(dict(named_prompts), raise_for_invalid_keys=False)
        self._named, self._prompts, self._encoder, self._progress = valid or {}, prompts, encoder, progress
        self._cosine = encoder.similarity == "cosine"
        self.identity = digest([encoder.identity, self._named, {str(task): text for task, text in prompts.items()}])
        meta = {"name": f"embedkit/{self.identity[:16]}", "revision": self.identity}
        self.mteb_model_meta = ModelMeta.create_empty(meta)
        self.searches: dict[tuple[str, str], Search] = {}
        self._corpus: Any = None

    def encode(
        self, inputs: Any, *, task_metadata: Any, prompt_type: PromptType | None = None, **kwargs: Any
    ) -> Floats:
        """Vectors (n, D) of a data loader's texts as the model gives them; kwargs describe the task's part."""
        encoder = self._for(task_metadata, prompt_type, normalize=False)
        return encoder.stored(_TASKS[prompt_type], _texts(inputs)).array()

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Scores of every row of the one with every row of the other, by the model's own similarity."""
        return (cos_sim if self._cosine else dot_score)(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Scores of the rows of the one with the same rows of the other."""
        found: Tensor = (pairwise_cos_sim if self._cosine else pairwise_dot_score)(
            as_tensor(embeddings1), as_tensor(embeddings2)
        )
        return found

    def index(self, corpus: Any, **kwargs: Any) -> None:
        """Take note of the corpus that the next search is in."""
        self._corpus = corpus

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> Run:
        """query_id -> doc_id -> score of the `top_k` nearest documents; of `top_ranked`, where a task gives them."""
        texts = _texts(create_dataloader(queries, task_metadata=task_metadata, prompt_type=PromptType.query))
        asking = self._for(task_metadata, PromptType.query).stored("query", texts).array()
        doc_ids = column(self._corpus, "id")
        documents = self._for(task_metadata, PromptType.document).stored("document", document_texts(self._corpus))
        search = Search(list(queries["id"]), texts, asking, doc_ids, documents, {})
        found = self._nearest(search, top_k) if top_ranked is None else _reranked(search, top_ranked, top_k)
        search.run.update(found)
        self.searches[hf_subset, hf_split] = search
        return search.run

    def _for(
        self, task_metadata: Any, prompt_type: PromptType | None, *, normalize: bool | None = None
    ) -> StoredEncoder:
        task = _TASKS[prompt_type]
        name = get_prompt_name(dict(self._named), task_metadata, prompt_type)
        prompt = self._prompts.get(task, self._named.get(name) if name else None)
        return self._encoder.prompted({} if prompt is None else {task: prompt}, normalize=normalize)

    def _nearest(self, search: Search, top_k: int) -> Iterator[tuple[str, dict[str, float]]]:
        searcher = look_exactly(search.documents)
        for start in range(0, len(search.query_ids), _BLOCK):
            block = slice(start, start + _BLOCK)
            rows, scores = searcher.search(search.queries[block], top_k, self._progress)
            for query, found, values in zip(search.query_ids[block], rows, scores, strict=True):
                yield query, dict(zip(_at(search.doc_ids, found), values.tolist(), strict=True))


def _reranked(
    search: Search, candidates: Mapping[str, Sequence[str]], top_k: int
) -> Iterator[tuple[str, dict[str, float]]]:
    listed = [list(dict.fromkeys(candidates.get(query, ()))) for query in search.query_ids]
    ends = np.cumsum([0, *(len(docs) for docs in listed)])
    found = places(search.doc_ids, [doc for docs in listed for doc in docs])
    if (missing := int((found < 0).sum())) > 0:
        raise KeyError(f"lists of candidates name {missing} documents that the corpus does not have")
    for row, query in enumerate(search.query_ids):
        rows = found[ends[row] : ends[row + 1]]
        scores = pair_scores(search.queries[row : row + 1], search.documents, np.zeros(len(rows), np.int64), rows)
        best, values = best_of(rows[None], scores[None], top_k)
        yield query, dict(zip(_at(search.doc_ids, best[0]), values[0].tolist(), strict=True))


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` rows, evenly spaced."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64))


def _at(ids: Sequence[str], rows: NDArray[np.int64]) -> list[str]:
    if isinstance(ids, Strings):
        return ids.take(rows)
    return [ids[row] for row in rows.tolist()]


def _texts(inputs: Any) -> list[str]:
    return [text for batch in inputs for text in batch["text"]]


def document_texts(corpus: datasets.Dataset) -> Documents:
    """What mteb gives an encoder of each document, title and text joined, where Arrow has them; none is copied."""
    texts = column(corpus, "text")
    titled = "title" in corpus.column_names
    return Documents(column(corpus, "title") if titled else Strings(pa.repeat("", len(texts))), texts)


def column(dataset: datasets.Dataset, name: str) -> Sequence[str]:
    """A data set's column of strings, where Arrow has it; null is the empty string."""
    found = dataset.data.column(name)
    if not pa.types.is_string(found.type):
        found = found.cast(pa.string())
    strings = Strings(pc.fill_null(found, "") if found.null_count else found)
    chosen = dataset._indices  # rows that were selected or shuffled; there is no public way to read them lazily
    return strings if chosen is None else Picked(strings, chosen.column(0).to_numpy())
