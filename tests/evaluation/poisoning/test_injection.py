import statistics

import pytest

from embedkit.core.errors import DataError
from embedkit.evaluation.poisoning.injection import KINDS, inject
from embedkit.evaluation.poisoning.words import BREAK, words_of

TEXT = (
    "The authors show that the model depends on a large number of examples, and it improves the result of each task in "
    "the benchmark. They can provide evidence for their method, but its parameters are chosen by the users. In a study "
    "of the language of children, many students have less information than their teachers."
)


def test_words_are_broken_where_more_than_space_stands_between():
    found = words_of("Don’t stop: 3 users (it's) go  on")
    assert found.words == (BREAK, "don't", "stop", BREAK, "users", BREAK, "it's", BREAK, "go", "on", BREAK)
    assert [found.shown(place) for place in (1, 2, 4, 9)] == ["Don’t", "stop", "users", "on"]
    assert (found.count, words_of(" 12 . ").words) == (6, (BREAK, BREAK))


def test_the_same_seed_gives_the_same_errors_and_another_one_others():
    once = inject(TEXT, rate=0.1, seed=3)
    assert once == inject(TEXT, rate=0.1, seed=3)
    assert len({inject(TEXT, rate=0.1, seed=seed).text for seed in range(20)}) > 15
    assert inject("The cat is on the mat.", rate=0.3, seed=0).text == "The cat is mat."  # on any machine


def test_edits_say_what_was_done_and_undo_it():
    found = inject(TEXT, rate=0.15, seed=1)
    before, after = words_of(TEXT), words_of(found.text)
    assert len(found.edits) >= 5
    rebuilt = [before.shown(place) for place in range(len(before.words)) if before.words[place]]
    numbers = [sum(map(bool, before.words[: edit.place])) for edit in found.edits]
    for number, edit in zip(numbers, found.edits, strict=True):
        assert rebuilt[number] == edit.before != edit.after
        rebuilt[number] = edit.after
    joined = " ".join(filter(None, rebuilt)).lower().split()
    assert joined == [word for word in after.words if word]


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.2])
def test_the_mean_number_of_errors_is_the_rate(rate):
    words = words_of(TEXT).count
    counts = [len(inject(TEXT, rate=rate, seed=seed, fewest=0).edits) for seed in range(300)]
    assert statistics.mean(counts) == pytest.approx(rate * words, abs=0.1)
    assert max(counts) - min(counts) <= 1


def test_every_kind_can_be_asked_for_alone():
    for kind in KINDS:
        edits = [edit for seed in range(5) for edit in inject(TEXT, rate=0.3, seed=seed, kinds=(kind,)).edits]
        assert {edit.kind for edit in edits} == {kind}
    assert len({edit.kind for seed in range(5) for edit in inject(TEXT, rate=0.3, seed=seed).edits}) == len(KINDS)


@pytest.mark.parametrize(
    ("text", "kind", "wanted"),
    [
        ("The result", "article", {"Result", "A result"}),
        ("an example", "article", {"example", "a example", "the example"}),
        ("depend on it", "preposition", {"depend in it", "depend at it", "depend of it", "depend it"}),
        ("more than one", "confusion", {"more then one"}),
        ("they show", "verb", {"they shows"}),
        ("it applies", "verb", {"it apply"}),
        ("can take", "verb", {"can takes", "can taking", "can took"}),
        ("is taken", "verb", {"is take", "are taken", "be taken"}),
        ("the children", "number", {"the child"}),
        ("properties", "number", {"property"}),
        ("information", "number", {"informations"}),
    ],
)
def test_errors_are_those_of_learners(text, kind, wanted):
    assert {inject(text, rate=0.01, seed=seed, kinds=(kind,)).text for seed in range(60)} == wanted


def test_what_has_no_place_stays_as_it_is():
    for text in ("", "12 %", "NASA IT US", "Übermut tut selten gut", "to go"):
        assert inject(text, rate=0.5, seed=0, kinds=("preposition", "article")).text == text
    assert inject("tell of it", rate=0.0, seed=0, fewest=0).edits == ()


def test_surrogates_and_wrong_rates():
    assert inject("the \ud800 thing", rate=0.5, seed=0).edits
    with pytest.raises(DataError, match=r"found 1\.5; expected a share"):
        inject("a", rate=1.5, seed=0)
