import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedkit.core import columns as module
from embedkit.core.columns import Documents, Picked, Strings, mapped, taken
from embedkit.core.records import Corpus, read_corpus, write_corpus

TEXTS = [f"text {i}" for i in range(50)]


@pytest.mark.parametrize("at_a_time", [1, 7, 100])
@pytest.mark.parametrize("rows", [[], [0], [3, 1, 1, 49], range(0, 50, 2), [*range(20), 49]])
def test_picked_rows_are_those_rows(monkeypatch, at_a_time, rows):
    monkeypatch.setattr(module, "_AT_A_TIME", at_a_time)
    column = Strings(pa.chunked_array([TEXTS[:9], TEXTS[9:]]))
    picked, expected = Picked(column, np.array(rows, dtype=np.int64)), [TEXTS[i] for i in rows]
    assert list(picked) == expected
    assert [picked[i] for i in range(len(picked))] == expected
    assert list(picked[1:3]) == expected[1:3]
    assert picked == expected
    assert expected == picked
    assert picked != [*expected, "more"]


@pytest.mark.parametrize("cuts", [(50,), (9, 41), (0, 1, 0, 30, 19)])
@pytest.mark.parametrize("rows", [[], [0], [49, 49, 0], [3, 1, 1, 49], range(49, -1, -1), [8, 9, 10, 31]])
def test_rows_are_taken_from_every_chunk(cuts, rows):
    ends = np.cumsum([0, *cuts])
    chunks = [pa.array(TEXTS[a:b], type=pa.string()) for a, b in pairwise(ends)]
    assert Strings(pa.chunked_array(chunks)).take(np.array(rows, dtype=np.int64)) == [TEXTS[row] for row in rows]


@pytest.mark.parametrize("rows", [[], [2], [4, 0, 4]])
def test_rows_of_any_column_are_taken_together(rows):
    places, some = np.array([40, 7, 7, 0, 49]), np.array(rows, dtype=np.int64)
    column = Strings(pa.chunked_array([TEXTS[:9], TEXTS[9:]]))
    documents = Documents(Strings(pa.array(["", "title"] * 25)), column)
    for asked in (TEXTS, column, documents, Picked(column, places), Picked(documents, places)):
        assert taken(asked, some) == [asked[row] for row in rows]


@pytest.mark.parametrize("rows", [[50], [3, 70]])
def test_a_row_that_is_not_there_is_an_error(rows):
    with pytest.raises(IndexError, match=f"row {rows[-1]} of 50"):
        Strings(pa.array(TEXTS)).take(np.array(rows))


def test_a_file_has_the_same_bytes_wherever_its_columns_come_from(tmp_path, monkeypatch):
    from embedkit.core import records

    monkeypatch.setattr(records, "_GROUP", 8)
    ids, titles = [f"d{i}" for i in range(50)], [""] * 50
    lists = Corpus(ids, titles, TEXTS)
    arrow = Corpus(*(Strings(pa.chunked_array([some[:9], some[9:]])) for some in (ids, titles, TEXTS)))
    taken = Corpus([*ids, "x"], [*titles, "x"], [*TEXTS, "x"]).take(range(50))
    for name, corpus in (("lists", lists), ("arrow", arrow), ("taken", taken)):
        (tmp_path / name).mkdir()
        write_corpus(tmp_path / name, corpus)
    found = {(tmp_path / name / "corpus.parquet").read_bytes() for name in ("lists", "arrow", "taken")}
    assert len(found) == 1
    assert read_corpus(tmp_path / "lists") == lists
    assert pq.read_metadata(tmp_path / "lists" / "corpus.parquet").num_row_groups == 7


def test_a_copy_is_made_again_beside_those_who_read_it(tmp_path):
    """As when several processes open the same texts at once: none writes into a file that another has mapped."""
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "corpus.parquet")
    first = mapped(tmp_path / "corpus.parquet", tmp_path)
    inode = (tmp_path / "corpus.arrow").stat().st_ino
    (tmp_path / "corpus.arrow.sha256").unlink()
    second = mapped(tmp_path / "corpus.parquet", tmp_path)
    assert (tmp_path / "corpus.arrow").stat().st_ino != inode
    assert first.column("text").to_pylist() == second.column("text").to_pylist() == TEXTS
    made = {"corpus.arrow", "corpus.arrow.sha256", ".corpus.arrow.lock"}
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.parquet", *made}


def test_of_those_who_ask_at_once_one_makes_the_copy(tmp_path, monkeypatch):
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "corpus.parquet")
    copied = []

    def slowly(*paths):
        copied.append(paths)
        time.sleep(0.05)
        copy(*paths)

    copy = module._copy
    monkeypatch.setattr(module, "_copy", slowly)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: mapped(tmp_path / "corpus.parquet", tmp_path), range(4)))
    assert [table.column("text").to_pylist() for table in found] == [TEXTS] * 4
    assert len(copied) == 1
