import os
from pathlib import Path

import pytest

from embedkit.evaluation.poisoning.detection import error_counts, find_errors
from embedkit.evaluation.poisoning.injection import inject

WRONG = {
    "article": [
        "It is a example.",
        "We need an useful tool.",
        "the the model",
        "He lives in same city.",
        "This is the use of algorithm.",
        "as result of this",
    ],
    "number": ["We have a models.", "many student are here", "each features", "some informations", "many information"],
    "verb": [
        "They has it.",
        "she have it",
        "We shows it.",
        "It depend on this.",
        "the model are good",
        "these models is good",
        "it can improves",
        "to went home",
        "it is describe here",
        "it has become clear and has provide",
        "there are a reason",
    ],
    "preposition": ["It depends of the size.", "according the authors", "instead to this", "the use of in"],
    "confusion": ["more then one", "their is one", "there own way", "it's own", "much students", "the affect of it"],
}
RIGHT = [
    "It is an example of a university in an hour, and a European one.",
    "We have a systems approach; each of these models is good, and one model is better than the others.",
    "They have it, she has it, and it depends on the size of the model.",
    "Does it have a reason? Let it go. If it were so, they would know.",
    "The number of models is large. The use of these models was described.",
    "What they provide can improve what it has become, and it may have been shown to be so.",
    "a few students, many a student, one of the many, such a thing",
    "The results of the study are in the same place as the effect of it, which their authors know.",
    "For example, in practice, by hand, and at home we rely on it; they can be used to train models.",
    "He wants to go there, and there is its own reason for it: it is not theirs.",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in WRONG.items() for text in texts])
def test_planted_errors_are_found(kind, text):
    assert kind in {error.kind for error in find_errors(text)}


@pytest.mark.parametrize("text", RIGHT)
def test_right_sentences_are_let_be(text):
    assert find_errors(text) == []


def test_counts_are_those_of_each_text():
    texts = [*RIGHT, *WRONG["verb"], "", "3.14"]
    errors, words = error_counts(texts)
    assert errors.tolist() == [len(find_errors(text)) for text in texts]
    assert words.tolist()[-2:] == [0, 0]
    assert errors[: len(RIGHT)].sum() == 0
    assert (error_counts([])[0].shape, error_counts([])[1].shape) == ((0,), (0,))


def test_an_error_says_where_it_is():
    (error,) = find_errors("Well, it is a example of this.")
    assert (error.kind, error.shown) == ("article", "is a example of")


@pytest.mark.skipif("EMBEDKIT_DATA" not in os.environ, reason="needs plain English texts in EMBEDKIT_DATA/text")
@pytest.mark.parametrize("name", ["wikitext2_valid.txt", "nltk_state_union.txt", "wiki_sents_clinc.txt"])
def test_edited_english_has_less_than_two_in_a_thousand_and_injected_errors_are_seen(name):
    text = Path(os.environ["EMBEDKIT_DATA"], "text", name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if len(line) > 60][:400]
    errors, words = error_counts(lines)
    assert errors.sum() / words.sum() < 0.002
    perturbed = [inject(line, rate=0.08, seed=0) for line in lines]
    found = error_counts(p.text for p in perturbed)[0].sum() - errors.sum()
    assert found > 0.05 * sum(len(p.edits) for p in perturbed)
