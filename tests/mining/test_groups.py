import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from embedkit.core.errors import DataError
from embedkit.core.records import Corpus
from embedkit.mining.groups import AnyGrouping, ById, ByMetadata, ByPattern, number_groups


def corpus(ids, metadata=()) -> Corpus:
    return Corpus(ids, [""] * len(ids), ["text"] * len(ids), (), metadata)


def same(numbers) -> list[list[bool]]:
    return [[bool(a == b) and a >= 0 for b in numbers] for a in numbers]


def test_ids_up_to_a_separator():
    numbers = number_groups(ById(separator="#"), corpus(["a#1", "b#1", "a#2#x", "a", "c"]))
    assert same(numbers)[0] == [True, False, True, True, False]
    assert (numbers >= 0).all()
    assert numbers.dtype == np.int64


def test_ids_that_match_alike():
    ids = ["wiki/a_1", "wiki/a_2", "news/b", "wiki/c_1"]
    numbers = number_groups(ByPattern(pattern=r"wiki/(\w)_"), corpus(ids))
    assert same(numbers)[0] == [True, True, False, False]
    assert numbers[2] == -1
    assert number_groups(ByPattern(pattern=r"1?$"), corpus(ids)).tolist() == [1, -1, -1, 1]  # nothing is no group
    whole = number_groups(ByPattern(pattern=r"^\w+"), corpus(ids))
    assert same(whole)[0] == [True, True, False, True]


def test_metadata_of_any_type():
    metadata = ['{"url": "u"}', '{"url": 7}', '{"other": 1}', "", '{"url": null}', '{"url": 7}', '{"url": ""}']
    numbers = number_groups(ByMetadata(key="url"), corpus([str(i) for i in range(7)], metadata))
    assert same(numbers)[1] == [False, True, False, False, False, True, False]
    assert numbers[2:5].tolist() == [-1] * 3
    assert numbers[6] == -1


@pytest.mark.parametrize("metadata", [(), ['{"url": "u"}', ""]])
def test_groups_that_are_not_there_are_an_error(metadata):
    with pytest.raises(DataError, match=r"no document of the corpus has a group by {kind: metadata, key: page}"):
        number_groups(ByMetadata(key="page"), corpus(["a", "b"], metadata))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "pattern", "pattern": "("}, r"'\(' is no regular expression: missing \)"),
        ({"kind": "id", "separator": ""}, "at least 1 character"),
    ],
)
def test_bad_groupings_are_refused(spec, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnyGrouping).validate_python(spec)
