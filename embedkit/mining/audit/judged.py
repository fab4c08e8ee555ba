"""How many negatives are false, by a random sample of them that someone judged."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import DataError, first_few
from embedkit.core.store import check_outside, write_atomically
from embedkit.mining.audit.draws import negatives_at, with_texts
from embedkit.mining.audit.proportions import exact_interval, told
from embedkit.mining.audit.tables import Doubles, pair_blocks

STRATA: Final = 4  # of about equal size, by score; one more for negatives without a score
COLUMNS: Final = ("query_id", "doc_id", "relevance", "score", "rank", "query", "positive", "negative")
_Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Strata:
    """All negatives of a mined set by score: the hard ones are false more often, and a sample must have its share."""

    edges: Doubles  # (STRATA - 1,)
    sizes: _Codes  # (STRATA + 1,)
    codes: NDArray[np.int8]  # of each negative, in the order of the file

    @staticmethod
    def of(folder: Path) -> "Strata":
        """Read the scores of all negatives: 5 bytes each are held."""
        parts = [block.scores("negative").astype(np.float32) for block in pair_blocks(folder)]
        scores = np.concatenate([*parts, np.empty(0, dtype=np.float32)])
        finite = scores[np.isfinite(scores)]
        quantiles = np.arange(1, STRATA) / STRATA
        edges = np.quantile(finite, quantiles).astype(np.float64) if len(finite) else np.zeros(STRATA - 1)
        codes = np.where(np.isfinite(scores), np.searchsorted(edges, scores.astype(np.float64), side="right"), STRATA)
        return Strata(edges, np.bincount(codes, minlength=STRATA + 1), codes.astype(np.int8))

    def shares(self, count: int) -> list[int]:
        """How many of `count` draws each stratum gets: its share, the rest to those with the largest remainders."""
        exact = count * self.sizes / self.sizes.sum()
        whole = np.floor(exact).astype(np.int64)
        order = np.argsort(whole - exact, kind="stable")
        whole[order[: count - int(whole.sum())]] += 1
        return [int(n) for n in np.minimum(whole, self.sizes)]


def write_sample(folder: Path, count: int, to: Path, *, seed: int = 0) -> int:
    """Write `count` random negatives with their texts to a TSV file, `relevance` left blank, in random order; the same
    seed gives the same file. A negative that a fill repeats stands in it once. How many were written. Raises
    `DataError` if there are none or `to` is there already."""
    if to.exists():
        raise DataError(f"{to}: is there already; judgements may be in it")
    check_outside(to, folder)
    strata, rng = Strata.of(folder), np.random.default_rng(seed)
    total = len(strata.codes)
    if not total:
        raise DataError(f"{folder}: no query has a negative; there is nothing to judge")
    places = [
        rng.choice(np.flatnonzero(strata.codes == stratum), n, replace=False)
        for stratum, n in enumerate(strata.shares(min(count, total)))
    ]
    drawn = {(d.query_id, d.doc_id): d for d in negatives_at(folder, np.sort(np.concatenate(places)))}  # repeats once
    rows = with_texts(folder, [*drawn.values()], long=None)
    if broken := [row for row in rows if any(c in row["query_id"] + row["doc_id"] for c in "\t\r\n")]:
        raise DataError(
            f"{folder}: id {broken[0]['doc_id']!r} or {broken[0]['query_id']!r} would break a line of a TSV file"
        )
    order = rng.permutation(len(rows))
    lines = [COLUMNS, *(_line(rows[i]) for i in order)]
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to, "".join("\t".join(line) + "\n" for line in lines))
    return len(rows)


def judged_estimate(folder: Path, file: Path) -> dict[str, Any]:
    """The share of false negatives by the judgements in `file`, a sample that `write_sample` wrote for this folder.

    Each stratum counts by its size, p = Σ W_h p_h; the interval is the exact one of as many draws as a simple random
    sample needs for the variance of p, n* = p (1 - p) / Σ W_h² p_h (1 - p_h) / n_h, but never of more than were made
    (Korn and Graubard, see `proportions`). If a stratum has no judgement, all are taken for one. Raises `DataError` if
    the file cannot be read or a row is no negative of this set.
    """
    judged, blank = _read(file)
    strata = Strata.of(folder)
    n, hits = _by_stratum(folder, file, judged, strata)
    rows = [
        {
            "negatives": int(size),
            "judged": int(a),
            "relevant": int(b),
            **told(b / a if a else 0.0, exact_interval(b, a)),
        }
        for size, a, b in zip(strata.sizes, n, hits, strict=True)
        if size
    ]
    found = stratified_share(strata.sizes, n, hits)
    counts = {"judged": int(n.sum()), "blank": blank, "relevant": int(hits.sum())}
    return {**counts, "rate": found, "strata": rows, "edges": strata.edges.tolist()}


def stratified_share(sizes: _Codes, n: _Codes, hits: _Codes) -> dict[str, Any]:
    """A share in a population by a sample of each stratum: see `judged_estimate`."""
    used = sizes > 0
    if (n[used] == 0).any():
        sizes, n, hits, used = sizes.sum(keepdims=True), n.sum(keepdims=True), hits.sum(keepdims=True), np.array([True])
    weights = sizes[used] / sizes[used].sum()
    total, shares = int(n.sum()), hits[used] / np.maximum(n[used], 1)
    if not total:
        return told(0.0, (0.0, 1.0))
    share = float((weights * shares).sum())
    variance = float((weights**2 * shares * (1 - shares) / n[used]).sum())
    effective = min(float(total), share * (1 - share) / variance) if variance > 0 else float(total)
    return told(share, exact_interval(share * effective, effective))


def _by_stratum(
    folder: Path, file: Path, judged: Mapping[tuple[str, str], bool], strata: Strata
) -> tuple[_Codes, _Codes]:
    """(STRATA + 1,) judged negatives and relevant ones among them."""
    n, hits = (np.zeros(STRATA + 1, dtype=np.int64) for _ in range(2))
    left, queries = dict(judged), {query for query, _ in judged}
    first = 0
    for block in pair_blocks(folder):
        negatives, at = block.lists["negatives"], block.lists["negatives"].lengths.cumsum()
        for row, query in enumerate(block.query_ids.to_pylist()):
            if query in queries:
                start = int(at[row] - negatives.lengths[row])
                for place, doc in enumerate(negatives.of(row), start):
                    relevant = left.pop((query, doc), None)
                    if relevant is not None:
                        n[strata.codes[first + place]] += 1
                        hits[strata.codes[first + place]] += relevant
        first += len(negatives.values)
    if left:
        wrong = [
            f"{file}: {doc!r} is no negative of {query!r} in {folder}; judge a sample of this set"
            for query, doc in left
        ]
        raise DataError(*first_few(wrong, limit=3))
    return n, hits


def _read(file: Path) -> tuple[dict[tuple[str, str], bool], int]:
    """(query, document) -> whether it is relevant, and how many rows are not judged."""
    judged, blank, problems = dict[tuple[str, str], bool](), 0, list[str]()
    for number, row in _rows(file):
        key, value = (row["query_id"], row["doc_id"]), row.get("relevance", "").strip()
        grade = _grade(value)
        if not value:
            blank += 1
        elif grade is None:
            problems.append(f"{file}:{number}: relevance is {value!r}; a number is right, 0 for not relevant")
        elif key in judged:
            problems.append(f"{file}:{number}: query {key[0]!r} and document {key[1]!r} were judged before")
        else:
            judged[key] = grade > 0
    if problems:
        raise DataError(*first_few(problems))
    if not judged:
        raise DataError(f"{file}: no row is judged; write 1 (relevant) or 0 into its column relevance")
    return judged, blank


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    head, *lines = (line.removesuffix("\r").split("\t") for line in text.split("\n"))
    if missing := [name for name in COLUMNS[:3] if name not in head]:
        raise DataError(f"{file}:1: has no column {missing[0]!r}; query_id, doc_id, relevance are needed, tabs between")
    for number, values in enumerate(lines, 2):
        if values == [""]:
            continue
        row = dict(zip(head, values, strict=False))
        if missing := [name for name in COLUMNS[:2] if name not in row]:
            raise DataError(f"{file}:{number}: has no {missing[0]!r}; the line breaks off before it")
        yield number, row


def _grade(value: str) -> float | None:
    try:
        grade = float(value)
    except ValueError:
        return None
    return grade if math.isfinite(grade) else None


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    score, rank = row["score"], row["rank"]
    values = ("" if score is None else f"{score:.4f}", "" if rank is None else str(rank))
    return (row["query_id"], row["doc_id"], "", *values, row["query_text"], row["positive_text"], row["negative_text"])
