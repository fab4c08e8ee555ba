import numpy as np

from embedkit.mining.known import Judgements


def lists(arrays) -> list[list[int]]:
    return [a.tolist() for a in arrays]


def test_judgements_are_closed_over_equal_texts():
    queries = ["How to Move", "how  to move", "stop it"]
    documents = ["a move", "another", "A  MOVE", "stop it", "none"]
    known = Judgements(queries, documents, [np.array([0]), np.array([1]), np.array([4])]).known(range(3))
    assert lists(known.relevant) == [[0, 1], [0, 1], [4]]
    assert lists(known.same_text) == [[2], [2], []]
    assert lists(known.same_as_query) == [[], [], [3]]
    assert known.positives(0).tolist() == [0, 1, 2]
    assert known.most() == 3


def test_no_document_is_known_for_two_reasons():
    known = Judgements(["x"], ["x", "X"], [np.array([0])]).known(range(1))
    assert lists(known.relevant) == [[0]]
    assert lists(known.same_text) == [[1]]
    assert lists(known.same_as_query) == [[]]
