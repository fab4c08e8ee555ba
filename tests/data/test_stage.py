import json

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from embedkit.core.dataset import read_dataset
from embedkit.core.errors import DataError
from embedkit.core.pairs import read_pair_rows, read_pairs
from embedkit.core.stage import Artifact
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.core.text import document_text, normalised
from embedkit.data.stage import Data, Weak
from tests.tiny import build_tiny_beir, write_jsonl


def data(**fields) -> Data:
    return Data.model_validate({"kind": "data", **fields})


def weak(**fields) -> Weak:
    return Weak.model_validate({"kind": "weak", "data": "d", "seed": 1, "pairs": [{"kind": "crops"}], **fields})


def run(stage, folder, context, inputs=None):
    folder.mkdir()
    stage.run(inputs or {}, folder, context)
    return folder


@pytest.fixture
def source(tmp_path):
    return {"kind": "beir", "path": build_tiny_beir(tmp_path / "beir")}


def spoil(folder) -> None:
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "bad", "text": ""}\n{"_id": "worse", "text": "\\ud800é"}\n')


def test_a_dataset_is_written_with_its_train_pairs(tmp_path, context, source):
    out = run(data(source=source), tmp_path / "out", context)
    dataset = read_dataset(out)
    assert {s: len(q) for s, q in dataset.qrels.items()} == {"train": 72, "dev": 24, "test": 24}
    assert [row.query_id for row in read_pair_rows(out)] == list(dataset.qrels["train"])
    stats = read_stats(out)
    assert stats["counts"]["documents"] == 60
    assert stats["counts"]["train_queries"] == 72
    assert stats["warnings"] == []
    assert not (out / "rejects.jsonl").exists()


def test_the_same_source_gives_the_same_bytes(tmp_path, context, source):
    spoil(source["path"])
    stage = data(source={**source, "on_bad_row": "drop"}, near_duplicates=0.3)
    first, second = (run(stage, tmp_path / name, context) for name in ("one", "two"))
    assert digests(first) == digests(second)
    inputs = {"d": Artifact("d" * 64, first)}
    pairs = [{"kind": "title_body"}, {"kind": "crops", "per_document": 2}]
    made = [run(weak(pairs=pairs), tmp_path / f"weak{i}", context, inputs) for i in range(2)]
    assert digests(made[0]) == digests(made[1])
    other = run(weak(pairs=pairs, seed=2), tmp_path / "other", context, inputs)
    assert digests(other)["corpus.parquet"] != digests(made[0])["corpus.parquet"]


def test_bad_rows_fail_the_stage_with_nothing_written_or_are_kept_apart(tmp_path, context, source):
    spoil(source["path"])
    with pytest.raises(DataError) as error:
        run(data(source=source), tmp_path / "failed", context)
    assert [p.split("/")[-1].split(": ")[0] for p in error.value.problems] == ["corpus.jsonl:61", "corpus.jsonl:62"]
    assert not list((tmp_path / "failed").iterdir())
    out = run(data(source={**source, "on_bad_row": "drop"}), tmp_path / "out", context)
    rows = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rows] == ["corpus.jsonl:61", "corpus.jsonl:62"]
    assert rows[0]["row"] == {"_id": "bad", "text": ""}
    assert rows[1]["row"]["text"] == "\ud800é"
    assert read_stats(out)["counts"]["rejected_rows"] == 2
    assert "2 bad rows were dropped; see rejects.jsonl" in read_stats(out)["warnings"]
    assert str(tmp_path) not in (out / "rejects.jsonl").read_text()


def test_what_was_merged_and_what_leaked_is_written(tmp_path, context, source):
    folder = source["path"]
    document = json.loads((folder / "corpus.jsonl").read_text().splitlines()[0])
    with (folder / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({**document, "_id": "copy", "text": document["text"].upper()}) + "\n")
    query = json.loads((folder / "queries.jsonl").read_text().splitlines()[0])
    with (folder / "queries.jsonl").open("a") as file:
        file.write(json.dumps({**query, "_id": "leak"}) + "\n")
    with (folder / "qrels" / "train.tsv").open("a") as file:
        file.write("leak\td0\t1\nq2-0\tcopy\t1\n")
    out = run(data(source=source), tmp_path / "out", context)
    rows = pq.read_table(out / "aliases.parquet").to_pylist()
    assert [(r["role"], r["removed"], r["kept"], r["why"], r["split"], r["kept_split"]) for r in rows] == [
        ("document", "copy", "d0", "exact", "", ""), ("query", "leak", query["_id"], "exact", "train", "test"),
    ]  # fmt: skip
    dataset = read_dataset(out)
    assert "leak" not in dataset.queries.ids
    assert dataset.qrels["train"]["q2-0"] == {"d2": 1, "d0": 1}
    assert read_stats(out)["leaks"] == [{"from": "train", "also_in": "test", "why": "exact", "queries": 1}]


