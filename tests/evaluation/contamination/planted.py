"""Training pairs and a task of random words, with overlaps of every sort put in on purpose."""

import json
import random
from pathlib import Path

from embedkit.core.dataset import Dataset, write_dataset
from embedkit.core.pairs import Pair, Pairs, write_pairs
from embedkit.core.records import Corpus, Queries

VOCABULARY = [f"w{i}" for i in range(4000)]
RANDOM = random.Random(0)


def text(words: int) -> str:
    """Random words: two such texts share no run of three."""
    return " ".join(RANDOM.choices(VOCABULARY, k=words))


QUERIES = [text(8) for _ in range(30)]
LONG_QUERY = text(20)
DOCUMENTS = [text(60) for _ in range(60)]
INSIDE = text(40)  # a relevant document that lies inside a training document
RELEVANT = 30  # documents d0 ... d29 answer queries q0 ... q29

TASK = Dataset(
    Corpus(
        [f"d{i}" for i in range(63)],
        ["", *[""] * 62],
        [*DOCUMENTS, INSIDE, "", "  ?!"],
    ),
    Queries([*(f"q{i}" for i in range(31)), "empty", "unjudged"], [*QUERIES, LONG_QUERY, " ", text(8)]),
    {
        "test": {
            **{f"q{i}": {f"d{i}": 1, "d59": 0} for i in range(30)},
            "q30": {"d60": 2},
            "empty": {"d61": 1, "d62": 1},
        }
    },
)

TRAIN = Pairs(
    Corpus(
        [f"t{i}" for i in range(12)],
        [""] * 6 + ["", "Title:"] + [""] * 4,
        [
            DOCUMENTS[0].upper(),  # t0 is d0
            f"{DOCUMENTS[1]} and",  # t1 is nearly d1
            f"{text(30)} {INSIDE} {text(9)}",  # t2 has d60 inside
            " ".join(DOCUMENTS[3].split()[10:40]),  # t3 is inside d3
            DOCUMENTS[40],  # t4 is d40, relevant to nothing
            text(60),
            "",  # t6 is empty, as d61 is
            text(50),
            QUERIES[5],  # t8 is a document with the text of q5
            text(60),
            DOCUMENTS[50],  # t10 is d50, but no row names it
            " ".join(DOCUMENTS[7].split()[:9]),  # t11 is too short to be looked for inside d7
        ],
    ),
    Queries(
        [f"p{i}" for i in range(9)],
        [
            QUERIES[0].title(),  # p0 is q0, and t0 is relevant to it
            f"{QUERIES[1]}?",  # p1 is q1 but for a question mark: nearly
            text(8),
            f"{text(5)} {LONG_QUERY}",  # p3 has q30 inside
            text(8),
            "",
            QUERIES[6],  # p6 is q6, but no row names it
            QUERIES[2],  # p7 is q2, with another answer
            text(8),
        ],
    ),
    [
        Pair("p0", ("t0", "t5"), known=("t0", "t5"), negatives=("t9", "t4"), negative_scores=(0.5, 0.25)),
        Pair("p1", ("t1",), known=("t1",), negatives=("t5",), negative_scores=(0.5,)),
        Pair("p2", ("t5", "t1"), known=("t1", "t5"), positive_scores=(0.75, 0.5), negatives=("t0", "t9", "t7")),
        Pair("p3", ("t2",), known=("t2",), negatives=("t7",), negative_ranks=(3,)),
        Pair("p4", ("t3",), known=("t3",), negatives=("t6", "t11")),
        Pair("p5", ("t6", "t7"), known=("t6", "t7")),
        Pair("p7", ("t8", "t9"), known=("t8", "t9")),
        Pair("p8", ("t9",), known=("t9", "t2"), suspects=("t3", "t4"), negatives=("t7",), fills=("t7",)),
    ],
)


def write_train(folder: Path) -> Path:
    """TRAIN as a folder of pairs."""
    folder.mkdir(parents=True)
    write_pairs(folder, TRAIN)
    return folder


def write_task(folder: Path) -> Path:
    """TASK as a dataset artifact."""
    folder.mkdir(parents=True)
    write_dataset(folder, TASK)
    return folder


def write_beir(folder: Path, dataset: Dataset = TASK) -> Path:
    """A dataset as a BEIR folder; without queries that have no text, which its reader refuses."""
    (folder / "qrels").mkdir(parents=True)
    corpus, queries = dataset.corpus, dataset.queries
    documents = zip(corpus.ids, corpus.titles, corpus.texts, strict=True)
    asked = [(id_, text) for id_, text in zip(queries.ids, queries.texts, strict=True) if text.strip()]
    _lines(folder / "corpus.jsonl", [{"_id": i, "title": title, "text": text} for i, title, text in documents])
    _lines(folder / "queries.jsonl", [{"_id": id_, "text": text} for id_, text in asked])
    for split, qrels in dataset.qrels.items():
        known = {id_ for id_, _ in asked}
        rows = [f"{q}\t{d}\t{grade}\n" for q, docs in qrels.items() if q in known for d, grade in docs.items()]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return folder


def _lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
