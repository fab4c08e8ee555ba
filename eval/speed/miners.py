"""embedkit's miner and sentence-transformers' on the same vectors."""

import contextlib
import io
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers.util import mine_hard_negatives

from embedkit.core.columns import Strings
from embedkit.core.pairs import Pair
from embedkit.core.records import Corpus
from embedkit.core.stage import Context
from embedkit.mining.filters import PercentOfPositive
from embedkit.mining.ground import Ground
from embedkit.mining.known import Judgements
from embedkit.mining.parts import Miner
from embedkit.mining.stage import Mine

NEGATIVES, TOP_K, MARGIN = 8, 100, 0.05
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Problem:
    """Q queries, N documents, and which document is relevant to each query."""

    queries: Floats  # (Q, D), unit length
    documents: Floats  # (N, D), unit length
    relevant: NDArray[np.int64]  # (Q,)
    query_texts: list[str]
    document_texts: list[str]

    @staticmethod
    def made(documents: int, queries: int, dims: int) -> "Problem":
        """Clusters of about a hundred documents around random centres; a query lies near its document."""
        rng = np.random.default_rng(0)
        centres = rng.standard_normal((max(1, documents // 100), dims), dtype=np.float32)
        near = rng.standard_normal((documents, dims), dtype=np.float32)
        near += centres[rng.integers(len(centres), size=documents)]
        relevant = rng.choice(documents, size=queries, replace=queries > documents)
        asked = near[relevant] + 0.7 * rng.standard_normal((queries, dims), dtype=np.float32)
        return Problem(
            _unit(asked),
            _unit(near),
            relevant,
            [f"query {i}" for i in range(queries)],
            [f"document {i}" for i in range(documents)],
        )

    def first(self, queries: int) -> "Problem":
        """The same for the first queries."""
        part = slice(queries)
        return replace(
            self,
            queries=self.queries[part],
            relevant=self.relevant[part],
            query_texts=self.query_texts[part],
        )


def embedkit(problem: Problem, folder: Path) -> Path:
    """pairs.parquet and candidates.parquet in a folder, which is returned."""
    work, out = folder / "work", folder / "embedkit"
    for path in (work, out):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    ids = Strings(pa.array([f"d{i}" for i in range(len(problem.documents))]))
    texts = Strings(pa.array(problem.document_texts))
    relevant = list(problem.relevant[:, None])
    pairs = [Pair(f"q{i}", (f"d{row}",)) for i, row in enumerate(problem.relevant.tolist())]
    ground = Ground(
        pairs=pairs,
        texts=problem.query_texts,
        corpus=Corpus(ids, Strings(pa.array([""] * len(ids))), texts),
        documents=texts,
        queries=problem.queries,
        vectors=problem.documents,
        judgements=Judgements(problem.query_texts, texts, relevant),
    )
    spec = Mine(
        data="data",
        model="model",
        negatives=NEGATIVES,
        top_k=TOP_K,
        filters=(PercentOfPositive(ratio=1 - MARGIN, reference="min"),),
    )
    Miner.open(spec, ground, {}, Context(work, folder / "embeddings")).run(out)
    return out


def sentence_transformers(problem: Problem, folder: Path, *, use_faiss: bool, batch: int) -> Path:
    """n-tuples as a Parquet file, which is returned."""
    positives = [problem.document_texts[row] for row in problem.relevant]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        mined = mine_hard_negatives(
            Dataset.from_dict({"query": problem.query_texts, "positive": positives}),
            _Given(problem),  # type: ignore[arg-type]
            corpus=problem.document_texts,
            range_max=TOP_K,
            relative_margin=MARGIN,
            num_negatives=NEGATIVES,
            output_format="labeled-list",
            output_scores=True,
            use_faiss=use_faiss,
            faiss_batch_size=batch,
            verbose=False,
        )
        path = folder / "sentence-transformers.parquet"
        mined.to_parquet(str(path))
    return path


def bare(problem: Problem) -> None:
    """The product and `torch.topk`, tile by tile."""
    documents = torch.from_numpy(problem.documents)
    for start in range(0, len(problem.queries), 1024):
        (torch.from_numpy(problem.queries[start : start + 1024]) @ documents.T).topk(TOP_K, dim=1)


def overlap(problem: Problem, folder: Path) -> float:
    """Share of embedkit's negatives that sentence-transformers chose too, over the queries that both have."""
    ours = pq.read_table(embedkit(problem, folder) / "pairs.parquet", columns=["negatives"]).column(0).to_pylist()
    path = sentence_transformers(problem, folder, use_faiss=False, batch=4096)
    table = pq.read_table(path).to_pylist()
    key = next(name for name in table[0] if isinstance(table[0][name], list) and isinstance(table[0][name][0], str))
    same = total = 0
    for row in table:
        chosen = {f"d{text.split()[1]}" for text in row[key][1:]}
        found = set(ours[int(row["query"].split()[1])])
        same, total = same + len(chosen & found), total + len(chosen)
    return same / total


class _Given:
    """As much of a model as the miner asks for, whose vectors are given."""

    device = torch.device("cpu")
    model_card_data = SimpleNamespace(base_model=None)

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.place = {text: i for i, text in enumerate(problem.document_texts)}

    def encode_document(self, texts: list[str], **_: Any) -> Floats:
        """The documents, which come in their order."""
        return self.problem.documents if texts == self.problem.document_texts else self._some(texts)

    def encode_query(self, texts: list[str], **_: Any) -> Floats:
        """The queries, which come in their order."""
        return self.problem.queries

    def get_embedding_dimension(self) -> int:
        """D."""
        return int(self.problem.documents.shape[1])

    def similarity(self, a: Any, b: Any) -> torch.Tensor:
        """What a model with dot product as its similarity does."""
        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a: Any, b: Any) -> torch.Tensor:
        """Row by row."""
        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(dim=1)

    def _some(self, texts: list[str]) -> Floats:
        return self.problem.documents[[self.place[text] for text in texts]]


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
