import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.core.errors import DataError
from embedkit.evaluation.trec import read_qrels, read_run, write_qrels, write_run

ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=" \t\n\r\x0b\x0c"), min_size=1, max_size=5)
runs = st.dictionaries(
    ids, st.dictionaries(ids, st.floats(-1e9, 1e9), min_size=1, max_size=5), min_size=1, max_size=4
)  # ids in any script, with spaces of other scripts


@given(runs)
def test_a_run_is_read_as_it_was_written(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("run") / "a.run"
    write_run(path, run, tag="t")
    assert read_run(path).run == run


@given(st.dictionaries(ids, st.dictionaries(ids, st.integers(-2, 4), min_size=1, max_size=4), min_size=1, max_size=4))
def test_judgements_are_read_as_they_were_written(tmp_path_factory, qrels):
    path = tmp_path_factory.mktemp("qrels") / "a.qrels"
    write_qrels(path, qrels)
    assert read_qrels(path) == qrels


def test_a_run_as_trec_has_it(tmp_path):
    path = tmp_path / "a.run"
    write_run(path, {"q1": {"a": 0.25, "b": 0.75, "c": 0.75}, "q0": {"a": -1.0}}, tag="mine", depth=2)
    assert path.read_text() == "q1 Q0 c 1 0.75 mine\nq1 Q0 b 2 0.75 mine\nq0 Q0 a 1 -1.0 mine\n"


def test_a_run_is_written_query_by_query(tmp_path):
    """A generator that has not made its last query when the first is on its way to the disk."""
    path, seen = tmp_path / "a.run", []

    def queries():
        for query in range(3000):
            seen.append(sum(p.stat().st_size for p in tmp_path.iterdir()))
            yield f"q{query}", {f"document{i}": float(i) for i in range(9)}

    write_run(path, queries(), tag="t")
    assert seen[0] == 0
    assert seen[-1] > 100_000
    assert len(read_run(path).run) == 3000


def test_what_is_common_in_files_is_read(tmp_path):
    path = tmp_path / "a.run.gz"
    path.write_bytes(
        gzip.compress("\ufeffq1\tQ0  a 1 2.5e0 bm25\r\n\n  q1 Q0 b 2 -1 bm25\nq2 Q0 a 0 0.5 bm25".encode())
    )
    assert read_run(path).run == {"q1": {"a": 2.5, "b": -1.0}, "q2": {"a": 0.5}}
    path = tmp_path / "qrels.tsv"
    path.write_text("query-id\tcorpus-id\tscore\nq 1\td 1\t2\nq2\td\t0\n")
    assert read_qrels(path) == {"q 1": {"d 1": 2}, "q2": {"d": 0}}
    path.write_text("q1\td1\t1\n")
    assert read_qrels(path) == {"q1": {"d1": 1}}
    path.write_text("q1 0 d1 1\nq1 0 d2 -1\nq1 0 d1 1\n")
    assert read_qrels(path) == {"q1": {"d1": 1, "d2": -1}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 a 1 0.5", "has 5 columns; expected 6: query_id Q0 doc_id rank score tag"),
        ("q1 Q0 my document 1 0.5 t", r"has 7 columns; expected 6.*ids cannot hold spaces"),
        ("q1 Q0 a 1 nan t", "score is 'nan'; expected a finite number"),
        ("q1 Q0 a 1 inf t", "score is 'inf'"),
        ("q1 Q0 a 1 high t", "score is 'high'"),
        ("q1 Q0 a first 0.5 t", "rank is 'first'; expected a whole number"),
        ("q0 Q0 b 2 0.5 t", "document 'b' stands twice in query 'q0'"),
        ("q1 Q0 \udcff 1 0.5 t", "is not UTF-8"),
        (f"q1 Q0 a 1 {'x' * 999} t", r"x'\.\.\.; expected a finite number"),
    ],
)
def test_a_bad_row_is_told_with_its_line(tmp_path, line, message):
    path = tmp_path / "a.run"
    path.write_bytes(f"q0 Q0 b 1 0.5 t\n{line}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message) as error:
        read_run(path)
    assert str(error.value).startswith(f"{path}:2: ")
    assert len(str(error.value)) < 300 + len(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 0 d1\n", ":1: has 3 columns; expected 4"),
        ("q1 0 d1 1.5\n", ":1: relevance is '1.5'; expected a whole number"),
        ("q1 0 d0 1\nq1 0 d1 3000000000\n", ":2: relevance is '3000000000'; expected -10,000 to 10,000"),
        ("q1 0 d1 1e300\n", ":1: relevance is '1e300'; expected -10,000 to 10,000"),
        ("q1 0 d1 -10001\n", ":1: relevance is '-10001'"),
        ("query-id\tcorpus-id\tscore\nq1\td1\t3000000000\n", ":2: relevance is '3000000000'"),
        ("q1 0 d1 1\nq1 0 d1 2\n", ":2: document 'd1' is judged 2 for query 'q1', before it was 1"),
        ("query-id\tcorpus-id\tscore\nq1\td1\n", ":2: has 2 columns; expected 3"),
        ("q1\td1\tyes\n", ":1: relevance is 'yes'"),
        ("", "holds no judgements"),
    ],
)
def test_bad_judgements_are_told(tmp_path, text, message):
    path = tmp_path / "qrels"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_qrels(path)


