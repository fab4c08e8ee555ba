"""Held-out queries and the documents they are searched in, scored with whatever weights a model has."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from embedkit.core.dataset import Dataset, open_dataset
from embedkit.core.errors import DataError
from embedkit.core.records import SPLITS, Qrels
from embedkit.core.stage import Artifact, Context
from embedkit.measures.ranking import mean_scores, parse_metric, per_query
from embedkit.retrieval.batches import encode, encode_tokens
from embedkit.retrieval.exact import look_exactly
from embedkit.retrieval.identity import Precision, Task, VectorIdentity
from embedkit.retrieval.tokens import Tokens, can_tokenise, tokenise
from embedkit.training.distributed import gather, rank, world_size
from embedkit.training.early_stopping import Evaluation
from embedkit.training.options import Training
from embedkit.training.prompts import Prompts

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Floats = NDArray[np.float32]
_SHARD: Final = 8192  # texts that are sorted by length together
_KEPT: Final = 1 << 26  # tokens that are kept from one score to the next, 12 bytes each


class HeldOut:
    """The queries and documents of an `Evaluation`, read once.

    `precision` is that of matrix products; with bfloat16 a score may differ in its last digits from what the `evaluate`
    stage finds of the same weights. Raises `DataError` if the split has no judged queries.
    """

    def __init__(
        self, spec: Evaluation, dataset: Dataset, prompts: Prompts, *, precision: Precision = "float32", seed: int = 0
    ) -> None:
        self.spec = spec
        judged = {query: docs for query, docs in dataset.qrels.get(spec.split, {}).items() if docs}
        if not judged:
            splits = ", ".join(name for name in SPLITS if dataset.qrels.get(name)) or "none"
            raise DataError(f"evaluate: split {spec.split!r} of {spec.data!r} has no judged queries; it has {splits}")
        rng = np.random.default_rng([seed, len(judged)])
        names = list(judged)
        self.qrels: Qrels = {names[i]: judged[names[i]] for i in _sample(rng, len(names), spec.queries)}
        texts = dict(zip(dataset.queries.ids, dataset.queries.texts, strict=True))
        self.queries = [texts[name] for name in self.qrels]
        rows = _documents(dataset.corpus.ids, self.qrels, spec.documents, rng)
        self.document_ids = [dataset.corpus.ids[i] for i in rows]
        documents = list(dataset.corpus.take(rows).full_texts())
        self._columns = (
            _Column(self.queries, "query", prompts.query or "", precision),
            _Column(documents, "document", prompts.document or "", precision),
        )

    def score(self, model: "SentenceTransformer") -> float:
        """The metric of exact search with the model's weights, its dropout off. Changes nothing of the model.

        Several processes embed a share of the texts each, and all get the score.
        """
        training = [module for module in model.modules() if module.training]
        model.eval()
        try:
            with torch.no_grad():
                queries, documents = (column.vectors(model) for column in self._columns)
        finally:
            for module in training:
                module.training = True
        if not np.isfinite(queries).all() or not np.isfinite(documents).all():
            return 0.0  # what is wrong shows in the next loss, and is told then
        depth = max(100, parse_metric(self.spec.metric)[1])
        rows, scores = look_exactly(documents).search(queries, depth)
        run = {
            query: {self.document_ids[row]: score for row, score in zip(found.tolist(), values.tolist(), strict=True)}
            for query, found, values in zip(self.qrels, rows, scores, strict=True)
        }
        return mean_scores(per_query(run, self.qrels, [self.spec.metric]))[self.spec.metric]

    def shared_with(self, texts: Iterable[str]) -> int:
        """How many of the queries are among `texts`, letter case and spaces aside."""
        known = {_folded(text) for text in texts}
        return sum(_folded(text) in known for text in self.queries)

    def warnings(self, trained_on: Iterable[str]) -> list[str]:
        """What a user should know before the scores are trusted; `trained_on` are the queries of training."""
        shared = self.shared_with(trained_on)
        if not shared:
            return []
        of = f"{shared} of {len(self.queries)} queries of {self.spec.data!r} ({self.spec.split})"
        return [f"evaluate: {of} are also trained on, so the scores of this training are too good"]


def open_held_out(spec: Training, inputs: Mapping[str, Artifact], context: Context, prompts: Prompts) -> HeldOut | None:
    """What a training stage is to be scored on; None where its recipe says nothing of it."""
    if spec.evaluate is None:
        return None
    dataset = open_dataset(inputs[spec.evaluate.data].path, context.work)
    precision: Precision = "bfloat16" if spec.precision == "bf16" else "float32"
    return HeldOut(spec.evaluate, dataset, prompts, precision=precision, seed=spec.seed)


class _Column:
    """Texts of one kind. Equal texts are embedded once; what the weights do not change is computed once for all."""

    def __init__(self, texts: Sequence[str], task: Task, prompt: str, precision: Precision) -> None:
        number: dict[str, int] = {}
        self._places = np.array([number.setdefault(text, len(number)) for text in texts], dtype=np.int64)
        self._texts = list(number)
        self._task: Task = task
        self._prompt = prompt
        self._precision: Precision = precision
        self._tokens: list[Tokens] = []

    def vectors(self, model: "SentenceTransformer") -> Floats:
        """(n, D) vectors of all texts."""
        own = self._texts[rank() :: world_size()]
        shards = [own[start : start + _SHARD] for start in range(0, len(own), _SHARD)]
        shards = shards or [self._texts[:1]]  # a process without a text of its own finds how wide vectors are
        identity = VectorIdentity(
            model="",
            task=self._task,
            prompt=self._prompt,
            max_length=None,
            precision=self._precision,
            backend="torch",
            truncate_dim=model.truncate_dim,
            normalize=model.similarity_fn_name == "cosine",
        )
        parts: Iterable[Floats]
        if can_tokenise(model, identity.route):
            tokens = (self._tokenised(i, some, model, identity) for i, some in enumerate(shards))
            parts = (encode_tokens(model, some, identity) for some in tokens)
        else:
            parts = encode(model, shards, identity, workers=0)
        return self._together(np.concatenate(list(parts))[: len(own)], model.device)[self._places]

    def _tokenised(
        self, number: int, texts: Sequence[str], model: "SentenceTransformer", identity: VectorIdentity
    ) -> Tokens:
        if number < len(self._tokens):
            return self._tokens[number]
        tokens = tokenise(model, texts, identity)
        if number == len(self._tokens) and sum(int(t.counts.sum()) for t in (*self._tokens, tokens)) <= _KEPT:
            self._tokens.append(tokens)
        return tokens

    def _together(self, own: Floats, device: torch.device) -> Floats:
        """The vectors of every process, in the order of the texts."""
        if world_size() == 1:
            return own
        found = gather({"rows": torch.from_numpy(own).to(device)})["rows"]
        whole = np.empty((len(self._texts), own.shape[1]), dtype=np.float32)
        for number, share in enumerate(torch.split(found.rows.cpu(), list(found.counts))):
            whole[number :: world_size()] = share.numpy()
        return whole


def _sample(rng: np.random.Generator, available: int, wanted: int | None) -> list[int]:
    """Rows of a sample, ascending; all where there are no more than are wanted."""
    if wanted is None or available <= wanted:
        return list(range(available))
    return sorted(rng.choice(available, wanted, replace=False).tolist())


def _documents(ids: Sequence[str], qrels: Qrels, wanted: int | None, rng: np.random.Generator) -> list[int]:
    """Rows of the documents to search in: the judged ones, and of the others as many as there is room for."""
    if wanted is None or len(ids) <= wanted:
        return list(range(len(ids)))
    judged = {doc for docs in qrels.values() for doc in docs}
    others = [i for i, doc in enumerate(ids) if doc not in judged]
    chosen = {others[i] for i in _sample(rng, len(others), max(0, wanted - (len(ids) - len(others))))}
    return [i for i, doc in enumerate(ids) if doc in judged or i in chosen]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
