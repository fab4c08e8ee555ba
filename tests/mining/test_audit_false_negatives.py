"""How many negatives are false: estimates against what is true in sets made up for it."""

import csv
import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from embedkit.core.errors import DataError
from embedkit.core.pairs import read_pair_rows, write_pair_rows
from embedkit.core.records import read_corpus, write_corpus
from embedkit.mining.audit import Rules, audit, describe, write_sample
from embedkit.mining.audit.describe import recorded_rules
from embedkit.mining.audit.hidden import hidden_positives
from embedkit.mining.audit.judged import Strata, judged_estimate, stratified_share
from embedkit.mining.audit.proportions import clustered_interval, exact_interval
from embedkit.mining.filters import MarginToPositive, PercentOfPositive, RankWindow, ScoreRange
from embedkit.mining.sampling import Random, Top
from tests.mining.mined_sets import RULES, candidates_in, pairs_in, random_set, write_manifest, write_set


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (3, 20), (20, 20), (1, 1)])
def test_the_exact_interval_ends_where_so_many_hits_become_unlikely(hits, n):
    low, high = exact_interval(hits, n)
    assert low == 0 if hits == 0 else binom.sf(hits - 1, n, low) == pytest.approx(0.025)
    assert high == 1 if hits == n else binom.cdf(hits, n, high) == pytest.approx(0.025)


def test_nothing_drawn_says_nothing():
    assert exact_interval(0, 0) == clustered_interval([], []) == clustered_interval([0.0], [0.0]) == (0, 1)


def test_clusters_of_one_are_draws_and_equal_clusters_one_draw_each():
    hits = np.repeat([1, 0], [30, 70])
    assert clustered_interval(hits, np.ones(100)) == pytest.approx(exact_interval(30, 100), abs=0.002)
    alike = clustered_interval(5 * hits, np.full(100, 5))  # five draws of a query that are all the same
    assert alike == pytest.approx(exact_interval(30, 100), abs=0.002)
    assert clustered_interval(np.zeros(40), np.full(40, 9)) == exact_interval(0, 40)


def test_what_others_will_show_is_less_sure():
    hits = np.repeat([1, 0], [30, 70])
    assert clustered_interval(hits, np.ones(100), others=100) == pytest.approx(exact_interval(15, 50), abs=0.004)
    assert clustered_interval(hits, np.ones(100), others=1e9) == pytest.approx(clustered_interval(hits, np.ones(100)))


def test_intervals_of_clusters_hold_the_truth_as_often_as_they_say():
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        shares, sizes = rng.beta(0.6, 1.4, 80), rng.integers(1, 9, 80)
        low, high = clustered_interval(rng.binomial(sizes, shares), sizes)
        held += low <= 0.3 <= high
    assert held / 400 >= 0.93


# A judged sample.


