"""Every number of the audit against plain loops over the rows of the files."""

import json
import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedkit.core.errors import ArtifactError, DataError
from embedkit.core.pairs import PAIRS, Pair, write_pair_rows
from embedkit.core.records import Corpus, Queries, write_corpus, write_queries
from embedkit.mining.audit import audit, describe, histograms, tables
from embedkit.mining.audit.hubs import hubness
from embedkit.mining.audit.margins import MARGINS, RATIOS
from embedkit.mining.filters import MarginToPositive, PercentOfPositive, ScoreRange
from tests.mining.mined_sets import RULES, candidates_in, pairs_in, random_set, write_set

IDS = [f"d{i}" for i in range(60)]
REASONS = ("known_positive", "percent_of_positive")


def described(folder, **changes):
    return describe(folder, **{"wanted": 4, "doc_ids": IDS, "reasons": REASONS, "rules": RULES, **changes})


@pytest.fixture(params=range(4))
def mined(request, tmp_path):
    random_set(tmp_path, request.param)
    return tmp_path


def test_counts_and_drops(mined):
    stats, pairs, fates = described(mined), pairs_in(mined), candidates_in(mined)
    found = [len(row["negatives"]) for row in pairs]
    reasons = Counter(row["reason"] for row in fates)
    relevant = {doc for row in pairs for doc in row["positives"]}
    assert stats["counts"] == {
        "queries": 40,
        "documents": 60,
        "negatives": sum(found),
        "distinct_negatives": len({doc for row in pairs for doc in row["negatives"]}),
        "never_positive": sum(doc not in relevant for row in pairs for doc in row["negatives"]),
        "suspects": 0,
        "queries_with_fewer": sum(0 < n < 4 for n in found),
        "queries_without": found.count(0),
        "candidates": len(fates),
        "spare": reasons["spare"],
    }
    assert stats["filters"] == [{"name": name, "dropped": reasons[name]} for name in REASONS]


def test_score_groups_and_ranks(mined):
    stats, pairs, fates = described(mined), pairs_in(mined), candidates_in(mined)
    groups = {
        "positives": [s for row in pairs for s in row["positive_scores"]],
        "negatives": [s for row in pairs for s in row["negative_scores"]],
        "dropped": [row["score"] for row in fates if row["reason"] == "percent_of_positive"],
    }
    assert stats["histograms"] == histograms(groups)
    assert stats["means"] == pytest.approx({name: sum(scores) / len(scores) for name, scores in groups.items()})
    ranks = [rank for row in pairs for rank in row["negative_ranks"]]
    assert stats["mean_rank"] == pytest.approx(sum(ranks) / len(ranks))
    assert sum(row["negatives"] for row in stats["ranks"]) == len(ranks)
    for row in stats["ranks"]:
        assert row["negatives"] == sum(row["first"] <= rank <= row["last"] for rank in ranks)


def test_margins_drop_what_the_filters_would_and_catch_hidden_positives(mined):
    curve, pairs = described(mined)["margins"], pairs_in(mined)
    assert [row["ratio"] for row in curve["ratios"]] == list(RATIOS)
    assert [row["margin"] for row in curve["margins"]] == list(MARGINS)
    rules = [
        *((row, lambda p, r=row["ratio"]: p - (1 - r) * abs(p)) for row in curve["ratios"]),
        *((row, lambda p, m=row["margin"]: p - m) for row in curve["margins"]),
    ]
    hidden = [
        (score, min(others))
        for row in pairs
        for i, score in enumerate(row["positive_scores"])
        if (others := row["positive_scores"][:i] + row["positive_scores"][i + 1 :])
    ]
    for row, threshold in rules:
        dropped = [s for p in pairs for s in p["negative_scores"] if s > threshold(min(p["positive_scores"]))]
        assert row["dropped"] == len(dropped)
        assert row["caught"] == sum(score > threshold(lowest) for score, lowest in hidden)
    assert curve["hidden"] == len(hidden) > 50
    assert next(row["dropped"] for row in curve["ratios"] if row["ratio"] == 0.95) == 0  # the filter they passed


