"""Targets of mined pairs: the teachers' scores, block by block, each kept in the work folder, joined at the end."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.core.columns import places, taken
from embedkit.core.errors import DataError
from embedkit.core.pair_files import column_batches, join_pairs, pair_batches, pair_columns
from embedkit.core.pairs import PAIRS, Pair
from embedkit.core.records import Corpus, Queries, open_corpus, open_queries
from embedkit.mining.audit import histograms
from embedkit.mining.rerank import Rerank
from embedkit.mining.sealed import Sealed
from embedkit.mining.teach import BLOCK
from embedkit.mining.teacher import Rows, Scores
from embedkit.mining.teaching import Classroom, warnings_of

T = TypeVar("T")
_TARGETS: Final = ["positive_targets", "negative_targets"]


@dataclass(frozen=True)
class Ungraded:
    """The pairs as they come, their texts memory-mapped."""

    folder: Path
    corpus: Corpus
    queries: Queries

    @staticmethod
    def open(folder: Path, work: Path) -> "Ungraded":
        """`work`: for the copies of the texts."""
        work.mkdir(exist_ok=True)
        return Ungraded(folder, open_corpus(folder, work), open_queries(folder, work))

    def texts(self) -> list[str]:
        """Of the queries, one a row. Raises `DataError` if there are no rows."""
        batches = column_batches(self.folder, ["query_id"], rows=BLOCK)
        ids = [query for batch in batches for query in batch[0].to_pylist()]
        if not ids:
            raise DataError("pairs: there are none; teach has nothing to grade")
        return taken(self.queries.texts, places(self.queries.ids, ids))

    def blocks(self) -> Iterator[tuple[range, list[Pair]]]:
        """`BLOCK` rows at a time, and their numbers."""
        for number, rows in zip(count(), pair_batches(self.folder, rows=BLOCK)):
            yield range(number * BLOCK, number * BLOCK + len(rows)), rows


def grade(room: Classroom, pairs: Ungraded, texts: Sequence[str], out: Path, outcome: Rerank) -> dict[str, Any]:
    """Write the pairs with the fused teachers' scores as targets; stats.json of the teach stage. `texts`: of their
    queries. Raises `DataError` for documents that are not in the corpus."""
    parts, facts = [], []
    with room.context.progress("grade queries", len(texts)) as advance:
        for block, rows in pairs.blocks():
            part = Sealed.of(block, room.context.work, ("graded", "targets"))
            found = part.facts()
            if found is None:
                found = _grade(room, pairs, rows, block, texts[block.start : block.stop], part)
                room.context.emit("block_graded", {"queries": len(rows), "first": block.start})
            parts.append(part)
            facts.append(found)
            advance(len(rows))
    join_pairs([part.files["graded"] for part in parts], out)
    counts = {name: sum(found[name] for found in facts) for name in ("scored_pairs", "negatives_above_positive")}
    return _stats(room, outcome, [part.files["targets"] for part in parts], queries=len(texts), counts=counts)


def _grade(
    room: Classroom, pairs: Ungraded, rows: Sequence[Pair], block: range, texts: Sequence[str], part: Sealed
) -> dict[str, int]:
    own = _rows_of(room, pairs, rows)
    nearest, _ = room.nearest(room.asked[block.start : block.stop])
    pools = [_union(some, best) for some, best in zip(own, nearest, strict=True)]
    fused = room.fuse(room.score(texts, pools))
    marks = [_mark(*of_row) for of_row in zip(rows, own, pools, fused, strict=True)]
    graded = [mark.kept() if room.spec.drop_above_positive else mark.pair for mark in marks]
    targets = _table([mark.pair for mark in marks]).select(_TARGETS)
    facts = {"scored_pairs": sum(map(len, pools)), "negatives_above_positive": sum(sum(mark.above) for mark in marks)}
    part.publish({"graded": _table(graded), "targets": targets}, facts)
    return facts


@dataclass(frozen=True)
class _Mark:
    """A pair with its targets, and which of its negatives lie above its lowest positive."""

    pair: Pair
    above: Sequence[bool]

    def kept(self) -> Pair:
        """The pair with those negatives among its suspects."""
        above = (doc for doc, is_above in zip(self.pair.negatives, self.above, strict=True) if is_above)
        kept = self._below(self.pair.negatives)
        return replace(
            self.pair,
            suspects=tuple(dict.fromkeys((*self.pair.suspects, *above))),
            negatives=kept,
            negative_scores=self._below(self.pair.negative_scores),
            negative_targets=self._below(self.pair.negative_targets),
            negative_ranks=self._below(self.pair.negative_ranks),
            fills=tuple(doc for doc in self.pair.fills if doc in kept),
        )

    def _below(self, values: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(v for v, above in zip(values, self.above, strict=True) if not above) if values else ()


def _mark(pair: Pair, own: Rows, pool: Rows, scores: Scores) -> _Mark:
    place = {row: i for i, row in enumerate(pool.tolist())}
    targets = [float(scores[place[row]]) for row in own.tolist()]
    positives, negatives = targets[: len(pair.positives)], targets[len(pair.positives) :]
    marked = replace(pair, positive_targets=tuple(positives), negative_targets=tuple(negatives))
    return _Mark(marked, [target > min(positives) for target in negatives])


def _union(own: Rows, best: Rows) -> Rows:
    """Rows of either, each once, `own` first."""
    return np.array(list(dict.fromkeys([*own.tolist(), *best.tolist()])), dtype=np.int64)


def _rows_of(room: Classroom, pairs: Ungraded, rows: Sequence[Pair]) -> list[Rows]:
    """Corpus rows of each pair's positives and negatives."""
    used = list(dict.fromkeys(doc for pair in rows for doc in (*pair.positives, *pair.negatives)))
    there, own = places(room.corpus.ids, used), places(pairs.corpus.ids, used)
    texts = zip(taken(room.documents, there.clip(0)), taken(pairs.corpus.documents(), own), strict=True)
    for doc, row, (text, expected) in zip(used, there.tolist(), texts, strict=True):
        if row < 0 or text != expected:
            found = "is not there" if row < 0 else "has another text there"
            raise DataError(f"pairs: teach scores pairs over the corpus of `data`; document {doc!r} {found}")
    row_of = dict(zip(used, there.tolist(), strict=True))
    return [np.array([row_of[doc] for doc in (*p.positives, *p.negatives)], dtype=np.int64) for p in rows]


def _table(rows: Sequence[Pair]) -> pa.Table:
    return pair_columns({f.name: pa.array([getattr(row, f.name) for row in rows], f.type) for f in PAIRS})


def _stats(
    room: Classroom, outcome: Rerank, targets: Sequence[Path], *, queries: int, counts: Mapping[str, int]
) -> dict[str, Any]:
    found = {
        name: np.concatenate([pq.read_table(path)[name].combine_chunks().flatten().to_numpy() for path in targets])
        for name in _TARGETS
    }
    above, negatives = counts["negatives_above_positive"], len(found["negative_targets"])
    share, dropped = above / max(negatives, 1), above if room.spec.drop_above_positive else 0
    return {
        "summary": [
            room.told(outcome),
            f"{above:,} of {negatives:,} negatives ({share:.1%}) score above their query's positive"
            + (f"; {dropped:,} dropped" if dropped else ""),
        ],
        "counts": {"queries": queries, **counts, "negatives": negatives, "negatives_dropped": dropped},
        "rerank": {"depth": room.spec.depth, "split": room.spec.split, **outcome.stats(room.labels)},
        "above_positive": share,
        "histograms": histograms(found),
        "warnings": list(warnings_of(outcome, share, drops=room.spec.drop_above_positive)),
    }
