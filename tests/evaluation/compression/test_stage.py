"""The stage: what it writes is the same each time but for times, and says what it cannot do."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from embedkit.core.dataset import Dataset, read_dataset, write_dataset
from embedkit.core.errors import DataError, EmbedkitError
from embedkit.core.records import Corpus
from embedkit.core.spec import identity
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.evaluation.compression.stage import PER_QUERY, SPEED, Compress
from embedkit.evaluation.compression.timing import clock
from embedkit.evaluation.compression.variants import PCA, PQ, Binary, Float16, Float32, Int8, Rescored, Truncate
from embedkit.measures.significance import paired_bootstrap
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.scoring import score_split

VARIANTS = (Float16(), Int8(queries="int8"), Truncate(dimensions=8, then=Binary()), Rescored(first=Binary()))
FULL = Float32().label


@pytest.fixture
def inputs(tiny_model, tiny_dataset) -> dict[str, Artifact]:
    return {"model": Artifact("b" * 64, tiny_model), "data": tiny_dataset}


def stage(**fields) -> Compress:
    defaults = {"model": "model", "data": "data", "variants": VARIANTS, "overlaps": (5,), "rounds": 1, "samples": 200}
    return Compress(**{**defaults, **fields})


def run(spec: Compress, inputs: dict[str, Artifact], folder: Path) -> Path:
    out, work = folder / "out", folder / "work"
    out.mkdir(parents=True)
    work.mkdir()
    spec.run(inputs, out, Context(work=work, embeddings=folder / "embeddings"))
    assert not (work / "codes").exists()
    return out


@pytest.fixture
def made(inputs, tmp_path) -> Path:
    return run(stage(), inputs, tmp_path)


def test_two_runs_differ_in_times_alone(made, inputs, tmp_path):
    one, two = digests(made), digests(run(stage(), inputs, tmp_path / "again"))
    assert one.pop(SPEED) != two.pop(SPEED)
    assert one == two
    assert set(one) == {"stats.json", PER_QUERY}


def test_how_often_is_timed_is_no_part_of_the_identity():
    keys = {"model": "1", "data": "2"}
    one, two, other = (identity(s, keys=keys, digests={}) for s in (stage(), stage(rounds=9), stage(seed=1)))
    assert one == two != other


def test_full_vectors_score_what_other_searches_score(made, inputs, tmp_path):
    context = Context(work=tmp_path / "work", embeddings=tmp_path / "embeddings")
    encoder, dataset = open_encoder(inputs["model"].path, context), read_dataset(inputs["data"].path)
    expected = score_split(encoder, dataset, "test", metrics=stage().metrics)
    rows = [row for row in pq.read_table(made / PER_QUERY).to_pylist() if row["variant"] == FULL]
    assert {row["query_id"]: {m: row[m] for m in stage().metrics} for row in rows} == expected


def test_figures_are_those_of_the_queries(made):
    rows, stats = pq.read_table(made / PER_QUERY).to_pylist(), read_stats(made)
    names = [FULL, *(variant.label for variant in VARIANTS)]
    assert [row["name"] for row in stats["variants"]] == names
    values = {name: {row["query_id"]: row for row in rows if row["variant"] == name} for name in names}
    assert stats["counts"] == {"queries": 24, "documents": 60, "dimensions": 32}
    for row in stats["variants"]:
        found = row["metrics"]["mrr@10"]
        ours = [values[row["name"]][query]["mrr@10"] for query in values[FULL]]
        theirs = [values[FULL][query]["mrr@10"] for query in values[FULL]]
        span = paired_bootstrap(ours, theirs, samples=200, seed=0)
        assert found == {"mean": pytest.approx(np.mean(ours)), **vars(span)}
    sizes = [row["bytes"] for row in stats["variants"]]
    assert [size["document"] for size in sizes] == [128, 64, 32, 1, 4 + 32]
    assert [size["searched"] for size in sizes] == [128, 64, 32, 1, 4]
    assert sizes[2]["corpus"] == 60 * 32 + 2 * 4 * 32
    assert stats["variants"][1]["metrics"]["overlap@5"]["mean"] > 0.9
    assert len(stats["summary"]) == 1 + sum(row["front"] for row in stats["variants"][1:])


def test_times_are_kept_apart(made):
    speed = json.loads((made / SPEED).read_text())
    assert (speed["queries"], speed["documents"], speed["top_k"], speed["rounds"]) == (24, 60, 60, 1)
    assert list(speed["seconds_per_1000_queries"]) == [FULL, *(variant.label for variant in VARIANTS)]
    for times in speed["seconds_per_1000_queries"].values():
        assert list(times) == [str(count) for count in speed["threads"]]
        assert all(0 < t["least"] <= t["median"] <= t["most"] for t in times.values())


def test_an_overlap_that_any_ranking_has_is_left_out(inputs, tmp_path):
    out = run(stage(overlaps=(5, 60, 100)), inputs, tmp_path)
    stats = read_stats(out)
    assert "overlap@60" not in stats["variants"][0]["metrics"]
    assert stats["warnings"][0].startswith("overlap@60 is left out: of 60 documents")
    assert len(stats["warnings"]) == 2


def test_documents_with_the_querys_id_are_left_out_where_that_is_asked_for(inputs, tmp_path):
    dataset = read_dataset(inputs["data"].path)
    query, (doc, *_) = next((query, list(docs)) for query, docs in dataset.qrels["test"].items())
    ids = [query if one == doc else one for one in dataset.corpus.ids]
    corpus = Corpus(ids, dataset.corpus.titles, dataset.corpus.texts)
    test = {
        q: {"d1": 1} if q == query else docs
        for q, docs in dataset.qrels["test"].items()
        if q == query or doc not in docs
    }
    (tmp_path / "data").mkdir()
    write_dataset(tmp_path / "data", Dataset(corpus, dataset.queries, {"test": test}))
    inputs["data"] = Artifact("e" * 64, tmp_path / "data")
    metrics = ("precision@59", "recall@60")
    with_it, without = (
        pq.read_table(
            run(stage(metrics=metrics, ignore_identical_ids=ignore), inputs, tmp_path / str(ignore)) / PER_QUERY
        )
        for ignore in (False, True)
    )
    assert with_it.num_rows == without.num_rows == len(test) * (1 + len(VARIANTS))
    assert set(without.column("recall@60").to_pylist()) == {1.0}  # all others are there, whatever the variant
    context = Context(work=tmp_path / "work", embeddings=tmp_path / "False" / "embeddings")
    encoder = open_encoder(inputs["model"].path, context)
    texts = dict(zip(dataset.queries.ids, dataset.queries.texts, strict=True))
    scores = encoder.queries([texts[query]])[0] @ encoder.documents(corpus.full_texts()).T
    order = [ids[row] for row in np.argsort(-scores) if ids[row] != query]
    one = run(stage(metrics=("mrr@59",), ignore_identical_ids=True), inputs, tmp_path / "mrr") / PER_QUERY
    found = next(r for r in pq.read_table(one).to_pylist() if r["query_id"] == query and r["variant"] == FULL)
    assert found["mrr@59"] == pytest.approx(1 / (1 + order.index("d1")))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"variants": (Int8(), Truncate(dimensions=33))}, r"^variants.1: truncate 33: .* have 32 dimensions"),
        ({"variants": (PQ(parts=5),)}, r"^variants.0: pq: 5 equal parts cannot be made of 32 dimensions"),
        ({"variants": (Rescored(first=PCA(dimensions=8, then=PQ(parts=2))),)}, r"variants.0: pq: .*; there are 60$"),
    ],
)
def test_what_does_not_go_with_the_vectors_is_one_line(fields, message, inputs, tmp_path):
    with pytest.raises(DataError, match=message):
        run(stage(**fields), inputs, tmp_path)
    assert not (tmp_path / "work" / "codes").exists()


def test_a_split_without_judgements_is_one_line(inputs, tmp_path, tiny_dataset):
    (tmp_path / "data").mkdir()
    for name in ("corpus.parquet", "queries.parquet"):
        (tmp_path / "data" / name).write_bytes((tiny_dataset.path / name).read_bytes())
    inputs["data"] = Artifact("e" * 64, tmp_path / "data")
    with pytest.raises(DataError, match="data: has no judged 'test' queries to search for"):
        run(stage(), inputs, tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"variants": ()}, "name at least one"),
        ({"metrics": ("mrr@3", "mrr@3")}, "'mrr@3' is there twice"),
        ({"variants": (Int8(), Int8())}, "'int8' is there twice"),
        ({"variants": ({"kind": "float32"},)}, "float32"),
        ({"variants": ({"kind": "rescored", "first": {"kind": "float32"}},)}, "full vectors leave nothing to rescore"),
        ({"variants": ({"kind": "truncate", "dimensions": 4, "then": {"kind": "pca", "dimensions": 2}},)}, "pca"),
        ({"metrics": ("ndcg",)}, "pattern"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        stage(**fields)


def test_a_missing_faiss_is_told_before_anything_runs(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    assert stage().facts() == {}
    with pytest.raises(EmbedkitError, match="pq: FAISS is not installed"):
        stage(variants=(Rescored(first=PCA(dimensions=8, then=PQ(parts=2))),)).facts()


def test_work_is_timed_in_turn_with_one_thread_and_with_all():
    before, calls = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        work = {name: lambda name=name: calls.append((name, torch.get_num_threads())) for name in "ab"}
        found = clock(work, queries=500, rounds=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert calls == [("a", 1), ("b", 1)] * 3 + [("a", 2), ("b", 2)] * 3
    assert list(found["a"]) == ["1", "2"]