def test_given_negatives_are_those_of_the_pair(tmp_path, context):
    row = {"query": "q", "positive": ["a", "b"], "negative": "no"}
    write_jsonl(tmp_path / "pairs.jsonl", [row, {"query": "r", "positive": "no", "negative": []}])
    source = {"kind": "jsonl", "path": tmp_path / "pairs.jsonl", "columns": {"negative": "negative"}}
    out = run(data(source=source), tmp_path / "out", context)
    texts = read_pairs(out).document_texts()
    rows = read_pair_rows(out)
    assert [[texts[d] for d in row.negatives] for row in rows] == [["no"], []]
    assert {texts[d] for d in rows[0].known} == {"a", "b"}
    assert "there is no test split" in read_stats(out)["warnings"]


def test_splits_are_held_out_and_estimated(tmp_path, context):
    write_jsonl(tmp_path / "pairs.jsonl", [{"query": f"q{i}", "positive": f"d{i}"} for i in range(50)])
    source = {"kind": "jsonl", "path": tmp_path / "pairs.jsonl"}
    stage = data(source=source, test={"share": 0.2, "seed": 1}, dev={"share": 0.1, "seed": 1})
    out = run(stage, tmp_path / "out", context)
    found = {split: len(qrels) for split, qrels in read_dataset(out).qrels.items()}
    assert found == {"train": 36, "dev": 4, "test": 10}
    size = stage.estimate({}).size
    assert {"train": size.pairs, **size.held_out} == found


def test_a_source_without_a_judged_query_is_an_error(tmp_path, context, source):
    for path in (source["path"] / "qrels").iterdir():
        path.write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(DataError) as error:
        run(data(source=source), tmp_path / "out", context)
    assert str(error.value) == f"{source['path']}: no document with a judged query; expected at least one"


def test_a_seed_below_zero_is_refused():
    with pytest.raises(ValidationError, match="seed"):
        weak(seed=-1)
    with pytest.raises(ValidationError, match="seed"):
        data(source={"kind": "beir", "path": "x"}, dev={"seed": -1})


def test_weak_pairs_have_a_corpus_of_their_own(tmp_path, context, tiny_dataset):
    pairs = [{"kind": "title_body"}, {"kind": "crops", "per_document": 2, "min_words": 3}]
    out = run(weak(pairs=pairs), tmp_path / "weak", context, {"d": tiny_dataset})
    made = read_pairs(out)
    assert list(made.corpus.ids) == list(made.queries.ids) == [row.query_id for row in made.rows]
    assert len(set(made.corpus.ids)) == len(made.corpus.ids)
    for row in made.rows:
        assert row.positives == (row.query_id,)
        document = row.query_id.split("#")[0]
        assert {i for i in made.corpus.ids if i.startswith(f"{document}#")} <= set(row.known)
    stats = read_stats(out)
    assert stats["counts"]["pairs"] == len(made.rows) == sum(stats["made"].values())
    estimated = weak(pairs=pairs).estimate({"d": data(source={"kind": "beir", "path": tmp_path}).estimate({}).size})
    assert estimated.size.pairs == 0


