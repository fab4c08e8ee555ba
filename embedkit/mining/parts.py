"""The mine stage at work: block by block, each kept in the work folder, joined at the end."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.core.pair_files import join_pairs, join_tables
from embedkit.core.stage import Artifact, Context
from embedkit.mining.candidates import pairs_of_block, retrieve
from embedkit.mining.fates import CANDIDATES, candidate_table
from embedkit.mining.ground import Block, Ground, blocks
from embedkit.mining.miner import choose_negatives, drop_names, find_suspects
from embedkit.mining.signals import Signals
from embedkit.retrieval.searcher import Searcher

if TYPE_CHECKING:
    from embedkit.mining.stage import Mine

_BYTES_PER_CANDIDATE: Final = 512  # of one query, at the peak: rows, scores of some signals, masks, Python objects
_SMALLEST, _LARGEST = 64, 65_536


@dataclass(frozen=True)
class Miner:
    """What every block is mined with."""

    spec: "Mine"
    ground: Ground
    searcher: Searcher
    signals: Signals
    context: Context

    @staticmethod
    def open(spec: "Mine", ground: Ground, inputs: Mapping[str, Artifact], context: Context) -> "Miner":
        """Index the documents and open the teachers."""
        searcher = spec.index.open(ground.vectors, context.work, context.progress)
        context.emit("index_opened", dict(searcher.facts))
        scorers = {name: teacher.open(ground.documents, inputs, context) for name, teacher in spec.signals.items()}
        return Miner(spec, ground, searcher, Signals(scorers, spec.built_in_signals), context)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why a candidate may be dropped, in the order the reasons apply."""
        excluded = self.ground.judgements.known(range(0)).reasons()
        return drop_names([*excluded], self.spec.filters)

    def run(self, out: Path) -> None:
        """Mine what is not mined yet, then write pairs.parquet and candidates.parquet into `out`."""
        todo = blocks(self.ground, block_size(self.spec.memory, 2 * self.spec.top_k))
        parts = [Part.of(block, self.context.work) for block in todo]
        missing = [(block, part) for block, part in zip(todo, parts, strict=True) if not part.pairs.is_file()]
        with self.context.progress("mine queries", sum(len(block) for block, _ in missing)) as advance:
            for block, part in missing:
                self._mine(block, part)
                self.context.emit("block_mined", {"queries": len(block), "first": block.queries.start})
                advance(len(block))
        schema = pq.read_schema(parts[0].candidates)
        join_tables([part.candidates for part in parts], out / CANDIDATES, schema, schema.names, group=1 << 18)
        join_pairs([part.pairs for part in parts], out)

    def _mine(self, block: Block, part: "Part") -> None:
        candidates = retrieve(block, self.searcher, self.signals, top_k=self.spec.top_k)
        choice = choose_negatives(candidates, self.spec.filters, count=self.spec.negatives, sampling=self.spec.sampling)
        rows = pairs_of_block(block, candidates, choice, find_suspects(candidates, self.spec.filters))
        _publish(part.candidates, candidate_table(candidates, choice, self.ground.corpus.ids))
        _publish(part.pairs, rows)


@dataclass(frozen=True)
class Part:
    """The files of one block; its pairs are written last, and with them it is complete."""

    pairs: Path
    candidates: Path

    @staticmethod
    def of(block: Block, work: Path) -> "Part":
        """Where this block's files are or will be."""
        name = f"{block.queries.start:09d}-{block.queries.stop:09d}.parquet"
        return Part(work / f"pairs-{name}", work / f"candidates-{name}")


def block_size(memory: int, width: int) -> int:
    """How many queries with `width` candidates each are mined at a time in `memory` bytes."""
    return max(_SMALLEST, min(_LARGEST, memory // (4 * width * _BYTES_PER_CANDIDATE // 2)))


def _publish(path: Path, table: pa.Table) -> None:
    """Write a Parquet file so that a reader finds all of it or nothing."""
    draft = path.with_name(f".{path.name}")
    with draft.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
