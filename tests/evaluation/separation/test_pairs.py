import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedkit.core.errors import ArtifactError, DataError
from embedkit.evaluation.separation import measure
from embedkit.evaluation.separation.pairs import scored_pairs, scored_parts
from tests.oracles.separation import protocol_by_hand


def tables(run, qrels, own, part=None):
    found = [(q, d, s) for q, documents in run.items() for d, s in documents.items()]
    judged = [(q, d, g, own.get((q, d))) for q, documents in qrels.items() for d, g in documents.items()]
    named = {} if part is None else {"part": [part]}
    return (
        pa.table(
            {n: v * len(found) for n, v in named.items()}
            | {"query_id": [r[0] for r in found], "doc_id": [r[1] for r in found], "score": [r[2] for r in found]}
        ),
        pa.table(
            {n: v * len(judged) for n, v in named.items()}
            | {
                "query_id": [r[0] for r in judged],
                "doc_id": [r[1] for r in judged],
                "relevance": [r[2] for r in judged],
                "score": pa.array([r[3] for r in judged], pa.float64()),
            }
        ),
    )


def searched(seed, queries=8, documents=30, deep=12):
    """A run, judgements, and the scores of what is relevant."""
    rng = np.random.default_rng(seed)
    run, qrels, own = {}, {}, {}
    for q in range(queries):
        scores = dict(zip((f"d{i}" for i in rng.permutation(documents)), rng.random(documents).round(2), strict=True))
        best = sorted(scores, key=lambda d: -scores[d])[:deep]
        run[f"q{q}"] = {d: float(scores[d]) for d in best}
        judged = rng.choice(documents, 5, replace=False)
        qrels[f"q{q}"] = {f"d{i}": int(g) for i, g in zip(judged, rng.integers(0, 3, 5), strict=True)}
        own |= {(f"q{q}", d): float(scores[d]) for d in qrels[f"q{q}"]}
    run["unjudged"] = {"d1": 0.5}
    return run, qrels, own


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("depth", [3, 500])
def test_pairs_are_all_that_is_relevant_and_the_best_others(seed, depth):
    run, qrels, own = searched(seed)
    found = scored_pairs(*tables(run, qrels, own), depth=depth)
    expected = protocol_by_hand(run, qrels, own, depth)
    for number, (query, pairs) in enumerate(expected.items()):
        mine = found.queries == number
        assert found.scores[mine].tolist() == [s for s, _ in pairs], query
        got = sorted(zip(found.scores[mine], found.relevant[mine], strict=True))
        assert got == sorted(pairs)
    assert found.unscored == 0
    assert found.shallow == (0 if depth == 3 else len(qrels))


def test_the_run_has_the_word_on_what_it_retrieved():
    run, qrels = {"q": {"a": 0.9, "b": 0.5}}, {"q": {"a": 1, "c": 1, "d": 1}}
    found = scored_pairs(*tables(run, qrels, {("q", "a"): 0.1, ("q", "c"): 0.3}))
    assert found.scores.tolist() == [0.9, 0.5, 0.3]
    assert found.relevant.tolist() == [True, False, True]
    assert found.unscored == 1
    assert scored_pairs(tables(run, qrels, {})[0], tables(run, qrels, {})[1].drop(["score"])).unscored == 2


def test_queries_that_a_run_lacks_keep_what_is_judged():
    found = scored_pairs(*tables({"q": {"a": 0.9}}, {"p": {"a": 1}, "q": {"b": 1}}, {("p", "a"): 0.2, ("q", "b"): 0.4}))
    assert found.queries.tolist() == [0, 1, 1]
    assert found.shallow == 2


def test_a_pair_twice_is_refused():
    run, judged = tables({"q": {"a": 0.9}}, {"q": {"b": 1}}, {("q", "b"): 0.4})
    with pytest.raises(DataError, match="run: has a pair of query and document twice"):
        scored_pairs(pa.concat_tables([run, run]), judged)


def test_parts_of_a_task_are_measured_one_by_one(tmp_path):
    first, second = searched(1), searched(2)
    run, judged = (
        pa.concat_tables(side) for side in zip(tables(*first, part="en"), tables(*second, part="de"), strict=True)
    )
    pq.write_table(run, tmp_path / "run.parquet")
    pq.write_table(judged, tmp_path / "judged.parquet")
    found = scored_parts(tmp_path)
    assert list(found) == ["en", "de"]
    for part, made in (("en", first), ("de", second)):
        alone = scored_pairs(*tables(*made))
        assert found[part].scores.tolist() == alone.scores.tolist()
        assert found[part].relevant.tolist() == alone.relevant.tolist()
    figures = measure(tmp_path)
    assert figures["de"]["pairs"]["queries_with_fewer"] == 8
    assert figures["de"]["pairs"]["depth"] == 500


def test_what_cannot_be_measured_is_left_out_or_told(tmp_path):
    assert measure(tmp_path) == {}
    run, judged = tables({"q": {"a": 0.9}}, {"q": {"a": 1}}, {}, part="")
    pq.write_table(run, tmp_path / "run.parquet")
    pq.write_table(judged, tmp_path / "judged.parquet")
    assert measure(tmp_path) == {}
    (tmp_path / "judged.parquet").write_bytes(b"no table")
    with pytest.raises(ArtifactError, match="its run cannot be read"):
        measure(tmp_path)
    pq.write_table(run, tmp_path / "judged.parquet")
    with pytest.raises(ArtifactError, match="its run cannot be read"):
        measure(tmp_path)