def test_files_that_are_none_are_told(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_run(tmp_path / "absent")
    with pytest.raises(DataError, match="is a folder"):
        read_run(tmp_path)
    (tmp_path / "bad.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_run(tmp_path / "bad.gz")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(DataError, match="holds no rows"):
        read_run(tmp_path / "empty")


@pytest.mark.parametrize(
    ("run", "tag", "message"),
    [
        ({"q 1": {"a": 1.0}}, "t", "query id 'q 1' cannot be written: TREC's format has its columns apart by spaces"),
        ({"q1": {"a\tb": 1.0}}, "t", r"document id 'a\\tb'"),
        ({"q1": {"": 1.0}}, "t", "document id ''"),
        ({"q1": {"a": 1.0}}, "my run", "tag 'my run'"),
        ({"q1": {"a": float("nan")}}, "t", "the score of document 'a' in query 'q1' is nan"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_and_leaves_the_file_as_it_was(tmp_path, run, tag, message):
    path = tmp_path / "a.run"
    path.write_text("before")
    with pytest.raises(DataError, match=message):
        write_run(path, {"fine": {"d": 1.0}, **run}, tag=tag)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match="cannot be written"):
        write_qrels(path, {"q": {"d 1": 1}})


def test_what_is_odd_but_not_wrong_is_noted(tmp_path):
    path = tmp_path / "a.run"
    path.write_text(
        "q1 Q0 a 1 0.5 t\nq1 Q0 b 2 0.9 t\nq2 Q0 a 1 0.5 t\nq2 Q0 b 2 0.5 t\nq3 Q0 a 2 0.1 t\nq3 Q0 b 1 0.2 t\n"
    )
    (note,) = read_run(path).notes
    assert "in 1 queries the ranks contradict the scores; scores decide" in note
    path.write_text("q1 Q0 a 1 0.50000000001 t\nq1 Q0 b 2 0.5 t\n")
    (note,) = read_run(path).notes
    assert "in 1 queries scores differ by less than single precision holds" in note


def test_identical_ids_are_left_out_on_demand(tmp_path):
    path = tmp_path / "a.run"
    path.write_text("q1 Q0 q1 1 9 t\nq1 Q0 b 2 1 t\n")
    assert read_run(path).run == {"q1": {"q1": 9.0, "b": 1.0}}
    found = read_run(path, ignore_identical_ids=True)
    assert found.run == {"q1": {"b": 1.0}}
    assert "1 documents that have their query's id are left out" in found.notes[0]
