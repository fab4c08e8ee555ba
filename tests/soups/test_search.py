"""The greedy search, on made-up scores."""

import pytest
from pydantic import ValidationError

from embedkit.soups.search import Greedy, Trial, equal_shares, greedy


def test_the_worked_example():
    scores = {(0,): 0.80, (1,): 0.79, (2,): 0.78, (0, 1): 0.81, (0, 1, 2): 0.80}
    found = greedy(3, scores.__getitem__)
    assert found.members == (0, 1)
    assert found.score == 0.81
    assert found.trials == (
        Trial((0,), 0.80, True),
        Trial((1,), 0.79, False),
        Trial((2,), 0.78, False),
        Trial((0, 1), 0.81, True),
        Trial((0, 1, 2), 0.80, False),
    )
    assert equal_shares(found.members, 3) == (0.5, 0.5, 0.0)


def test_models_are_tried_from_the_best_to_the_worst_and_a_rejected_one_is_left_out():
    scores = {(0,): 0.1, (1,): 0.3, (2,): 0.2, (1, 2): 0.29, (0, 1): 0.4}
    assert greedy(3, scores.__getitem__).members == (0, 1)


def test_a_model_that_changes_nothing_is_not_added():
    found = greedy(2, lambda members: 0.5)
    assert found.members == (0,)
    assert equal_shares(found.members, 2) == (1.0, 0.0)


def test_the_result_is_never_worse_than_the_best_model_alone():
    found = greedy(3, lambda members: [0.2, 0.9, 0.5][members[0]] if len(members) == 1 else 0.1)
    assert (found.members, found.score) == ((1,), 0.9)


@pytest.mark.parametrize("metric", ["ndcg", "ndcg@0", "NDCG@10", "accuracy@1"])
def test_an_unknown_metric_is_refused(metric):
    with pytest.raises(ValidationError):
        Greedy(data="d", metric=metric)
