"""A part of a BEIR folder that two CPU cores can train on, and its judgements seen from the documents."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from embedkit.core.text import document_text


def write_subset(data: Path, documents: int, out: Path) -> None:
    """Write `out`, a BEIR folder: all documents that dev and test queries need, others by a hash, and their queries."""
    judged = {split: list(_judgements(data / "qrels" / f"{split}.tsv")) for split in ("train", "dev", "test")}
    corpus = {row["_id"]: row for row in _rows(data / "corpus.jsonl")}
    needed = {document for split in ("dev", "test") for _, document, _ in judged[split]}
    others = sorted(corpus.keys() - needed, key=lambda name: sha256(name.encode()).hexdigest())
    kept = {*needed, *others[: max(documents - len(needed), 0)]}
    judged = {split: [entry for entry in found if entry[1] in kept] for split, found in judged.items()}
    asked = {query for found in judged.values() for query, _, _ in found}
    _write(out / "corpus.jsonl", (row for name, row in corpus.items() if name in kept))
    _write(out / "queries.jsonl", (row for row in _rows(data / "queries.jsonl") if row["_id"] in asked))
    for split, found in judged.items():
        lines = ("\t".join(entry) for entry in (("query-id", "corpus-id", "score"), *found))
        _write_text(out / "qrels" / f"{split}.tsv", lines)


def write_turned(data: Path, path: Path) -> None:
    """Write `path`, JSONL: each document with the train queries it is relevant to, as a query with its positives.

    Train queries of the text of a dev or test query are left out.
    """
    texts = {row["_id"]: row["text"] for row in _rows(data / "queries.jsonl")}
    held_out = {
        texts[query] for split in ("dev", "test") for query, _, _ in _judgements(data / "qrels" / f"{split}.tsv")
    }
    positives: dict[str, list[str]] = defaultdict(list)
    for query, document, relevance in _judgements(data / "qrels" / "train.tsv"):
        if float(relevance) > 0 and texts[query] not in held_out:
            positives[document].append(texts[query])
    rows = (
        {"query": document_text(row.get("title", ""), row["text"]), "positive": positives[row["_id"]]}
        for row in _rows(data / "corpus.jsonl")
        if row["_id"] in positives
    )
    _write(path, rows)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _judgements(path: Path) -> Iterator[tuple[str, str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, relevance = line.split("\t")
        yield query, document, relevance


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    _write_text(path, (json.dumps(row, ensure_ascii=False) for row in rows))


def _write_text(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
