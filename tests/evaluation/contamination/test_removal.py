"""Pairs without what evaluation has: nothing of it is left, everything else stays as it was."""

import pytest

from embedkit.core.errors import DataError
from embedkit.core.pairs import Pair, read_pairs
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.evaluation.contamination.check import check, findings
from embedkit.evaluation.contamination.finder import Rules
from embedkit.evaluation.contamination.removal import write_clean
from embedkit.evaluation.contamination.tasks import of_dataset
from embedkit.evaluation.contamination.training import Training
from tests.evaluation.contamination.planted import TASK, TRAIN, write_train

TASKS = [of_dataset("task", TASK)]


@pytest.fixture
def checked(tmp_path):
    return check(Training(write_train(tmp_path / "pairs"), tmp_path / "work"), TASKS, Rules())


def test_queries_and_relevant_documents_go_and_the_rest_stays(checked, tmp_path):
    removed = write_clean(checked, tmp_path / "clean")
    left = read_pairs(tmp_path / "clean")
    assert list(left.rows) == [
        Pair("p2", ("t5",), known=("t5",), positive_scores=(0.75,), negatives=("t9", "t7")),
        TRAIN.rows[5],
        Pair("p8", ("t9",), known=("t9",), suspects=("t4",), negatives=("t7",), fills=("t7",)),
    ]
    assert list(left.queries.ids) == ["p2", "p4", "p5", "p6", "p8"]
    assert list(left.corpus.ids) == ["t4", "t5", "t6", "t7", "t9", "t10", "t11"]
    texts = dict(zip(TRAIN.corpus.ids, TRAIN.corpus.full_texts(), strict=True))
    assert left.document_texts() == {id_: texts[id_] for id_ in left.corpus.ids}
    assert removed.rows == 3
    assert removed.counts == {
        "queries_removed": 4,
        "documents_removed": 5,
        "rows_whose_query_is_evaluated_on": 4,
        "rows_left_without_a_positive": 1,
        "positives_removed": 2,
        "negatives_removed": 1,
    }
    assert read_stats(tmp_path / "clean")["summary"] == removed.lines()
    assert not list(tmp_path.glob(".*"))


def test_nothing_is_found_in_what_is_left(checked, tmp_path):
    write_clean(checked, tmp_path / "clean")
    again = findings(check(Training(tmp_path / "clean", tmp_path / "again"), TASKS, Rules()), Rules())
    one = again["tasks"][0]
    assert one["touched"] == {"query": {}, "judged_pair": {}, "relevant_document": {}}
    assert {(r["of"], r["among"]) for r in one["found"] if r["found"]} == set()  # t4 was a negative of p0 alone
    assert again["warnings"] == []
    assert again["summary"] == [
        "task: none of its queries and relevant documents is among training queries and positives"
    ]


def test_the_rest_of_the_corpus_goes_if_asked(checked, tmp_path):
    write_clean(checked, tmp_path / "clean", whole_corpus=True)
    left = read_pairs(tmp_path / "clean")
    assert "t4" not in left.corpus.ids
    assert left.rows[-1].suspects == ()


def test_clean_pairs_are_written_as_they_were(tmp_path):
    training = Training(write_train(tmp_path / "pairs"), tmp_path / "work")
    other = of_dataset(
        "other", type(TASK)(TASK.corpus.take([20]), TASK.queries.take([20]), {"test": {"q20": {"d20": 1}}})
    )
    removed = write_clean(check(training, [other], Rules()), tmp_path / "clean")
    assert removed.lines() == ["8 rows of pairs are left; removed: nothing"]
    assert read_pairs(tmp_path / "clean") == read_pairs(tmp_path / "pairs")
    before, after = digests(tmp_path / "pairs"), digests(tmp_path / "clean")
    assert {name: before[name] for name in ("corpus.parquet", "queries.parquet")}.items() <= after.items()


def test_nothing_is_written_over(checked, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(DataError, match="is there already"):
        write_clean(checked, tmp_path / "full")
    with pytest.raises(DataError, match="which must stay as it was made"):
        write_clean(checked, tmp_path / "pairs" / "clean")
    (tmp_path / "empty").mkdir()
    write_clean(checked, tmp_path / "empty")
    assert (tmp_path / "empty" / "pairs.parquet").is_file()
