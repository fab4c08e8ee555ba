"""The mine stage at work: block by block, each kept in the work folder, joined at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq
from pydantic import JsonValue

from embedkit.core.memory import release
from embedkit.core.pair_files import join_pairs, join_tables
from embedkit.core.stage import Artifact, Context
from embedkit.mining.candidates import pairs_of_block, retrieve
from embedkit.mining.fates import CANDIDATES, candidate_table
from embedkit.mining.ground import Block, Ground, blocks
from embedkit.mining.hybrid import Hybrid
from embedkit.mining.miner import choose_negatives, drop_names, find_suspects
from embedkit.mining.pool import Pool
from embedkit.mining.sealed import Sealed
from embedkit.mining.signals import Signals

if TYPE_CHECKING:
    from embedkit.mining.stage import Mine

_BYTES_PER_CANDIDATE: Final = 1024  # of one query, at the peak: rows, scores of some signals, masks, Python objects
_SMALLEST, _LARGEST = 64, 65_536


@dataclass(frozen=True)
class Miner:
    """What every block is mined with."""

    spec: "Mine"
    ground: Ground
    pool: Pool
    signals: Signals
    context: Context
    hybrid: Hybrid | None = None

    @staticmethod
    def open(spec: "Mine", ground: Ground, inputs: Mapping[str, Artifact], context: Context) -> "Miner":
        """Index the documents and open the teachers."""
        some = ground.positives if spec.among == "positives" else None
        pool = Pool.open(spec.index, ground.vectors, some, ground.queries, context, top_k=spec.top_k)
        context.emit("index_opened", dict(pool.searcher.facts))
        scorers = {
            name: teacher.open(ground.documents, inputs, context, queries=ground.texts)
            for name, teacher in spec.teachers.items()
        }
        hybrid = Hybrid.open(spec.hybrid, ground, inputs, context, some=some)
        if hybrid:
            context.emit("hybrid_opened", {name: dict(finder.facts) for name, finder in hybrid.finders.items()})
            scorers |= {name: hybrid.finders[name].score for name in spec.retriever_signals}
        signals = Signals.open(spec.asked_signals, scorers, ground, spec.groups)
        return Miner(spec, ground, pool, signals, context, hybrid)

    @property
    def search(self) -> Mapping[str, JsonValue]:
        """What searched, and how much of the truth it finds, as far as that is the same in every run."""
        facts = self.pool.searcher.facts
        return {name: facts[name] for name in ("index", "device", "recall", "recall_wanted") if name in facts}

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why a candidate may be dropped, in the order the reasons apply."""
        return drop_names([*self.ground.known(range(0)).reasons()], self.spec.filters)

    def run(self, out: Path) -> None:
        """Mine what is not mined yet, then write pairs.parquet and candidates.parquet into `out`."""
        width = 2 * self.spec.top_k * (1 + len(self.spec.hybrid))
        todo = blocks(self.ground, block_size(self.spec.memory, width))
        parts = [Sealed.of(block.queries, self.context.work, ("pairs", "candidates")) for block in todo]
        missing = [(block.queries, part) for block, part in zip(todo, parts, strict=True) if part.facts() is None]
        release()  # what opening took
        with self.context.progress("mine queries", sum(len(queries) for queries, _ in missing)) as advance:
            for queries, part in missing:
                self._mine(Block(self.ground, queries), part)  # a new one: what it remembers goes with it
                self.context.emit("block_mined", {"queries": len(queries), "first": queries.start})
                advance(len(queries))
                release(cycles=False)
        schema = pq.read_schema(parts[0].files["candidates"])
        found = [part.files["candidates"] for part in parts]
        join_tables(found, out / CANDIDATES, schema, schema.names, group=1 << 18)
        join_pairs([part.files["pairs"] for part in parts], out)

    def _mine(self, block: Block, part: Sealed) -> None:
        candidates = retrieve(block, self.pool, self.signals, top_k=self.spec.top_k, hybrid=self.hybrid)
        choice = choose_negatives(candidates, self.spec.filters, count=self.spec.negatives, sampling=self.spec.sampling)
        suspects = find_suspects(candidates, self.spec.filters)
        fills = self.spec.fill.rows(candidates, choice, block.known, pool=self.pool.whole(len(self.ground.documents)))
        rows = pairs_of_block(block, candidates, choice, suspects, fills)
        told = candidate_table(candidates, choice, self.ground.corpus.ids)
        part.publish({"pairs": rows, "candidates": told})


def searched(facts: Mapping[str, Any]) -> str:
    """`Miner.search` as a line to read."""
    line, recall = f"search: {facts['index']} on {facts['device']}", facts.get("recall")
    if recall:
        interval = f"95 % interval {recall['low']:.4f} to {recall['high']:.4f}"
        line += f", recall@{recall['top_k']} {recall['value']:.4f} ({interval}) on {recall['sample']} {recall['of']}"
    return line


def block_size(memory: int, width: int) -> int:
    """How many queries with `width` candidates each are mined at a time in `memory` bytes; a multiple of 64, so that
    teachers, who score 64 queries together, see the same ones together whatever the memory."""
    wanted = max(_SMALLEST, min(_LARGEST, memory // (width * _BYTES_PER_CANDIDATE)))
    return wanted // _SMALLEST * _SMALLEST