def test_two_makers_of_one_kind_do_not_share_ids_or_random_numbers(tmp_path, context, tiny_dataset):
    out = run(weak(pairs=[{"kind": "crops"}, {"kind": "crops"}]), tmp_path / "weak", context, {"d": tiny_dataset})
    ids = read_pairs(out).corpus.ids
    assert len(set(ids)) == len(ids)
    texts = read_pairs(out).corpus.texts
    assert texts[: len(texts) // 2] != texts[len(texts) // 2 :]


def test_weak_pairs_never_have_a_held_out_query(tmp_path, context, source):
    folder = source["path"]
    titles = [json.loads(line)["title"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    held = next(q for q in queries if q["_id"] == "q0-0")  # a test query
    held["text"] = titles[0].upper()
    write_jsonl(folder / "queries.jsonl", queries)
    dataset = run(data(source=source), tmp_path / "dataset", context)
    inputs = {"d": Artifact("d" * 64, dataset)}
    maker = {"kind": "title_body", "shared_by": 60}
    kept = run(weak(pairs=[maker], exclude_held_out=False), tmp_path / "kept", context, inputs)
    out = run(weak(pairs=[maker]), tmp_path / "out", context, inputs)
    left_out = titles.count(titles[0])
    assert len(read_pairs(kept).rows) - len(read_pairs(out).rows) == left_out
    assert read_stats(out)["counts"]["equal_to_held_out"] == left_out
    assert normalised(held["text"]) not in {normalised(text) for text in read_pairs(out).queries.texts}


def test_documents_too_short_for_weak_pairs_are_an_error(tmp_path, context, tiny_dataset):
    with pytest.raises(DataError, match="none of the 60 documents gave one"):
        run(weak(pairs=[{"kind": "crops", "min_words": 50}]), tmp_path / "out", context, {"d": tiny_dataset})
    with pytest.raises(ValidationError, match="at least 1 item"):
        weak(pairs=[])


def test_crops_come_from_their_document(tmp_path, context, tiny_dataset):
    out = run(weak(), tmp_path / "weak", context, {"d": tiny_dataset})
    corpus = read_dataset(tiny_dataset.path).corpus
    words = {
        key: set(document_text(title, text).split())
        for key, title, text in zip(corpus.ids, corpus.titles, corpus.texts, strict=True)
    }
    made = read_pairs(out)
    for key, query, positive in zip(made.queries.ids, made.queries.texts, made.corpus.texts, strict=True):
        assert set(query.split()) | set(positive.split()) <= words[key.split("#")[0]]


STS = {"query": "sentence1", "positive": "sentence2", "score": "score"}


def test_scored_pairs_become_pairs_with_targets(tmp_path, context):
    folder = tmp_path / "sts"
    folder.mkdir()
    rows = [
        {"sentence1": "copy a file", "sentence2": "copy files", "score": 4.6},
        {"sentence1": "Copy a file", "sentence2": "remove a disk", "score": 0.2},  # the same query, written otherwise
        {"sentence1": "copy a file", "sentence2": "Copy  files", "score": 4.9},  # the same document
        {"sentence1": "print a page", "sentence2": "remove a disk", "score": 1},
        {"sentence1": "join a group", "sentence2": "list users", "score": 2},  # is in dev
    ]
    write_jsonl(folder / "train.jsonl", rows)
    write_jsonl(folder / "dev.jsonl", [{"sentence1": "join a group", "sentence2": "list keys", "score": 3.5}])
    stage = data(source={"kind": "jsonl", "path": folder, "columns": STS}, near_duplicates=None)
    assert stage.scored
    pairs = read_pairs(run(stage, tmp_path / "out", context))
    assert read_stats(tmp_path / "out")["counts"]["scored_pairs"] == 3
    texts, queries = pairs.document_texts(), pairs.query_texts()
    found = {
        queries[p.query_id]: {texts[d]: s for d, s in zip(p.positives, p.positive_targets, strict=True)}
        for p in pairs.rows
    }
    assert found == {
        "copy a file": {"copy files": pytest.approx(4.9), "remove a disk": pytest.approx(0.2)},
        "print a page": {"remove a disk": 1.0},
    }
    assert all(pair.known == pair.positives and not pair.negatives for pair in pairs.rows)
    assert [list(docs.values()) for docs in read_dataset(tmp_path / "out").qrels["dev"].values()] == [[4]]
    assert not data(source={"kind": "jsonl", "path": folder}).scored


def test_classes_stay_with_their_texts(tmp_path, context, source):
    for name in ("corpus", "queries"):
        path = source["path"] / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        write_jsonl(path, [{**row, "topic": f"about {row['_id']}"} for row in [rows[3] | {"_id": "twin"}, *rows]])
    out = run(data(source={**source, "class_field": "topic"}), tmp_path / "out", context)
    dataset = read_dataset(out)
    assert "d3" not in dataset.corpus.ids  # its twin is in its place
    assert read_stats(out)["counts"]["texts_with_a_class"] == len(dataset.corpus) + len(dataset.queries)
    assert list(dataset.corpus.classes) == [f"about {key}" for key in dataset.corpus.ids]
    assert list(dataset.queries.classes) == [f"about {key}" for key in dataset.queries.ids]


def test_metadata_stays_with_its_text_through_cleaning_and_splits(tmp_path, context, source):
    for name in ("corpus", "queries"):
        path = source["path"] / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        first = rows[3] | {"_id": "twin"}
        write_jsonl(path, [{**row, "url": f"of {row['_id']}"} for row in [first, *rows]])
    out = run(data(source=source), tmp_path / "out", context)
    dataset = read_dataset(out)
    assert "d3" not in dataset.corpus.ids  # its twin is in its place
    assert [json.loads(text) for text in dataset.corpus.metadata] == [{"url": f"of {i}"} for i in dataset.corpus.ids]
    assert [json.loads(text) for text in dataset.queries.metadata] == [{"url": f"of {i}"} for i in dataset.queries.ids]
    counts = read_stats(out)["counts"]
    assert counts["documents_with_metadata"] == len(dataset.corpus)
    plain = run(data(source={**source, "metadata": False}), tmp_path / "plain", context)
    assert "metadata" not in pq.read_schema(plain / "corpus.parquet").names


def test_queries_without_a_judged_document_are_counted_and_told(tmp_path, context, source):
    with (source["path"] / "queries.jsonl").open("a") as file:
        file.write('{"_id": "alone", "text": "nobody answers"}\n')
    stats = read_stats(run(data(source=source), tmp_path / "out", context))
    assert stats["counts"]["unjudged_queries"] == 1
    assert "1 queries without a judged document were left out" in stats["summary"]
