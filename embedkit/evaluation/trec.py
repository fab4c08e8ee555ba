"""Runs and judgements in the text formats of TREC, which BM25 engines, rerankers and trec_eval share.

    run      query_id Q0 doc_id rank score tag    columns apart by white space, so that ids can hold none
    qrels    query_id 0 doc_id relevance          or BEIR's: query-id, corpus-id, score, apart by tabs, with a header

Scores decide the ranking and the rank column is ignored, as by trec_eval. Files whose names end in .gz are unpacked.
Reference: https://github.com/usnistgov/trec_eval
"""

import gzip
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np

from embedkit.core.errors import DataError
from embedkit.core.records import Qrels
from embedkit.measures.ranking import Run, ranked

_RUN: Final = "query_id Q0 doc_id rank score tag"
_QRELS: Final = "query_id 0 doc_id relevance"
_BEIR: Final = "query-id corpus-id score, apart by tabs"
_MOST: Final = 10_000  # relevance, either way: trec_eval counts documents level by level, in an array as long
_SHOWN: Final = 60  # characters of a bad word
_SPACE: Final = frozenset(" \t\n\r\x0b\x0c")  # what C calls white space, and trec_eval splits at


@dataclass(frozen=True)
class TrecRun:
    """A run, and what is odd about its file without being wrong."""

    run: Run
    notes: tuple[str, ...] = ()


def read_run(path: Path, *, ignore_identical_ids: bool = False) -> TrecRun:
    """Read a run; with `ignore_identical_ids`, without documents that have their query's id, for tasks whose queries
    are documents of the corpus. Raises `DataError` with file and line at the first row that is wrong."""
    run: Run = {}
    before: dict[str, tuple[int, float]] = {}
    contradicted: set[str] = set()
    identical = 0
    for place, words in _lines(path):
        if len(words) != 6:
            raise DataError(f"{place}: has {len(words)} columns; expected 6: {_RUN} (ids cannot hold spaces)")
        query, _, doc, rank_word, score_word, _ = words
        rank, score = _whole(rank_word, place, "rank"), _score(score_word, place)
        if doc in run.setdefault(query, {}):
            raise DataError(f"{place}: document {_shown(doc)} stands twice in query {_shown(query)}")
        last_rank, last_score = before.get(query, (rank, score))
        if rank != last_rank and score != last_score and (rank > last_rank) == (score > last_score):
            contradicted.add(query)
        before[query] = rank, score
        if ignore_identical_ids and doc == query:
            identical += 1
            continue
        run[query][doc] = score
    if not run:
        raise DataError(f"{path}: holds no rows; expected {_RUN}")
    return TrecRun(run, tuple(_notes(path, run, len(contradicted), identical)))


def read_qrels(path: Path) -> Qrels:
    """Read judgements, TREC's or BEIR's. Raises `DataError` with file and line at the first row that is wrong."""
    qrels: Qrels = {}
    beir = _is_beir(path)
    for row, (place, words) in enumerate(_lines(path, tabs=beir)):
        if len(words) != (3 if beir else 4):
            wanted = f"3: {_BEIR}" if beir else f"4: {_QRELS}; or 3 with a header: {_BEIR}"
            raise DataError(f"{place}: has {len(words)} columns; expected {wanted}")
        if beir and not row and words[2] == "score":
            continue
        query, doc = words[0], words[1 if beir else 2]
        relevance = _whole(words[-1], place, "relevance")
        if abs(relevance) > _MOST:
            raise DataError(f"{place}: relevance is {_shown(words[-1])}; expected -{_MOST:,} to {_MOST:,}")
        if qrels.setdefault(query, {}).setdefault(doc, relevance) != relevance:
            raise DataError(
                f"{place}: document {_shown(doc)} is judged {relevance} for query {_shown(query)}, before it was "
                f"{qrels[query][doc]}; expected one judgement"
            )
    if not qrels:
        raise DataError(f"{path}: holds no judgements; expected {_QRELS}")
    return qrels


