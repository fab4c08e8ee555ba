"""Negatives whose text is that of a positive, or of the query itself: none should be."""

from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.columns import Strings, places
from embedkit.core.progress import Progress, silent
from embedkit.core.text import normalised
from embedkit.mining.audit.tables import PairBlock, document_ids, pair_blocks, texts

_EXAMPLES: Final = 5
Digests = NDArray[np.uint64]


def same_texts(folder: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """How many negatives are a known positive of their query, have the text of one, or the query's own."""
    doc_ids = document_ids(folder)
    with progress("read texts", None):
        documents, (query_ids, queries) = _digests(folder, "corpus")[1], _digests(folder, "queries")
    counts = {"known_positive": 0, "same_as_positive": 0, "same_as_query": 0}
    examples = list[dict[str, str]]()
    for block in pair_blocks(folder):
        own = queries[places(query_ids, Strings(block.query_ids.cast("string")))]
        rows = {name: _rows(block, name, doc_ids) for name in ("positives", "known", "negatives")}
        at = {name: block.lists[name].queries() for name in rows}
        judged = np.concatenate([rows["positives"], rows["known"]]), np.concatenate([at["positives"], at["known"]])
        negatives = documents[rows["negatives"]]
        known = _among(rows["negatives"].astype(np.uint64), at["negatives"], judged[0].astype(np.uint64), judged[1])
        alike = _among(negatives, at["negatives"], documents[judged[0]], judged[1]) & ~known
        asked = (negatives == own[at["negatives"]]) & ~known & ~alike
        for name, mask in zip(counts, (known, alike, asked), strict=True):
            counts[name] += int(mask.sum())
            for place in np.flatnonzero(mask)[: _EXAMPLES - len(examples)].tolist():
                doc, query = (
                    block.lists["negatives"].values[place].as_py(),
                    block.query_ids[int(at["negatives"][place])],
                )
                examples.append({"query_id": query.as_py(), "doc_id": doc, "why": name})
    return {**counts, "examples": examples}


def _digests(folder: Path, table: str) -> tuple[list[str], Digests]:
    """Ids (queries' only) and 8-byte digests of all texts."""
    ids, found = list[str](), list[Digests]()
    for some, bodies in texts(folder, table):
        ids += some if table == "queries" else []
        found.append(np.fromiter(map(_digest, bodies), dtype=np.uint64, count=len(bodies)))
    return ids, np.concatenate([*found, np.empty(0, dtype=np.uint64)])


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(normalised(text).encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def _rows(block: PairBlock, name: str, doc_ids: Strings) -> NDArray[np.int64]:
    return places(doc_ids, Strings(block.lists[name].values.cast("string")))


def _among(values: Digests, at: NDArray[np.int64], others: Digests, others_at: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each value is one of its own query's others."""
    distinct, codes = np.unique(np.concatenate([values, others]), return_inverse=True)
    keys = np.concatenate([at, others_at]) * len(distinct) + codes
    found: NDArray[np.bool_] = np.isin(keys[: len(values)], keys[len(values) :])
    return found