@pytest.mark.parametrize("rule", [PercentOfPositive(ratio=0.8), MarginToPositive(margin=0.1)])
def test_the_margin_curve_agrees_with_mining_anew(rule, tmp_path):
    random_set(tmp_path / "loose", 1, rules=type(RULES)(filters=(), count=20, sampling=RULES.sampling))
    random_set(tmp_path / "strict", 1, rules=type(RULES)(filters=(rule,), count=20, sampling=RULES.sampling))
    loose, strict = (describe(tmp_path / n, wanted=20, doc_ids=IDS, reasons=()) for n in ("loose", "strict"))
    rows = {**{("r", row["ratio"]): row for row in loose["margins"]["ratios"]}}
    rows |= {("m", row["margin"]): row for row in loose["margins"]["margins"]}
    row = rows["r", rule.ratio] if isinstance(rule, PercentOfPositive) else rows["m", rule.margin]
    assert row["dropped"] == loose["counts"]["negatives"] - strict["counts"]["negatives"] > 0


def test_hubs(mined):
    stats, pairs = described(mined), pairs_in(mined)
    served = Counter(doc for row in pairs for doc in row["negatives"])
    best = [{"doc_id": doc, "queries": n} for doc, n in sorted(served.items(), key=lambda e: (-e[1], int(e[0][1:])))]
    assert [row["queries"] for row in stats["hubs"]] == [row["queries"] for row in best[:10]]
    assert all(served[row["doc_id"]] == row["queries"] for row in stats["hubs"])
    counts = [served[doc] for doc in IDS]
    spread, total, mean = stats["hubness"], sum(counts), sum(counts) / 60
    assert spread["gini"] == pytest.approx(sum(abs(a - b) for a in counts for b in counts) / (2 * 60 * total))
    deviation = math.sqrt(sum((c - mean) ** 2 for c in counts) / 60)
    assert spread["skewness"] == pytest.approx(sum((c - mean) ** 3 for c in counts) / 60 / deviation**3)
    assert spread["top_share"] == pytest.approx(max(counts) / total)


@pytest.mark.parametrize("mean", [0.3, 2.0, 40.0])
def test_the_even_share_is_that_of_random_negatives(mean):
    rng = np.random.default_rng(0)
    found = [hubness(np.bincount(rng.integers(0, 2000, int(2000 * mean)), minlength=2000)) for _ in range(20)]
    assert found[0]["even_share"] == pytest.approx(np.mean([one["top_share"] for one in found]), rel=0.05)


def test_even_counts_are_no_hubs():
    spread = hubness(np.full(300, 5))
    assert (spread["gini"], spread["skewness"], spread["top_share"]) == pytest.approx((0, 0, 0.01))
    assert hubness(np.zeros(5, dtype=np.int64)) == {}


def test_a_filter_called_like_an_exclusion_is_a_filter(tmp_path):
    random_set(tmp_path, 0)
    table = pq.read_table(tmp_path / "candidates.parquet")
    names = [
        "same_text_as_query" if name == "percent_of_positive" else name for name in table.column("reason").to_pylist()
    ]
    at = table.schema.get_field_index("reason")
    before = described(tmp_path)["histograms"]["dropped"]
    pq.write_table(table.set_column(at, "reason", pa.array(names)), tmp_path / "candidates.parquet")
    after = describe(tmp_path, wanted=4, doc_ids=IDS, reasons=("known_positive", "same_text_as_query"))
    assert after["histograms"]["dropped"] == before
    assert after["histograms"]["dropped"]["n"] == names.count("same_text_as_query") > 0
    assert "same text as query" in after["summary"][1]


def test_blocks_of_any_size_give_the_same_bytes(tmp_path, monkeypatch):
    random_set(tmp_path, 2)
    whole = json.dumps(audit(tmp_path), sort_keys=True)
    for name, size in (("_PAIRS", 7), ("_CANDIDATES", 40), ("_TEXTS", 3)):
        monkeypatch.setattr(tables, name, size)
    parts = json.dumps(audit(tmp_path), sort_keys=True)
    a, b = json.loads(parts), json.loads(whole)
    assert a.pop("means") == pytest.approx(b.pop("means"), rel=1e-12)  # sums of floats
    assert a == b


