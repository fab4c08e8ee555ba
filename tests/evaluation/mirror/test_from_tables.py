"""Tasks that are one table, from files of any format."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedkit.core.errors import DataError
from embedkit.evaluation.mirror.facts import TaskFacts
from embedkit.evaluation.mirror.from_tables import mirror_from_tables
from tests.evaluation.mirror.facts import CLASSES, COMMIT, STS, write_sts

LEGACY = TaskFacts(
    "L", "Clustering", "a/b", COMMIT, "2", ("test",), columns={"sentences": "texts", "labels": "classes"}
)
PAIRS = TaskFacts(
    "P", "PairClassification", "a/b", COMMIT, "2", ("test",), columns={"a": "text", "b": "text", "labels": "binary"}
)


def read(mirror, facts, split="test"):
    return pq.read_table(mirror / facts.name / "data" / "default" / f"{split}.parquet").to_pylist()


def write_csv(folder, split, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_pairs_and_scores_are_as_in_the_file_whatever_its_format(tmp_path):
    csv = write_sts(tmp_path / "csv")
    first = mirror_from_tables(tmp_path / "m", STS, csv)
    rows = read(tmp_path / "m", STS)
    assert len(rows) == 12
    assert rows[1] == {"sentence1": "copy\nfolder", "sentence2": "open disk host", "score": 0.5}
    for name in ("jsonl", "parquet"):
        (tmp_path / name).mkdir()
    (tmp_path / "jsonl" / "test.jsonl").write_text("".join(json.dumps({**row, "genre": None}) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "parquet" / "test.parquet")
    for name in ("jsonl", "parquet"):
        assert mirror_from_tables(tmp_path / f"m-{name}", STS, tmp_path / name).revision == first.revision
    assert first.revision.startswith("tables-")


def test_splits_come_along_or_are_put_together(tmp_path):
    folder = write_sts(write_sts(tmp_path / "sts", 4, split="dev"), 6)
    write_csv(folder, "notes", "something,else", "1,2")
    mirror_from_tables(tmp_path / "a", STS, folder)
    assert (len(read(tmp_path / "a", STS)), len(read(tmp_path / "a", STS, "dev"))) == (6, 4)
    found = mirror_from_tables(tmp_path / "b", STS, folder, splits={"test": ("dev", "test")})
    assert len(read(tmp_path / "b", STS)) == 10
    assert "data/default/dev.parquet" not in found.files


def test_columns_may_have_other_names(tmp_path):
    folder = write_csv(tmp_path / "sts", "test", "left,right,score", "a,b,2", "c,d,3.5")
    columns = {"sentence1": "left", "sentence2": "right"}
    mirror_from_tables(tmp_path / "m", STS, folder, columns=columns)
    assert read(tmp_path / "m", STS)[1] == {"sentence1": "c", "sentence2": "d", "score": 3.5}


def test_classes_are_numbers_the_same_in_every_split(tmp_path):
    folder = write_csv(tmp_path / "c", "train", "text,label", "one,pear", "two,apple")
    write_csv(folder, "test", "text,label", "three,pear", "007,zoo")
    mirror_from_tables(tmp_path / "m", CLASSES, folder)
    assert [row["label"] for row in read(tmp_path / "m", CLASSES, "train")] == [1, 0]
    assert read(tmp_path / "m", CLASSES)[1] == {"text": "007", "label": 2}
    write_csv(folder, "train", "text,label", "one,7", "two,-3")
    write_csv(folder, "test", "text,label", "three,7")
    mirror_from_tables(tmp_path / "n", CLASSES, folder)
    assert [row["label"] for row in read(tmp_path / "n", CLASSES, "train")] == [7, -3]


def test_classes_that_are_numbers_written_in_several_ways_stay_apart(tmp_path):
    folder = write_csv(tmp_path / "c", "train", "text,label", "one,01", "two,1", "three,2")
    write_csv(folder, "test", "text,label", "four,2", "five,01")
    mirror_from_tables(tmp_path / "m", CLASSES, folder)
    assert [row["label"] for row in read(tmp_path / "m", CLASSES, "train")] == [0, 1, 2]
    assert [row["label"] for row in read(tmp_path / "m", CLASSES)] == [2, 0]


def test_single_texts_are_one_clustering_and_lists_are_as_many_as_they_are(tmp_path):
    mirror_from_tables(tmp_path / "m", LEGACY, write_csv(tmp_path / "c", "test", "sentences,labels", "a,x", "b,y"))
    assert read(tmp_path / "m", LEGACY) == [{"sentences": ["a", "b"], "labels": ["x", "y"]}]
    (tmp_path / "j").mkdir()
    rows = [{"sentences": ["a", "b"], "labels": [0, 1]}, {"sentences": ["c"], "labels": [0]}]
    (tmp_path / "j" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mirror_from_tables(tmp_path / "n", LEGACY, tmp_path / "j")
    assert [row["labels"] for row in read(tmp_path / "n", LEGACY)] == [["0", "1"], ["0"]]


def test_pairs_are_of_two_classes(tmp_path):
    mirror_from_tables(tmp_path / "m", PAIRS, write_csv(tmp_path / "p", "test", "a,b,labels", "x,y,1", "z,w,0"))
    assert [row["labels"] for row in read(tmp_path / "m", PAIRS)] == [1, 0]


@pytest.mark.parametrize(
    ("facts", "line", "columns", "said"),
    [
        (STS, "a,b,high", {}, r"test\.csv row 1: score is 'high'; expected a number"),
        (STS, "a,b,nan", {}, "expected a number"),
        (STS, "a,b,1", {"sentence1": "left"}, r"test\.csv: has no column 'left'"),
        (STS, "a,b,1", {"sentence_1": "left"}, "STS13: has no column 'sentence_1'; .*did you mean 'sentence1'"),
        (replace(STS, type="Reranking"), "a,b,1", {}, "is a task of type Reranking"),
        (replace(STS, splits=("validation",)), "a,b,1", {}, "needs a split 'validation'; found"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, facts, line, columns, said):
    folder = write_csv(tmp_path / "sts", "test", "sentence1,sentence2,score", line)
    with pytest.raises(DataError, match=said) as error:
        mirror_from_tables(tmp_path / "m", facts, folder, columns=columns)
    assert len(error.value.problems) == 1
    assert not (tmp_path / "m" / "STS13").exists()


def test_a_folder_must_be_there(tmp_path):
    with pytest.raises(DataError, match=r"none: no such folder; expected one with test\.csv"):
        mirror_from_tables(tmp_path / "m", STS, tmp_path / "none")
