"""Overlaps that were put in on purpose are found, each as what it is, and nothing else."""

import numpy as np
import pytest

from embedkit.core.dataset import read_dataset
from embedkit.core.errors import DataError
from embedkit.core.pairs import Pair, Pairs, write_pairs
from embedkit.core.records import Corpus, Queries
from embedkit.core.runs import Words
from embedkit.core.shingles import jaccard, shingles
from embedkit.evaluation.contamination.check import check, findings
from embedkit.evaluation.contamination.finder import Rules, find_matches
from embedkit.evaluation.contamination.held import Held, HeldTexts
from embedkit.evaluation.contamination.matches import HOWS
from embedkit.evaluation.contamination.tasks import of_dataset
from embedkit.evaluation.contamination.training import Training
from tests.evaluation.contamination.planted import TASK, text, write_task, write_train

EXPECTED = {  # training text -> what it is, and how
    ("p0", "q0", "exact"),
    ("p1", "q1", "near"),
    ("p3", "q30", "inside_training"),
    ("p7", "q2", "exact"),
    ("t0", "d0", "exact"),
    ("t1", "d1", "near"),
    ("t2", "d60", "inside_training"),
    ("t3", "d3", "inside_evaluation"),
    ("t4", "d40", "exact"),
    ("t8", "q5", "exact"),
}


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    return Training(write_train(folder / "pairs"), folder / "work")


@pytest.fixture(scope="module")
def task():
    return of_dataset("task", TASK)


@pytest.fixture(scope="module")
def found(training, task):
    rules = Rules()
    return findings(check(training, [task], rules), rules)


def named(training, task, matches):
    """Matches as ids; queries' texts and documents' differ, so a text has one id."""
    ids = {
        **dict(zip(task.queries, task.query_ids, strict=True)),
        **dict(zip(task.documents, task.doc_ids, strict=True)),
    }
    held = HeldTexts([task])
    twins = [ids[twin] for twin in held.texts(matches.units)]
    numbers, hows = matches.numbers.tolist(), matches.hows.tolist()
    return {(training.id(n), twin, HOWS[how]) for n, twin, how in zip(numbers, twins, hows, strict=True)}


@pytest.mark.parametrize("near_by", ["exact", "minhash"])
@pytest.mark.parametrize("block", [1, 500, 1 << 23])
def test_all_that_was_planted_is_found_and_nothing_else(training, task, near_by, block):
    matches, by = find_matches(training, HeldTexts([task]), Rules(near_by=near_by), block=block)
    assert named(training, task, matches) == EXPECTED
    assert by == near_by


def test_what_is_not_asked_for_is_not_looked_for(training, task):
    held = HeldTexts([task])
    exact = {one for one in EXPECTED if one[2] == "exact"}
    assert named(training, task, find_matches(training, held, Rules(None, None))[0]) == exact
    inside = {one for one in EXPECTED if one[2].startswith("inside")}
    found = named(training, task, find_matches(training, held, Rules(None, 0.8))[0])
    assert exact | inside <= found
    assert "near" not in {how for _, _, how in found}


def test_auto_counts_exactly_if_everything_fits(training, task):
    held = HeldTexts([task])
    assert find_matches(training, held, Rules(), block=2 * held.words)[1] == "exact"
    assert find_matches(training, held, Rules(), block=2 * held.words - 1)[1] == "minhash"


def cells(task):
    return {(row["of"], row["among"]): (row["found"], row["touched"]) for row in task["found"]}