def test_the_same_files_give_the_same_bytes(tmp_path):
    random_set(tmp_path, 2)
    first, second = (json.dumps(audit(tmp_path), allow_nan=False) for _ in range(2))
    assert first == second


def test_without_candidates_what_needs_them_is_left_out_and_told(tmp_path):
    random_set(tmp_path, 0)
    whole = audit(tmp_path)
    (tmp_path / "candidates.parquet").unlink()
    found = audit(tmp_path)
    assert "what filters dropped: there is no candidates.parquet" in found["left_out"]
    assert "candidates" not in found["counts"]
    assert found["histograms"]["dropped"]["n"] == 0
    assert [found[name] for name in ("margins", "hubs", "ranks", "examples")] == [
        whole[name] for name in ("margins", "hubs", "ranks", "examples")
    ]


def test_pairs_without_scores_are_counted_all_the_same(tmp_path):
    random_set(tmp_path, 0)
    (tmp_path / "candidates.parquet").unlink()
    bare = [
        Pair(row["query_id"], tuple(row["positives"]), negatives=tuple(row["negatives"])) for row in pairs_in(tmp_path)
    ]
    write_pair_rows(tmp_path, bare)
    found = audit(tmp_path)
    assert found["means"] == found["histograms"] == found["margins"] == {}
    assert found["mean_rank"] is None
    assert found["hubs"]
    assert any(line.startswith("score distributions") for line in found["left_out"])


def test_ranks_come_from_the_candidates_where_pairs_have_none(tmp_path):
    random_set(tmp_path, 0)
    before = audit(tmp_path)["ranks"]
    table = pq.read_table(tmp_path / "pairs.parquet")
    pq.write_table(table.drop_columns("negative_ranks"), tmp_path / "pairs.parquet")
    assert audit(tmp_path)["ranks"] == before


def test_scores_that_are_no_numbers_are_in_no_group(tmp_path):
    write_set(tmp_path, [[0.9, np.nan, 0.5, 0.4]], [[0]], width=4)
    stats = describe(tmp_path, wanted=4, doc_ids=IDS[:4], reasons=REASONS)
    assert stats["histograms"]["negatives"]["n"] == 2
    assert stats["histograms"]["dropped"]["n"] == 0
    assert stats["filters"][1]["dropped"] == 1
    json.dumps(stats, allow_nan=False)


def test_examples_are_random_negatives_with_their_texts(mined):
    found, rows = audit(mined, examples=15, seed=3), {row["query_id"]: row for row in pairs_in(mined)}
    assert len({e["query_id"] for e in found["examples"]}) == 15
    for example in found["examples"]:
        row = rows[example["query_id"]]
        place = row["negatives"].index(example["doc_id"])
        assert example["score"] == row["negative_scores"][place]
        assert example["rank"] == row["negative_ranks"][place]
        assert (example["positive"], example["positive_score"]) == (row["positives"][0], row["positive_scores"][0])
        assert example["negative_text"].startswith(f"doc{example['doc_id'][1:]}x0 ")
        assert example["query_text"].startswith(f"query{example['query_id'][1:]}x0 ")
    assert audit(mined, examples=15, seed=4)["examples"] != found["examples"]
    assert len(audit(mined, examples=1000)["examples"]) == sum(bool(row["negatives"]) for row in rows.values())


def test_negatives_of_the_same_text_as_a_positive_or_the_query_are_found(tmp_path):
    corpus = ["a good answer", "A  good\nanswer", "what is it?", "far away", "another"]
    write_corpus(tmp_path, Corpus(IDS[:5], [""] * 5, corpus))
    write_queries(tmp_path, Queries(["q0", "q1"], ["What is it?", "else"]))
    rows = [
        Pair("q0", ("d0",), known=("d0", "d3"), negatives=("d1", "d2", "d3", "d4")),
        Pair("q1", ("d4",), known=("d4",), negatives=("d0", "d1", "d2")),  # fine for this one
    ]
    write_pair_rows(tmp_path, rows)
    found = audit(tmp_path)
    assert {name: found["same_texts"][name] for name in ("known_positive", "same_as_positive", "same_as_query")} == {
        "known_positive": 1,
        "same_as_positive": 1,
        "same_as_query": 1,
    }
    assert [(e["doc_id"], e["why"]) for e in found["same_texts"]["examples"]] == [
        ("d3", "known_positive"), ("d1", "same_as_positive"), ("d2", "same_as_query"),
    ]  # fmt: skip
    assert sum("1 negatives" in line for line in found["warnings"]) == 3


