from collections import Counter

from embedkit.evaluation.poisoning.typos import misspell
from embedkit.evaluation.poisoning.words import words_of

TEXT = "We depend on the users of this system, don't we"


def test_letters_are_swapped_in_so_many_words():
    for slips in (0, 1, 2, 9):
        found = misspell(TEXT, slips=slips, seed=1)
        before, after = TEXT.split(), found.split()
        assert sum(a != b for a, b in zip(before, after, strict=True)) == min(slips, 4)
        assert [Counter(word) for word in before] == [Counter(word) for word in after]
    assert words_of(misspell(TEXT, slips=3, seed=1)).count == words_of(TEXT).count


def test_the_seed_decides():
    assert misspell(TEXT, slips=2, seed=1) == misspell(TEXT, slips=2, seed=1)
    assert len({misspell(TEXT, slips=2, seed=seed) for seed in range(20)}) > 10
    assert misspell("aaaa of it", slips=1, seed=0) == "aaaa of it"