def test_counts_are_of_training_texts_and_of_evaluation_texts(found):
    one = found["tasks"][0]
    once = {"exact": 1}, {"exact": 1}
    assert cells(one) == {
        ("queries", "queries"): ({"exact": 2, "near": 1, "inside_training": 1},) * 2,
        ("queries", "relevant"): ({}, {}),
        ("queries", "documents"): ({}, {}),
        ("positives", "queries"): once,
        ("positives", "relevant"): ({"exact": 1, "near": 1, "inside_training": 1, "inside_evaluation": 1},) * 2,
        ("positives", "documents"): ({}, {}),
        ("negatives", "queries"): ({}, {}),
        ("negatives", "relevant"): once,
        ("negatives", "documents"): once,
    }
    assert {name: one[name] for name in ("queries", "relevant", "documents", "judged_pairs")} == {
        "queries": 32,
        "relevant": 33,
        "documents": 30,
        "judged_pairs": 33,
    }
    assert found["train"] == {"pairs": 8, "queries": 8, "positives": 9, "negatives": 7}


def test_touched_queries_are_those_that_training_has_seen(found):
    one = found["tasks"][0]
    assert one["touched"] == {
        "query": {"q0": "exact", "q1": "near", "q2": "exact", "q5": "exact", "q30": "inside_training"},
        "judged_pair": {"q0": "exact", "q1": "near", "q30": "inside_training"},
        "relevant_document": {"q0": "exact", "q1": "near", "q3": "inside_evaluation", "q30": "inside_training"},
    }
    assert one["touched_query_ids"] == ["q0", "q1", "q2", "q5", "q30"]


def test_judged_pairs_among_training_pairs_are_leaks(found):
    leaked = found["tasks"][0]["leaked_pairs"]
    assert leaked["found"] == {"exact": 1, "near": 1, "inside_training": 1}
    assert leaked["training_pairs"] == 3
    assert {(e["training_query"], e["training_document"], e["query_id"], e["doc_id"]) for e in leaked["examples"]} == {
        ("p0", "t0", "q0", "d0"),
        ("p1", "t1", "q1", "d1"),
        ("p3", "t2", "q30", "d60"),
    }


def test_examples_show_both_texts(found):
    row = next(row for row in found["tasks"][0]["found"] if (row["of"], row["among"]) == ("positives", "relevant"))
    near = next(example for example in row["examples"] if example["how"] == "near")
    assert (near["id"], near["twin"]) == ("t1", "d1")
    assert near["text"].startswith(near["twin_text"][:100])
    assert near["similarity"] == round(
        jaccard(shingles(TASK.corpus.texts[1]), shingles(f"{TASK.corpus.texts[1]} and")), 4
    )


def test_it_is_said_in_words(found):
    assert found["summary"] == [
        "task: 4 of 32 queries are among training queries (2 the same, 1 nearly the same, 1 inside a training text)",
        "task: 4 of 33 relevant documents are among training positives (1 the same, 1 nearly the same, 1 inside a "
        "training text, 1 around a training text)",
    ]
    assert found["looked_for"] == (
        "the same text; Jaccard similarity of runs of 3 words from 0.9; 80% of one's runs of 13 words in the other"
    )
    assert found["warnings"] == [
        "task: training has seen 5 of 32 queries (15.6%); give its scores without them too",
        "task: 3 of 33 judged pairs are training pairs",
    ]


def test_tasks_are_told_apart(training, task):
    other = Held("other", ["a", "b"], [text(8), TASK.queries.texts[0]])
    rules = Rules()
    both = findings(check(training, [other, task], rules), rules)
    alone = findings(check(training, [task], rules), rules)
    assert both["tasks"][1] == alone["tasks"][0]
    assert both["tasks"][0]["touched_query_ids"] == ["b"]
    assert [row["among"] for row in both["tasks"][0]["found"]] == ["queries"] * 3
    assert "other: 1 of 2 queries are among training queries (1 the same)" in both["summary"]


def test_a_dataset_is_held_by_its_dev_and_test_queries(tmp_path):
    dataset = read_dataset(write_task(tmp_path / "task"))
    held = of_dataset("task", dataset)
    assert "unjudged" not in held.query_ids
    with pytest.raises(DataError, match="task: has no judged queries of dev; it has \\['test'\\]"):
        of_dataset("task", dataset, ("dev",))
    train = of_dataset("t", type(dataset)(dataset.corpus, dataset.queries, {"train": dataset.qrels["test"]}))
    assert train.query_ids == held.query_ids  # all there is


