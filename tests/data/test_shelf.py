import pytest

from embedkit.data import shelf as module
from embedkit.data.shelf import Shelf


@pytest.mark.parametrize("at_a_time", [1, 3, 100])
def test_rows_come_back_in_order_however_many_are_held(tmp_path, monkeypatch, at_a_time):
    monkeypatch.setattr(module, "_AT_A_TIME", at_a_time)
    shelf = Shelf(tmp_path / "new" / "texts", ("title", "text"))
    for i in range(10):
        shelf.put(f"d{i}", (f"title {i}", f"tëxt {i}"), f"file:{i}", '{"n": 1}' if i == 4 else "")
        assert shelf.where("d0") == "file:0"
        assert shelf.where(f"d{i}") == f"file:{i}"
    columns = shelf.columns()
    assert list(columns["id"]) == [f"d{i}" for i in range(10)]
    assert list(columns["text"]) == [f"tëxt {i}" for i in range(10)]
    assert [i for i, text in enumerate(columns["metadata"]) if text] == [4]
    assert shelf.has_metadata
    assert len(shelf) == 10
    assert "d9" in shelf
    assert "d10" not in shelf


def test_a_shelf_knows_whether_texts_are_those_of_an_id(tmp_path):
    shelf = Shelf(tmp_path / "texts", ("title", "text"))
    shelf.put("a", ("t", "x"), "file:1")
    shelf.put("b", ("", "y"), "file:2")
    assert shelf.holds("a", ("t", "x"))
    assert not shelf.holds("a", ("tx", ""))
    assert not shelf.holds("b", ("t", "x"))
    assert not shelf.has_metadata


def test_rejected_rows_are_remembered_but_not_held(tmp_path):
    shelf = Shelf(tmp_path / "texts", ("text",))
    shelf.rejected["bad"] = "file:7"
    assert shelf.where("bad") == "file:7"
    assert shelf.where("none") is None
    assert "bad" not in shelf
    assert list(shelf.columns()["id"]) == []
