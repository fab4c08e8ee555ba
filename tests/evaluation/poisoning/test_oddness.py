import math
import random

import numpy as np
import pytest

from embedkit.evaluation.poisoning.injection import inject
from embedkit.evaluation.poisoning.oddness import oddness
from embedkit.evaluation.poisoning.usage import Usage, confusable, runs
from embedkit.evaluation.poisoning.words import words_of

SUBJECTS = "the model,the authors,the method,a student,the city,the river,an agent,the team".split(",")
VERBS = "depends on,improves,is similar to,is based on,provides,leads to,is known for,was built in".split(",")
OBJECTS = "the size of the data,a number of tasks,the result of the study,the end of the year,the use of words".split(
    ","
)


def field(n: int, seed: int = 0) -> list[str]:
    """Texts of one field: sentences of the same parts."""
    rng = random.Random(seed)

    def sentence() -> str:
        return f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}.".capitalize()

    return [" ".join(sentence() for _ in range(4)) for _ in range(n)]


def test_what_may_stand_in_place_of_a_word():
    assert confusable("a") == ("an", "the")
    assert "on" in confusable("of")
    assert {"shown", "show", "showing", "showed"} <= set(confusable("shows"))
    assert "children" in confusable("child")
    assert confusable("informations") == ("information",)
    assert "than" in confusable("then")
    assert confusable("zebra") == ()


def test_places_are_odd_where_peers_have_them_otherwise():
    texts = [*["We look at the end of the year."] * 5, "We look at the end in the year.", "We look at end of the year."]
    usage = Usage(texts)
    (one,) = usage.odd_places(words_of(texts[5]), 5)
    assert one == (6, math.log(5 + 1))  # "end of the", in five texts and the last
    assert [place for place, _ in usage.odd_places(words_of(texts[6]), 6)] == [3]
    assert list(usage.odd_places(words_of(texts[0]), 0)) == []


def test_a_text_is_not_its_own_peer():
    texts = ["the end in the year", "the end of the year", "the end of the year"]
    assert list(Usage(texts).odd_places(words_of(texts[0]), 0)) == [(3, math.log(2))]
    copies = [texts[0], *texts]  # but copies are peers of one another
    assert list(Usage(copies).odd_places(words_of(texts[0]), 0)) == []


def test_texts_with_errors_are_odder_than_others():
    texts = field(300)
    for number in range(20):
        texts[number] = inject(texts[number], rate=0.12, seed=1).text
    found = oddness(texts)
    scores = found.scores
    assert np.median(scores[:20]) > np.quantile(scores[20:], 0.95)
    assert found.words.tolist() == [words_of(text).count for text in texts]


def test_scores_are_standardised_by_length_and_empty_texts_score_nothing():
    found = oddness([*field(20), "", "the end is an example of a example " * 5])
    mean = found.weights.sum() / found.words.sum()
    assert found.scores[-1] == pytest.approx((found.weights[-1] - mean * found.words[-1]) / found.words[-1] ** 0.5)
    assert found.scores[-2] == 0
    assert found.errors[-1] == 5


def test_what_query_and_positive_have_in_common_is_left_out():
    texts, quoting = ["it is a example of this"], ["we read that it is a example of this too"]
    assert oddness(texts, copied=["nothing of it"]).errors.tolist() == [1]
    assert oddness(texts, copied=quoting).errors.tolist() == [0]
    assert list(runs(words_of("a b").words)) == [("", "a", "b"), ("a", "b", "")]


def test_large_collections_are_sampled(monkeypatch):
    texts = field(60)
    monkeypatch.setattr("embedkit.evaluation.poisoning.usage._MOST", 400)
    usage = Usage(texts)
    left_out = "It improves the the city."  # text 1 is not counted, so that nothing is taken off for its own runs
    assert sum(usage._three.values()) < 0.5 * sum(words_of(text).count for text in texts)
    assert list(usage.odd_places(words_of(left_out), 1)) == list(usage.odd_places(words_of(left_out), 61))