def test_there_must_be_something_to_compare(tmp_path, training):
    with pytest.raises(DataError, match="none: has no queries"):
        check(training, [Held("none", [], [])], Rules())
    (tmp_path / "pairs").mkdir()
    write_pairs(tmp_path / "pairs", Pairs(Corpus(["d"], [""], ["x"]), Queries(["q"], ["y"]), []))
    with pytest.raises(DataError, match="has no training pairs"):
        check(Training(tmp_path / "pairs", tmp_path / "work"), [Held("t", ["q"], ["y"])], Rules())


def write_templated(folder, queries: list[str]):
    folder.mkdir()
    ids = [f"t{i}" for i in range(len(queries))]
    rows = [Pair(id_, ("d",)) for id_ in ids]
    write_pairs(folder, Pairs(Corpus(["d"], [""], ["some document of no interest"]), Queries(ids, queries), rows))
    return Training(folder, folder / "work")


def test_likeness_by_template_is_told_apart_from_likeness_of_questions(tmp_path):
    template = "what are the symptoms and the possible treatments of type {} of the disease"
    held = Held("faq", [f"q{i}" for i in range(21)], [*(template.format(i) for i in range(20)), f"{text(30)} end"])
    asked = [template.format(99), f"{held.queries[20]} so"]
    rules = Rules(near=0.6)
    found = findings(check(write_templated(tmp_path / "pairs", asked), [held], rules), rules)
    templates = found["tasks"][0]["templates"]
    assert (templates["near"], templates["templated"]) == (21, 20)
    assert templates["common"][0] == {"words": "and the possible", "share": 20 / 21}
    assert "20 of 21 near matches of queries are mostly template ('and the possible'" in found["warnings"][1]


def test_minhash_misses_few_of_what_counting_finds(tmp_path):
    """At the threshold of 0.8 itself, the bands miss less than 1 in 100; nothing is found that is not near."""
    rng = np.random.default_rng(0)
    bases = [text(80).split() for _ in range(150)]
    documents = []
    for base in bases:
        for _ in range(3):
            words = list(base)
            for place in rng.choice(len(words), rng.integers(0, 5), replace=False):
                words[place] = str(rng.integers(10**6))
            documents.append(" ".join(words))
    held = Held("t", ["q"], [text(8)], [str(i) for i in range(150)], [" ".join(base) for base in bases])
    (tmp_path / "pairs").mkdir()
    ids = [f"t{i}" for i in range(len(documents))]
    corpus = Corpus(ids, [""] * len(ids), documents)
    write_pairs(tmp_path / "pairs", Pairs(corpus, Queries(["q"], [text(8)]), [Pair("q", tuple(ids))]))
    training = Training(tmp_path / "pairs", tmp_path / "work")
    pairs = {}
    for near_by in ("exact", "minhash"):
        matches, _ = find_matches(training, HeldTexts([held]), Rules(0.8, None, near_by))
        pairs[near_by] = set(zip(matches.numbers.tolist(), matches.units.tolist(), strict=True))
    assert pairs["minhash"] <= pairs["exact"]
    assert len(pairs["minhash"]) >= 0.99 * len(pairs["exact"])
    assert 250 < len(pairs["exact"]) < 450


def test_units_are_distinct_texts_in_the_order_they_appear():
    held = HeldTexts([Held("a", ["1", "2", "3"], ["x y", "", "X  y"]), Held("b", ["1"], ["z"], ["d"], ["x y"])])
    assert held.units(0, "queries").tolist() == [0, -1, 0]
    assert (held.units(1, "queries").tolist(), held.units(1, "documents").tolist()) == ([1], [0])
    assert held.texts(np.array([1, 0])) == ["z", "x y"]
    assert list(held.column(np.array([1, 0]))) == ["z", "x y"]
    assert held.same(Words(["Z", "nowhere", ""]).digests).tolist() == [1, -1, -1]
    assert HeldTexts([]).same(Words(["a"]).digests).tolist() == [-1]
