"""Files: what is told, what is refused, the same bytes, nothing left behind."""

import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from embedkit.core.errors import ArtifactError, DataError, RecipeError
from embedkit.exports import NTuple, Triplet, examples, export, format_named
from tests.exports.cases import PAIRS, read, write_case


def test_tuples_have_as_many_negatives_as_the_most_or_as_asked_and_what_that_costs_is_told(pairs, tmp_path):
    done = export(pairs, tmp_path / "a.parquet", format=NTuple())
    assert [row["query"] for row in read(tmp_path / "a.parquet")] == ["question 0?", "question 0?", "question 3?"]
    assert done.format == NTuple(negatives=3)
    assert done.summary() == [
        "3 rows of 2 queries, n-tuple",
        "left out: 1 queries with fewer than 3 negatives",
        "left out: 1 queries without a negative",
        "2 negatives a query would leave out no query that has any",
    ]
    done = export(pairs, tmp_path / "b.parquet", format=NTuple(negatives=2))
    assert list(read(tmp_path / "b.parquet")[0]) == ["query", "positive", "negative_1", "negative_2"]
    assert done.summary() == [
        "4 rows of 3 queries, n-tuple",
        "left out: 1 queries without a negative",
        "1 of the negatives were found by no search: a fill policy put them there",
    ]


def test_the_same_pairs_give_the_same_bytes_and_other_groups_the_same_rows(pairs, tmp_path, monkeypatch):
    for suffix in (".parquet", ".arrow", ".jsonl"):
        for name in ("a", "b"):
            export(pairs, tmp_path / f"{name}{suffix}", format=Triplet(ids=True, scores="miner"))
        for table in ("", "-queries", "-documents"):
            first, second = (tmp_path / f"{name}{table}{suffix}" for name in ("a", "b"))
            assert first.read_bytes() == second.read_bytes()
    for name in ("_LOOKED_UP", "_GROUP", "_TABLE_GROUP"):
        monkeypatch.setattr(examples, name, 1)
    export(pairs, tmp_path / "c.parquet", format=Triplet(ids=True, scores="miner"))
    assert pq.ParquetFile(tmp_path / "c.parquet").num_row_groups == 3
    for table in ("", "-queries", "-documents"):
        assert read(tmp_path / f"c{table}.parquet") == read(tmp_path / f"a{table}.parquet")


def test_a_file_that_is_there_stays_unless_forced_and_drafts_do_not(pairs, tmp_path):
    to = tmp_path / "new" / "train.jsonl"
    export(pairs, to, format=Triplet())
    before = to.read_bytes()
    with pytest.raises(DataError, match="is there already; --force writes it anew"):
        export(pairs, to, format=Triplet(negatives=1))
    assert to.read_bytes() == before
    export(pairs, to, format=Triplet(negatives=1), force=True)
    assert len(read(to)) == 4
    (to.parent / "other-documents.jsonl").touch()
    with pytest.raises(DataError, match=r"other-documents.jsonl: is there already"):
        export(pairs, to.with_name("other.jsonl"), format=Triplet(ids=True))
    assert sorted(p.name for p in to.parent.iterdir()) == ["other-documents.jsonl", "train.jsonl"]


def test_an_error_midway_leaves_the_old_file_and_no_draft(tmp_path):
    broken = (*PAIRS[:2], replace(PAIRS[3], negatives=("d0", "nowhere")))
    folder, to = write_case(tmp_path / "mined", broken), tmp_path / "train.parquet"
    to.write_bytes(b"old")
    with pytest.raises(DataError, match=r"pairs.parquet: names 'nowhere', which corpus.parquet does not have"):
        export(folder, to, format=Triplet(), force=True)
    assert to.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mined", "train.parquet"]


def test_a_query_that_is_not_there_is_named(tmp_path):
    folder = write_case(tmp_path / "mined", (replace(PAIRS[0], query_id="q9"),))
    with pytest.raises(DataError, match=r"names 'q9', which queries.parquet does not have"):
        export(folder, tmp_path / "train.parquet", format=Triplet())


def test_wrong_folders_and_files_are_one_clear_line(pairs, tmp_path):
    to = tmp_path / "train.parquet"
    run = tmp_path / "run"
    run.mkdir()
    (run / "mined").symlink_to(pairs)
    for folder, message in (
        (tmp_path / "nope", "nope: is no folder; pairs are a folder with pairs.parquet, corpus.parquet"),
        (run, "run: has no pairs.parquet; did you mean .*run/mined"),
    ):
        with pytest.raises(DataError, match=message):
            export(folder, to, format=Triplet())
    with pytest.raises(RecipeError, match=r"x.csv: triplet is written to files that end in .parquet or .arrow or"):
        export(pairs, tmp_path / "x.csv", format=Triplet())
    with pytest.raises(DataError, match=r"is inside .*, which must stay as it was made"):
        export(run / "mined", pairs / "train.parquet", format=Triplet())
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(DataError, match="is a folder; name a file"):
        export(pairs, tmp_path / "folder.jsonl", format=Triplet(), force=True)
    damaged = shutil.copytree(pairs, tmp_path / "damaged")
    (damaged / "pairs.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match=r"pairs.parquet: cannot be read"):
        export(damaged, to, format=Triplet())
    assert not to.exists()


def test_no_negatives_at_all_is_told(tmp_path):
    folder = write_case(tmp_path / "mined", (PAIRS[2],))
    with pytest.raises(DataError, match="no query has a negative; mine them first"):
        export(folder, tmp_path / "a.parquet", format=NTuple())
    with pytest.raises(DataError, match=r"nothing to export as triplet \(1 queries without a negative\)"):
        export(folder, tmp_path / "a.parquet", format=Triplet())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("ntuple", {}, "format 'ntuple': there is none of that name; did you mean 'n-tuple'"),
        ("flagembedding", {"ids": True}, "format flagembedding: has no option 'ids'"),
        ("triplet", {"prompt": "x"}, "format triplet: has no option 'prompt'"),
        ("triplet", {"scores": "mine"}, "format triplet: scores: Input should be 'miner' or 'teacher'"),
        ("triplet", {"metadata": True}, "format triplet: trainers take every column for a text"),
        ("tevatron", {"ids": True, "scores": "miner"}, "format tevatron: Tevatron has no place for scores"),
    ],
)
def test_a_format_says_what_it_has_not(kind, options, message):
    with pytest.raises(RecipeError, match=message):
        format_named(kind, options)
