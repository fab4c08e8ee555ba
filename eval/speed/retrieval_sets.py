"""Retrieval sets in BEIR's layout: a part of a real one, or one that is made up, with a model that suits it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

VOCABULARY: Final = 20_000
WORDS: Final = 12  # in a document
ASKED: Final = 2  # of them in its query
QUERIES: Final = 1000
DIMS: Final = 384
_AT_A_TIME: Final = 8192


def drawn(source: Path, folder: Path, count: int) -> None:
    """The test split of the set in `source`: its judged documents and random others, `count` in all (0: every one)."""
    (folder / "qrels").mkdir(parents=True)
    shutil.copyfile(source / "qrels" / "test.tsv", folder / "qrels" / "test.tsv")
    judged = {line.split("\t")[1] for line in (source / "qrels" / "test.tsv").read_text().splitlines()[1:]}
    asked = {line.split("\t")[0] for line in (source / "qrels" / "test.tsv").read_text().splitlines()[1:]}
    with (source / "queries.jsonl").open(encoding="utf-8") as lines:
        _write(folder / "queries.jsonl", (row for row in map(json.loads, lines) if row["_id"] in asked))
    with (source / "corpus.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    others = [at for at, row in enumerate(rows) if row["_id"] not in judged]
    wanted = len(others) if not count else max(0, count - (len(rows) - len(others)))
    kept = set(np.random.default_rng(0).choice(others, min(wanted, len(others)), replace=False).tolist())
    _write(folder / "corpus.jsonl", (row for at, row in enumerate(rows) if row["_id"] in judged or at in kept))


def made_up(folder: Path, count: int) -> None:
    """`count` documents of random words, and queries of some words of one document each, which alone is relevant."""
    (folder / "qrels").mkdir(parents=True)
    _write(folder / "corpus.jsonl", _documents(count))
    asked = np.sort(np.random.default_rng(1).choice(count, QUERIES, replace=False)).tolist()
    texts = {row["_id"]: row["text"] for row in _documents(count) if int(row["_id"][1:]) in set(asked)}
    queries = [{"_id": f"q{at}", "text": " ".join(texts[f"d{at}"].split()[:ASKED])} for at in asked]
    _write(folder / "queries.jsonl", iter(queries))
    lines = ["query-id\tcorpus-id\tscore", *(f"q{at}\td{at}\t1" for at in asked)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def looked_up(folder: Path) -> None:
    """A model that gives a text the mean of its words' random vectors: almost no arithmetic."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    words = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer: Any = Tokenizer(WordLevel({**words, "[UNK]": VOCABULARY}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    weights = np.random.default_rng(2).standard_normal((VOCABULARY + 1, DIMS), dtype=np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu").save_pretrained(
        str(folder), create_model_card=False
    )


def _documents(count: int) -> Iterator[dict[str, str]]:
    for start in range(0, count, _AT_A_TIME):
        rows = range(start, min(start + _AT_A_TIME, count))
        drawn = np.random.default_rng([3, start]).integers(0, VOCABULARY, (len(rows), WORDS))
        for row, words in zip(rows, drawn.tolist(), strict=True):
            yield {"_id": f"d{row}", "title": "", "text": " ".join(f"w{word}" for word in words)}


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
