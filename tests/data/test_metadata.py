import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.data.metadata import Carried
from embedkit.data.rows import BadRow


def carried(values, used=("_id",), fields=True):
    text = Carried(fields).of(values, used)
    return json.loads(text) if text else text


def test_other_fields_are_carried_with_sorted_keys():
    text = Carried().of({"_id": "d", "url": "ü", "lang": None, "a": [1, {"z": 2.5, "b": True}]}, ("_id",))
    assert text == '{"a": [1, {"b": true, "z": 2.5}], "url": "ü"}'


@pytest.mark.parametrize("nothing", [None, "", [], {}, b"", ()])
def test_what_is_null_or_empty_is_left_out(nothing):
    assert carried({"_id": "d", "x": nothing, "metadata": {"y": nothing}}) == ""
    assert carried({"_id": "d", "x": 0, "y": False}) == {"x": 0, "y": False}


def test_beirs_metadata_stands_beside_the_rows_other_fields():
    assert carried({"metadata": {"url": "a", "year": 1}, "url": "b"}) == {"url": "b", "year": 1}
    assert carried({"metadata": '{"url": "a"}'}) == {"url": "a"}
    assert carried({"metadata": "{plain text"}) == {"metadata": "{plain text"}
    assert carried({"metadata": ["a"]}) == {"metadata": ["a"]}


def test_none_or_only_the_named_fields_are_carried():
    values = {"_id": "d", "url": "a", "year": 1, "metadata": {"page": 3}}
    assert carried(values, fields=False) == ""
    assert carried(values, fields=("page", "year", "other")) == {"page": 3, "year": 1}
    some = Carried(("page", "other"))
    some.of(values, ("_id",))
    assert some.missing() == ["other"]
    assert Carried().missing() == []


def test_values_that_json_lacks_are_written_as_what_it_has():
    values = {
        "day": date(2024, 2, 3),
        "at": datetime(2024, 2, 3, 4, 5, tzinfo=UTC),
        "time": time(4, 5),
        "price": Decimal("1.50"),
        "key": UUID(int=7),
        "bytes": b"\x00\xff",
        "nan": float("nan"),
        "inner": [float("inf"), ("a", "b")],
    }
    assert carried(values) == {
        "day": "2024-02-03",
        "at": "2024-02-03T04:05:00+00:00",
        "time": "04:05:00",
        "price": "1.50",
        "key": "00000000-0000-0000-0000-000000000007",
        "bytes": "AP8=",
        "nan": None,
        "inner": [None, ["a", "b"]],
    }
    with pytest.raises(BadRow, match=r"picture holds <object object.*name the fields to carry with `metadata`"):
        carried({"picture": object()})


def test_half_a_surrogate_pair_is_escaped():
    text = Carried().of({"x": "\ud800"}, ())
    assert text.encode().decode() == '{"x": "\\ud800"}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda name: name != "metadata"), JSON))
def test_whatever_json_can_say_comes_back(values):
    found = carried(values, used=())
    kept = {name: value for name, value in values.items() if value is not None and value not in ("", [], {})}
    assert (found or {}) == kept
    text = Carried().of(values, ())
    assert Carried().of(dict(reversed(values.items())), ()) == text
