from embedkit.training.collator import Feed
from embedkit.training.mixing import Turns
from embedkit.training.samplers import Batches
from embedkit.training.sources import Source
from embedkit.training.summary import stats_of_sources
from embedkit.training.texts import Picks
from tests.training.examples import examples


def feed(data, steps):
    return Feed(data, Batches(data, batch_size=4, steps=steps, seed=0), Picks())


def history(steps):
    return [{"step": float(step + 1), "loss": 1.0} for step in range(steps)]


def test_rows_of_small_batches_are_counted_as_they_are():
    one_for_all = examples([(i, [0], []) for i in range(20)])  # so that no two go together
    apart = examples([(i, [i], []) for i in range(20)])
    turns = Turns([1.0, 3.0], steps=8, seed=0)
    stats = stats_of_sources(
        [Source(pairs="a", share=3.0), Source(pairs="b")], [feed(one_for_all, 2), feed(apart, 6)], turns, history(8)
    )
    assert [source["counts"]["rows_seen"] for source in stats["sources"]] == [2 * 1, 6 * 4]
    assert [source["share"] for source in stats["sources"]] == [0.25, 0.75]  # of the steps, not what the recipe says
    assert stats["warnings"] == [
        "source 0 (infonce): 2 of 2 batches have fewer than 4 queries: too few queries are without a document in common"
    ]


def test_of_a_part_only_its_own_steps_count():
    data = examples([(i, [0], []) for i in range(20)])
    turns = Turns([1.0], steps=5, seed=0)
    stats = stats_of_sources([Source(pairs="a")], [feed(data, 5)], turns, history(5), begin=3)
    assert (stats["counts"]["steps"], stats["counts"]["rows_seen"]) == (2, 2)
    assert stats["warnings"][0].startswith("2 of 2 batches have fewer than 4 queries")
    assert len(stats["history"]) == 5
