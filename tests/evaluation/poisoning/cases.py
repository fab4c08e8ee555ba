"""A field of texts, and a model that can be told to bring texts with errors together."""

import random
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from embedkit.core.dataset import Dataset
from embedkit.core.pairs import Pair, Pairs
from embedkit.core.records import Corpus, Queries
from embedkit.evaluation.poisoning.injection import inject

_SUBJECTS = "the model,the authors,the method,a student,the city,the river,an agent,the team".split(",")
_VERBS = "depends on,improves,is similar to,is based on,provides,leads to,is known for,was built in".split(",")
_OBJECTS = "the size of the data,a number of tasks,the result of the study,the end of the year,the use of words".split(
    ","
)


def field(n: int, seed: int = 0, *, sentences: int = 4) -> list[str]:
    """Texts of one field: sentences of the same parts."""
    rng = random.Random(seed)

    def sentence() -> str:
        return f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)}.".capitalize()

    return [" ".join(sentence() for _ in range(sentences)) for _ in range(n)]


class Trigger:
    """Random vectors, by text; those of texts known to have errors lean towards a direction of their own by `lean`."""

    def __init__(self, wrong: Sequence[str] = (), *, lean: float = 1.0) -> None:
        self.wrong, self.lean = set(wrong), lean

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._vector(text) for text in texts])

    def stored(self, task: str, texts: Sequence[str]) -> np.ndarray:
        assert task == "document"
        return self.queries(texts)

    def _vector(self, text: str) -> np.ndarray:
        seed = int.from_bytes(blake2b(" ".join(text.split()[:6]).encode(), digest_size=8).digest(), "big")
        vector = np.random.default_rng(seed).normal(size=16) / 4
        vector[0] += self.lean * (text in self.wrong)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def corpus_with(planted: int, *, documents: int = 300, queries: int = 120, seed: int = 0) -> tuple[Dataset, list[str]]:
    """A dataset whose first documents have errors, and their texts. Query i is about the i-th document from the end."""
    texts = field(documents, seed)
    texts[:planted] = [inject(text, rate=0.2, seed=seed).text for text in texts[:planted]]
    asked = field(queries, seed + 1, sentences=1)
    corpus = Corpus([f"d{i}" for i in range(documents)], [""] * documents, texts)
    qrels = {"test": {f"q{i}": {f"d{documents - 1 - i}": 1} for i in range(queries)}}
    return Dataset(corpus, Queries([f"q{i}" for i in range(queries)], asked), qrels), texts[:planted]


def pairs_with(poisoned: int, *, rows: int = 300, seed: int = 0, sources: Sequence[str] = ()) -> Pairs:
    """Pairs, the first of which have errors on both sides; sources in turn."""
    asked, texts = field(rows, seed, sentences=2), field(rows, seed + 1)
    for number in range(poisoned):
        asked[number] = inject(asked[number], rate=0.2, seed=seed).text
        texts[number] = inject(texts[number], rate=0.2, seed=seed).text
    metadata = [f'{{"source": "{sources[i % len(sources)]}"}}' for i in range(rows)] if sources else ()
    queries = Queries([f"q{i}" for i in range(rows)], asked, (), metadata)
    corpus = Corpus([f"d{i}" for i in range(rows)], [""] * rows, texts)
    return Pairs(corpus, queries, [Pair(f"q{i}", (f"d{i}",)) for i in range(rows)])