def write_run(
    path: Path,
    run: Mapping[str, Mapping[str, float]] | Iterable[tuple[str, Mapping[str, float]]],
    *,
    tag: str,
    depth: int = 1000,
) -> None:
    """Write the first `depth` documents of every query, a query at a time. The same run gives the same bytes, and
    scores are read back as they were. Raises `DataError` on ids and tags that the format cannot hold."""
    queries = run.items() if isinstance(run, Mapping) else run
    _write(path, _run_lines(path, queries, _held(path, "tag", tag), depth))


def write_qrels(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgements in TREC's format. Raises `DataError` on ids that it cannot hold."""
    _write(path, _qrels_lines(path, qrels))


def _run_lines(path: Path, queries: Iterable[tuple[str, Mapping[str, float]]], tag: str, depth: int) -> Iterator[str]:
    for query, documents in queries:
        named = _held(path, "query id", query)
        for rank, doc in enumerate(ranked(documents)[:depth], start=1):
            score = float(documents[doc])
            if not math.isfinite(score):
                raise DataError(f"{path}: the score of document {doc!r} in query {query!r} is {score}")
            yield f"{named} Q0 {_held(path, 'document id', doc)} {rank} {score!r} {tag}\n"


def _qrels_lines(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for query, documents in qrels.items():
        named = _held(path, "query id", query)
        for doc, relevance in documents.items():
            yield f"{named} 0 {_held(path, 'document id', doc)} {relevance}\n"


def _held(path: Path, what: str, word: str) -> str:
    if not word or _SPACE & {*word}:
        raise DataError(
            f"{path}: {what} {_shown(word)} cannot be written: TREC's format has its columns apart by spaces, so that "
            "ids hold none and are not empty"
        )
    return word


def _write(path: Path, lines: Iterator[str]) -> None:
    """A reader finds the old file or the whole new one; what cannot be written leaves nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _is_beir(path: Path) -> bool:
    return next((len(words) == 3 for _, words in _lines(path, tabs=True)), False)


def _lines(path: Path, *, tabs: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Place and words of every line that is not blank."""
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; expected a text file of TREC's")
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    whole = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                    words = whole.rstrip(b"\r\n").split(b"\t") if tabs else whole.split()
                    yield f"{path}:{number}", [_decoded(word, path, number) for word in words]
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path}: cannot be unpacked ({error})") from None


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _decoded(word: bytes, path: Path, number: int) -> str:
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{path}:{number}: {word[:_SHOWN]!r} is not UTF-8 text") from None


def _whole(word: str, place: str, what: str) -> int:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise DataError(f"{place}: {what} is {_shown(word)}; expected a whole number")
    return int(value)


def _score(word: str, place: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{place}: score is {_shown(word)}; expected a finite number")
    return value


def _shown(word: str) -> str:
    return repr(word) if len(word) <= _SHOWN else f"{word[:_SHOWN]!r}..."


def _notes(path: Path, run: Run, contradicted: int, identical: int) -> Iterator[str]:
    if contradicted:
        yield f"{path}: in {contradicted:,} queries the ranks contradict the scores; scores decide, as in trec_eval"
    if identical:
        yield f"{path}: {identical:,} documents that have their query's id are left out"
    if merged := sum(_merges(documents) for documents in run.values()):
        yield (
            f"{path}: in {merged:,} queries scores differ by less than single precision holds; trec_eval and mteb take "
            "them for equal in all metrics but MRR, and rank them by id"
        )


def _merges(documents: Mapping[str, float]) -> bool:
    """Whether rounding to single precision, as trec_eval does, makes two different scores one."""
    scores = np.unique(np.fromiter(documents.values(), dtype=np.float64, count=len(documents)))
    with np.errstate(over="ignore"):
        return len(np.unique(scores.astype(np.float32))) < len(scores)