def read(file) -> list[dict]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def judge(file, to, relevant) -> None:
    """Fill in the sample: `relevant` says of a row whether it is, None to leave it blank."""
    rows = read(file)
    for row in rows:
        verdict = relevant(row)
        row["relevance"] = "" if verdict is None else str(int(verdict))
    to.write_text("\n".join(["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]) + "\n")


def test_a_sample_is_random_negatives_of_all_strata_with_their_texts(tmp_path):
    random_set(tmp_path / "set", 0, queries=80)
    negatives = {
        (r["query_id"], d): s
        for r in pairs_in(tmp_path / "set")
        for d, s in zip(r["negatives"], r["negative_scores"], strict=True)
    }
    assert write_sample(tmp_path / "set", 40, tmp_path / "a.tsv", seed=1) == 40
    write_sample(tmp_path / "set", 40, tmp_path / "b.tsv", seed=1)
    write_sample(tmp_path / "set", 40, tmp_path / "c.tsv", seed=2)
    same, other = ((tmp_path / f"{name}.tsv").read_bytes() for name in "bc")
    assert (tmp_path / "a.tsv").read_bytes() == same != other
    rows = read(tmp_path / "a.tsv")
    assert len({(row["query_id"], row["doc_id"]) for row in rows}) == 40
    scores = [negatives[row["query_id"], row["doc_id"]] for row in rows]
    assert [row["score"] for row in rows] == [f"{score:.4f}" for score in scores]
    strata = np.searchsorted(np.quantile(list(negatives.values()), [0.25, 0.5, 0.75]), scores, side="right")
    assert np.bincount(strata).tolist() == pytest.approx([10, 10, 10, 10], abs=1)
    assert all(row["relevance"] == "" for row in rows)
    assert rows[0]["query"].startswith(f"query{rows[0]['query_id'][1:]}x0")
    assert write_sample(tmp_path / "set", 10**6, tmp_path / "all.tsv") == len(negatives)
    with pytest.raises(DataError, match="is there already; judgements may be in it"):
        write_sample(tmp_path / "set", 5, tmp_path / "a.tsv")
    with pytest.raises(DataError, match="which must stay as it was made"):
        write_sample(tmp_path / "set", 5, tmp_path / "set" / "sample.tsv")


def test_long_texts_are_written_and_read(tmp_path):
    random_set(tmp_path / "set", 0, queries=4)
    corpus = read_corpus(tmp_path / "set")
    write_corpus(tmp_path / "set", replace(corpus, texts=[text + " long" * 40_000 for text in corpus.texts]))
    count = write_sample(tmp_path / "set", 10**6, tmp_path / "s.tsv")
    head, *lines = (tmp_path / "s.tsv").read_text().splitlines()
    assert min(map(len, lines)) > 2 * 200_000
    judged = [line.replace("\t\t", "\t1\t", 1) for line in lines]
    (tmp_path / "j.tsv").write_text("\r\n".join([head, *judged, ""]))  # as other programs end lines
    assert judged_estimate(tmp_path / "set", tmp_path / "j.tsv")["relevant"] == count
    (tmp_path / "j.tsv").write_text("\n".join([head, "q1"]))
    with pytest.raises(DataError, match=r"j.tsv:2: has no 'doc_id'; the line breaks off before it"):
        judged_estimate(tmp_path / "set", tmp_path / "j.tsv")


def test_a_negative_that_a_fill_repeats_is_judged_once(tmp_path):
    random_set(tmp_path / "set", 0)
    rows = read_pair_rows(tmp_path / "set")
    columns = ("negatives", "negative_scores", "negative_ranks")
    twice = [replace(row, **{name: getattr(row, name) * 2 for name in columns}) for row in rows]
    write_pair_rows(tmp_path / "set", twice)
    count = write_sample(tmp_path / "set", 10**6, tmp_path / "s.tsv")
    assert count == sum(len(row.negatives) for row in rows)
    judge(tmp_path / "s.tsv", tmp_path / "j.tsv", lambda row: False)
    assert judged_estimate(tmp_path / "set", tmp_path / "j.tsv")["judged"] == count


def test_shares_add_up():
    for sizes, count in itertools.product(([10, 10, 10, 10, 0], [7, 1, 2, 0, 3], [1, 1, 1, 1, 1]), (1, 3, 5)):
        strata = Strata(np.zeros(3), np.array(sizes), np.zeros(0, dtype=np.int8))
        shares = strata.shares(count)
        assert sum(shares) == count
        assert all(abs(n - count * size / sum(sizes)) < 1 for n, size in zip(shares, sizes, strict=True))


def test_judging_everything_gives_the_truth(tmp_path):
    random_set(tmp_path / "set", 0)
    count = write_sample(tmp_path / "set", 10**6, tmp_path / "s.tsv")
    judge(tmp_path / "s.tsv", tmp_path / "j.tsv", lambda row: int(row["doc_id"][1:]) % 3 == 0)
    docs = [doc for row in pairs_in(tmp_path / "set") for doc in row["negatives"]]
    found = judged_estimate(tmp_path / "set", tmp_path / "j.tsv")
    truth = sum(int(doc[1:]) % 3 == 0 for doc in docs)
    assert (found["judged"], found["relevant"], found["blank"]) == (count, truth, 0)
    assert found["rate"]["value"] == pytest.approx(truth / count)
    assert (found["rate"]["low"], found["rate"]["high"]) == pytest.approx(exact_interval(truth, count))
    assert sum(row["negatives"] for row in found["strata"]) == count


def test_the_stratified_share_weighs_strata_by_size():
    sizes, n, hits = np.array([100, 300]), np.array([50, 10]), np.array([25, 1])
    found = stratified_share(sizes, n, hits)
    assert found["value"] == pytest.approx(0.25 * 0.5 + 0.75 * 0.1)
    variance = 0.25**2 * 0.25 / 50 + 0.75**2 * 0.09 / 10
    effective = 0.2 * 0.8 / variance
    assert effective < 60
    assert (found["low"], found["high"]) == pytest.approx(exact_interval(0.2 * effective, effective))
    unjudged = stratified_share(np.array([100, 300]), np.array([20, 0]), np.array([5, 0]))
    assert unjudged == pytest.approx({"value": 0.25, **dict(zip(("low", "high"), exact_interval(5, 20), strict=True))})


def test_intervals_of_judged_samples_hold_the_truth_as_often_as_they_say():
    rng, held = np.random.default_rng(1), 0
    sizes, shares = np.array([500, 500, 500, 500]), np.array([0.0, 0.02, 0.1, 0.4])
    truth = float(shares.mean())
    for _ in range(400):
        found = stratified_share(sizes, np.full(4, 40), rng.binomial(40, shares))
        held += found["low"] <= truth <= found["high"]
    assert held / 400 >= 0.95


def test_blank_rows_are_counted_and_mistakes_told_by_line(tmp_path):
    random_set(tmp_path / "set", 0)
    write_sample(tmp_path / "set", 12, tmp_path / "s.tsv")
    first = read(tmp_path / "s.tsv")[0]
    with pytest.raises(DataError, match="no row is judged"):
        judged_estimate(tmp_path / "set", tmp_path / "s.tsv")
    judge(tmp_path / "s.tsv", tmp_path / "j.tsv", lambda row: None if row == first else False)
    found = audit(tmp_path / "set", judgements=tmp_path / "j.tsv")
    assert found["false_negatives"]["judged"]["blank"] == 1
    assert found["false_negatives"]["judged"]["rate"]["value"] == 0 < found["false_negatives"]["judged"]["rate"]["high"]
    assert "1 rows of the sample are not judged" in found["told"]["false_negatives"][0]
    text = (tmp_path / "j.tsv").read_text()
    for wrong, message in (
        (text.replace("relevance", "grade"), r"j.tsv:1: has no column 'relevance'"),
        (text.replace("\t0\t", "\tyes\t"), r"j.tsv:3: relevance is 'yes'; a number is right"),
        (text.replace("\t0\t", "\tnan\t"), r"j.tsv:3: relevance is 'nan'"),
        (text + text.split("\n")[2] + "\n", r"j.tsv:14: query .* were judged before"),
        (
            "query_id\tdoc_id\trelevance\nq0\tnope\t1\n",
            r"'nope' is no negative of 'q0' in .*; judge a sample of this set",
        ),
    ):
        (tmp_path / "j.tsv").write_text(wrong)
        with pytest.raises(DataError, match=message):
            judged_estimate(tmp_path / "set", tmp_path / "j.tsv")
    with pytest.raises(DataError, match=r"missing\.tsv: cannot be read"):
        judged_estimate(tmp_path / "set", tmp_path / "missing.tsv")


def test_many_false_negatives_by_judgement_are_warned_of(tmp_path):
    random_set(tmp_path / "set", 0)
    write_sample(tmp_path / "set", 30, tmp_path / "s.tsv")
    judge(tmp_path / "s.tsv", tmp_path / "j.tsv", lambda row: row["doc_id"] < "d3")
    found = audit(tmp_path / "set", judgements=tmp_path / "j.tsv")
    assert any("of the negatives are false, by 30 judgements" in line for line in found["warnings"])


# Hidden positives.

IDS = [f"d{i}" for i in range(60)]


def hide_each(folder, scores_of, rules) -> tuple[list[int], list[int]]:
    """Per query with several positives, how many of them become negatives if hidden, in plain loops; for top sampling
    and a ratio to the lowest positive."""
    kept, hidden = [], []
    by_query = {row["query_id"]: row for row in pairs_in(folder)}
    fates = {q: [row for row in candidates_in(folder) if row["query_id"] == q] for q in by_query}
    for query, row in by_query.items():
        if len(row["positives"]) < 2:
            continue
        became = 0
        for i, document in enumerate(row["positives"]):
            others = [s for j, s in enumerate(row["positive_scores"]) if j != i]
            limit = scores_of(min(others))
            passing = [
                c["doc_id"]
                for c in fates[query]
                if (c["doc_id"] not in row["positives"] or c["doc_id"] == document) and c["score"] <= limit
            ]
            became += document in passing[: rules.count]
        kept.append(became)
        hidden.append(len(row["positives"]))
    return kept, hidden


@pytest.mark.parametrize("seed", range(3))
def test_hidden_positives_meet_the_fate_they_would_have_met(seed, tmp_path):
    random_set(tmp_path, seed)
    found = hidden_positives(tmp_path, IDS, RULES)
    kept, hidden = hide_each(tmp_path, lambda p: p - (1 - 0.95) * abs(p), RULES)
    assert (found["queries"], found["hidden"], found["kept"]) == (len(hidden), sum(hidden), sum(kept))
    assert found["kept"] > 5
    assert found["survival"]["value"] == pytest.approx(sum(kept) / sum(hidden))
    assert found["survival"]["low"] < found["survival"]["value"] < found["survival"]["high"]


def test_the_rate_is_survival_times_what_is_not_labelled(tmp_path):
    random_set(tmp_path, 1)
    found = hidden_positives(tmp_path, IDS, RULES)
    pairs, fates = pairs_in(tmp_path), candidates_in(tmp_path)
    firsts = sorted(({row["query_id"]: row for row in reversed(fates)}).values(), key=lambda row: -row["score"])
    surest = {"low": 0.0}
    for n in (40, 20, 10, 5):
        hits = sum(row["reason"] == "known_positive" for row in firsts[:n])
        low, high = exact_interval(hits, n, confidence=1 - 0.025 / 4)
        if low > surest["low"]:
            surest = {"value": hits / n, "low": low, "high": high, "queries": n}
    assert found["labelled"] == pytest.approx(surest)
    scale = sum(len(row["positives"]) for row in pairs) / sum(len(row["negatives"]) for row in pairs)
    survival, known = found["survival"], surest["value"]
    assert found["rate_at_most"]["value"] == pytest.approx(survival["value"] * scale * (1 - known) / known)
    assert found["rate_at_most"]["low"] == 0 < found["rate_at_most"]["value"] < found["rate_at_most"]["high"]
    half = found["rate_if_half_is_labelled"]
    assert half["value"] == pytest.approx(survival["value"] * scale)
    assert half["low"] < survival["low"] * scale < survival["high"] * scale < half["high"]  # others vary too


def labelled_in_part(rng, *, queries=150, documents=80, relevant=6):
    """Half of the relevant documents are labelled, and score as the others do."""
    scores = rng.normal(0, 0.15, (queries, documents))
    truth = np.array([rng.choice(documents, relevant, replace=False) for _ in range(queries)])
    np.put_along_axis(scores, truth, rng.normal(0.5, 0.2, truth.shape), axis=1)
    return scores, truth, [rng.permutation(own)[: relevant // 2] for own in truth]


@pytest.mark.parametrize(
    ("filters", "sampling", "exact"),
    [
        ((), Top(), True),
        ((ScoreRange(maximum=0.5),), Top(), True),
        ((RankWindow(first=3, last=20),), Random(seed=5), False),  # one more than there are stands above it
        ((PercentOfPositive(ratio=0.9),), Top(), False),  # it is held against one positive less
        ((MarginToPositive(margin=0.1),), Random(seed=1), False),
    ],
)
def test_estimates_hold_the_truth_where_their_assumption_does(filters, sampling, exact, tmp_path):
    rules, held, above, most = Rules(filters, 6, sampling), [], [], []
    for seed in range(20):
        scores, relevant, labels = labelled_in_part(np.random.default_rng(seed))
        write_set(tmp_path / str(seed), scores, labels, width=30, rules=rules)
        found = hidden_positives(tmp_path / str(seed), [f"d{i}" for i in range(80)], rules)
        rows = pairs_in(tmp_path / str(seed))
        false = [f"d{d}" in row["negatives"] for row, own in zip(rows, relevant, strict=True) for d in own]
        truth = sum(false) / sum(len(row["negatives"]) for row in rows)
        half = found["rate_if_half_is_labelled"]
        held.append(half["low"] <= truth <= half["high"])
        above.append(truth <= half["high"])
        most.append(truth <= found["rate_at_most"]["high"])
        assert half["high"] < 3 * truth + 0.02  # it says something
    assert sum(above) >= 18
    assert sum(most) >= 18
    if exact:
        assert sum(held) >= 18


def test_filters_on_signals_made_from_labels_are_left_out_and_named(tmp_path):
    random_set(tmp_path, 0)
    plain = hidden_positives(tmp_path, IDS, RULES)
    rules = Rules(RULES.filters, RULES.count, RULES.sampling, from_labels=frozenset({"encoder"}))
    found = hidden_positives(tmp_path, IDS, rules)
    assert found["without_filters"] == ["percent_of_positive"]
    assert found["kept"] > plain["kept"]


@pytest.mark.parametrize("seed", range(2))
def test_other_rules_than_those_of_the_file_are_noticed(seed, tmp_path):
    random_set(tmp_path, seed)
    wrong = Rules((ScoreRange(maximum=0.1),), 4, Top())
    assert "missing" in hidden_positives(tmp_path, IDS, wrong)
    unknown = Rules((PercentOfPositive(signal="bm25"),), 4, Top())
    assert "nothing scored it" in hidden_positives(tmp_path, IDS, unknown)["missing"]


def test_queries_with_one_positive_hide_none(tmp_path):
    scores = np.random.default_rng(0).normal(0, 1, (5, 60))
    write_set(tmp_path, scores, [[i] for i in range(5)], width=20)
    stats = describe(tmp_path, wanted=4, doc_ids=IDS, reasons=("known_positive",), rules=RULES)
    assert stats["false_negatives"]["hidden"]["missing"].startswith("no query has several positives")
    assert stats["told"]["false_negatives"] == []


def test_rules_are_those_of_the_manifest(tmp_path):
    rules = Rules((ScoreRange(maximum=0.5), RankWindow(first=2, last=9)), 3, Random(seed=4))
    random_set(tmp_path, 0, rules=rules)
    assert recorded_rules(tmp_path) is None
    assert audit(tmp_path)["false_negatives"]["hidden"] == {"missing": "what filters chose is not recorded"}
    write_manifest(tmp_path, rules)
    read = recorded_rules(tmp_path)
    assert (read.filters, read.count, read.sampling) == (rules.filters, rules.count, rules.sampling)
    assert "positive_similarity" in read.from_labels
    assert audit(tmp_path)["false_negatives"]["hidden"]["hidden"] > 50
    text = (tmp_path / "manifest.json").read_text()
    for other in (text.replace('"mine"', '"teach"'), text.replace("score_range", "of_the_future"), "{}"):
        (tmp_path / "manifest.json").write_text(other)
        assert recorded_rules(tmp_path) is None


def test_a_sample_of_queries_is_enough(tmp_path, monkeypatch):
    random_set(tmp_path, 0, queries=120)
    whole = hidden_positives(tmp_path, IDS, RULES)
    monkeypatch.setattr("embedkit.mining.audit.hidden._CELLS", 60 * 20)
    part = hidden_positives(tmp_path, IDS, RULES)
    assert part["queries"] < whole["queries"]
    assert part["survival"]["low"] < whole["survival"]["value"] < part["survival"]["high"]
