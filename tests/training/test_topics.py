from itertools import islice

import numpy as np
import pytest

from embedkit.core.stats import read_stats
from embedkit.training.batching import NGAMEBatches, TopicBatches
from embedkit.training.renewal import Renewals
from embedkit.training.samplers import Batches
from embedkit.training.sources import Source
from embedkit.training.topics import Alike, bundled
from tests.training.examples import examples
from tests.training.runs import TRAIN, run

TOPICS, EACH, SIZE = 6, 40, 8


class Fixed:
    """In place of a model's weights: the vector of `query n` is that of topic n % TOPICS, and it counts texts."""

    def __init__(self):
        self.embedded = []

    def queries(self, texts, prompt):
        numbers = np.array([int(text.split()[-1]) for text in texts])
        self.embedded.append(len(texts))
        noise = np.random.default_rng(numbers[0]).standard_normal((len(texts), TOPICS))
        vectors = np.eye(TOPICS)[numbers % TOPICS] + 0.01 * noise
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def alike(tmp_path):
    def make(batching, *, steps=300, rows=TOPICS * EACH):
        data = examples([(i, [i], []) for i in range(rows)])
        return Alike(batching, data, SIZE, steps, 0, None, Fixed(), Renewals(tmp_path / "clusters" / "0"))

    return make


def batches_of(order):
    made = Batches(order.examples, batch_size=SIZE, steps=order.steps, seed=0, order=order)
    return [made[step] for step in range(order.steps)]


def topics_in(batch):
    return len({draw.row % TOPICS for draw in batch})


@pytest.mark.parametrize(
    "batching",
    [
        TopicBatches(clusters=TOPICS),
        TopicBatches(clusters=TOPICS, every=7),
        TopicBatches(clusters=TOPICS, per_batch=2, every=100),
        NGAMEBatches(every=10),
        NGAMEBatches(doubled_at=(0.2, 0.4)),
    ],
)
def test_every_row_is_once_in_every_pass(batching, alike):
    draws = [draw for batch in batches_of(alike(batching)) for draw in batch]
    passes = 300 * SIZE // (TOPICS * EACH)
    for turn in range(passes - 1):  # batches run across the ends of passes
        assert sorted(draw.row for draw in draws if draw.turn == turn) == [*range(TOPICS * EACH)]
    assert len(set(draws)) == len(draws) == 300 * SIZE


@pytest.mark.parametrize(("per_batch", "most"), [(1, 1), (2, 2), (4, 4)])
def test_a_batch_is_of_as_many_topics_as_asked_for(per_batch, most, alike):
    found = [topics_in(batch) for batch in batches_of(alike(TopicBatches(clusters=TOPICS, per_batch=per_batch)))]
    assert np.mean([number <= most for number in found]) > 0.8  # what is left of topics is in batches together
    if per_batch > 1:
        assert max(found[:20]) > 1


def test_the_same_clusters_serve_all_passes_unless_said_otherwise(alike):
    order = alike(TopicBatches(clusters=TOPICS))
    batches_of(order)
    assert order.weights.embedded == [TOPICS * EACH]
    assert order.facts() == {"kind": "clusters", "clusters": [6], "smallest": [40], "largest": [40]}


def test_a_part_of_a_pass_is_embedded_when_it_is_due(alike):
    order = alike(TopicBatches(clusters=TOPICS, every=10))  # a pass is 30 steps
    made = Batches(order.examples, batch_size=SIZE, steps=300, seed=0, order=order)
    assert order.parts == 3
    for step, parts in ((0, 1), (9, 1), (10, 2), (29, 3), (30, 4)):
        assert made[step]
        assert order.weights.embedded == [80] * parts


def test_clusters_may_serve_several_passes(alike):
    order = alike(TopicBatches(clusters=TOPICS, every=60))  # two passes
    batches_of(order)
    assert sorted(order.renewals.kept()) == [0, 2, 4, 6, 8]


def test_what_was_made_is_not_made_again(alike):
    order = alike(TopicBatches(clusters=TOPICS, every=10))
    before = batches_of(order)
    count = len(order.weights.embedded)
    again = alike(TopicBatches(clusters=TOPICS, every=10))
    assert batches_of(again) == before
    assert len(order.weights.embedded) == count
    assert not again.weights.embedded


def test_ngame_begins_at_random_and_grows(alike):
    order = alike(NGAMEBatches(every=30, doubled_at=(0.25, 0.5, 0.75)))
    assert [order.batching.size(done) for done in (0.0, 0.25, 0.5, 0.9)] == [1, 2, 4, 8]
    found = [topics_in(batch) for batch in batches_of(order)]
    first, last = np.mean(found[:60]), np.mean(found[240:])
    assert first > 4
    assert last < 1.5
    assert [len(np.unique(labels)) for labels in order.renewals.kept().values()] == [120, 120, 60, 60, 60, 30, 30]


def test_a_query_of_several_rows_is_embedded_once(tmp_path):
    data = examples([(i % 20, [i], []) for i in range(40)])
    order = Alike(TopicBatches(), data, 4, 10, 0, None, Fixed(), Renewals(tmp_path / "clusters" / "0"))
    assert len(order(0).rows) == 40
    assert order.weights.embedded == [20]


@pytest.mark.parametrize(("share", "size"), [(2, 8), (3, 8), (4, 4), (5, 8)])
def test_bundles_are_as_a_plain_loop_makes_them(share, size):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, 150)
    groups = bundled(labels, share, size, np.random.default_rng(1))
    planned = [np.flatnonzero(groups == number) for number in range(groups.max() + 1)]
    assert sorted(row for rows in planned for row in rows) == [*range(150)]
    assert all(len(rows) == size for rows in planned[:-1])
    whole = sum(np.bincount(labels) // share)  # pieces of one cluster
    for rows in islice(planned, int(whole // (size // share))):
        counts = np.bincount(labels[rows])
        assert sum(counts // share) >= size // share  # as many pieces as there is room for


def test_too_many_clusters_for_a_batch_are_refused():
    with pytest.raises(ValueError, match="5 clusters in each batch, and batches have 4 rows"):
        TopicBatches(per_batch=5).check(4)
    with pytest.raises(ValueError, match="each later than the one before"):
        NGAMEBatches(doubled_at=(0.5, 0.25))


def test_far_fewer_clusters_than_asked_for_are_told(alike):
    order = alike(TopicBatches(clusters=60, every=10))
    batches_of(order)
    (warning,) = order.warnings()
    assert warning.startswith("batches: 60 clusters were asked for, but 80 rows came to ")
    assert not alike(NGAMEBatches()).warnings()


def test_each_source_says_which_of_its_rows_go_together(tiny_model, tiny_dataset, tmp_path):
    source = Source(pairs="pairs", batches=TopicBatches(clusters=2, every=2))
    stage = TRAIN.model_copy(update={"steps": 8, "batch_size": 8, "sources": (source,)})
    events = []
    out = run(stage, tiny_model, tiny_dataset.path, tmp_path, lambda name, facts: events.append((name, facts)))
    own, other = read_stats(out)["sources"]
    assert "batches" not in own
    assert other["batches"]["kind"] == "clusters"
    assert set(other["batches"]["clusters"]) == {2}
    order = [
        (name, facts.get("number", facts.get("step"))) for name, facts in events if name in ("step", "renewal_saved")
    ]
    assert order[0] == ("renewal_saved", 0)  # before the first step, and again in the middle of a pass
    assert ("renewal_saved", 1) in order[2:]