def test_warnings_a_person_would_give(tmp_path):
    quiet = np.full((60, 200), 0.3) + np.arange(200) * -1e-4
    quiet = np.array([np.roll(row, 3 * i) for i, row in enumerate(quiet)])
    quiet[:, 199] = 0.5
    own = [[199]] * 60

    def warnings(scores, *, filters=(), count=2):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        write_set(folder, scores, own, width=20, rules=type(RULES)(filters, count, RULES.sampling))
        ids = [f"d{i}" for i in range(200)]
        reasons = ("known_positive", *(f.kind for f in filters))
        stats = describe(folder, wanted=count, doc_ids=ids, reasons=reasons)
        told = stats["warnings"]
        never = [line for line in told if line.startswith("100% of the negatives are relevant to no query here")]
        assert len(never) == (stats["counts"]["negatives"] > 0)  # all queries have the same positive
        return [line for line in told if line not in never]

    assert warnings(quiet) == []
    hub = quiet.copy()
    hub[:, 7] = 0.45
    assert "document 'd7' is a negative of 60 queries" in warnings(hub, count=1)
    assert "2 documents, 1 % of all, are 51% of the negatives" in " ".join(warnings(hub))
    assert "60 of 60 queries have fewer than 2 negatives" in warnings(quiet, filters=(ScoreRange(maximum=0.1),))[0]
    above = quiet.copy()
    above[:, 199] = 0.2
    assert "120 negatives (100.0%) score above a positive" in warnings(above)[0]
    assert warnings(above)[1] == "negatives score 0.300 on average, positives 0.200: hardly any difference"
    assert "100.0% of the negatives score below half of their positive" in warnings(quiet - 0.25)[0]


def test_fills_are_told(tmp_path):
    random_set(tmp_path, 0)
    table = pq.read_table(tmp_path / "pairs.parquet")
    fills = pa.array(
        [negatives[:1] for negatives in table.column("negatives").to_pylist()], type=PAIRS.field("fills").type
    )
    pq.write_table(table.append_column("fills", fills), tmp_path / "pairs.parquet")
    found = audit(tmp_path)
    assert found["counts"]["fills"] == sum(map(len, fills.to_pylist()))
    assert any("were found by no search" in line for line in found["warnings"])


def test_folders_that_are_no_mined_sets_are_one_clear_line(tmp_path):
    with pytest.raises(DataError, match=r"is no folder; a mined set is a folder with pairs\.parquet"):
        audit(tmp_path / "nothing")
    random_set(tmp_path / "run" / "mined", 0)
    with pytest.raises(DataError, match=r"has no pairs.parquet; did you mean .*/run/mined\?"):
        audit(tmp_path / "run")
    mined = tmp_path / "run" / "mined"
    write_corpus(mined, Corpus(["other"], [""], ["text"]))
    with pytest.raises(DataError, match=r"negative 'd\d+' is not in corpus.parquet"):
        audit(mined)
    write_pair_rows(mined, [Pair("q0", ("other",))])
    with pytest.raises(DataError, match="no query has a negative; mine them first"):
        audit(mined)
    (mined / "pairs.parquet").write_text("no Parquet")
    with pytest.raises(ArtifactError, match=r"pairs\.parquet: cannot be read"):
        audit(mined)


def test_histograms_share_one_range():
    groups = histograms({"a": [0.13, 0.2], "b": [-0.42], "c": []})
    assert {(g["low"], g["high"]) for g in groups.values()} == {(-0.45, 0.2)}
    assert [sum(g["counts"]) for g in groups.values()] == [2, 1, 0]
    assert histograms({"a": [], "b": []}) == {}
    assert histograms({"a": [0.5, 0.5]})["a"]["n"] == 2  # no width of its own
