import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from embedkit.retrieval.identity import CONFIG, read_config
from embedkit.training.collator import Collator, Feed
from embedkit.training.guides import guide_vectors
from embedkit.training.mixing import Turns
from embedkit.training.prompts import Prompts, prompts_of
from embedkit.training.samplers import Batches, Draw, mixed
from embedkit.training.texts import Picks, text_batch
from tests.training.examples import examples

DATA = examples([(0, [0], [3, 4, 5]), (1, [1, 2], [0, 3]), (2, [6], [])], extra=[(2, 4)])
DRAWS = [Draw(0, 0), Draw(1, 0), Draw(2, 0)]


def lists(structure, name):
    offsets = structure[f"{name}_offsets"].tolist()
    columns = structure[f"{name}_columns"]
    ids = structure["doc_ids"][columns].tolist()
    return [ids[a:b] for a, b in pairwise(offsets)]


def test_every_document_is_there_once_and_the_lists_point_to_it():
    batch = text_batch(DATA, DRAWS, Picks(positives=None), seed=0)
    assert batch.queries == ["query 0", "query 1", "query 2"]
    assert batch.structure["doc_ids"].tolist() == [0, 3, 4, 5, 1, 2, 6]
    assert batch.documents == [f"document {i}" for i in batch.structure["doc_ids"].tolist()]
    assert lists(batch.structure, "positive") == [[0], [1, 2], [6]]
    assert lists(batch.structure, "negative") == [[3, 4, 5], [0, 3], []]
    assert batch.structure["known"].tolist() == [[0, 0], [1, 1], [1, 2], [2, 4], [2, 6]]
    assert batch.ids == {"query_ids": ["q0", "q1", "q2"]}


def test_targets_follow_the_documents_that_are_shown():
    batch = text_batch(DATA, DRAWS, Picks(positives=None, negatives=2), seed=0, needs={"targets"})
    assert batch.structure["targets"].tolist() == [0.5, 3.25, 4.25, 1.5, 2.5, 0.25, 3.25, 6.5]


def test_positives_take_turns_and_negatives_are_the_first_ones():
    shown = [
        text_batch(DATA, [Draw(1, turn)], Picks(negatives=1), seed=0).structure["doc_ids"].tolist() for turn in range(4)
    ]
    assert [ids[0] for ids in shown] in ([1, 2, 1, 2], [2, 1, 2, 1])
    assert {ids[1] for ids in shown} == {0}


def test_varied_negatives_all_come_up_and_depend_on_the_seed():
    def negatives(seed: int) -> list[int]:
        picks = Picks(negatives=1, vary_negatives=True)
        batches = [text_batch(DATA, [Draw(0, turn)], picks, seed=seed) for turn in range(3)]
        return [lists(batch.structure, "negative")[0][0] for batch in batches]

    assert sorted(negatives(0)) == [3, 4, 5]
    assert len({tuple(negatives(seed)) for seed in range(20)}) > 1


def test_a_row_without_as_many_negatives_shows_what_it_has():
    batch = text_batch(DATA, DRAWS, Picks(negatives=3), seed=0)
    assert [len(row) for row in lists(batch.structure, "negative")] == [3, 2, 0]


@pytest.mark.parametrize(
    "prompts",
    [{}, {"query": "q: ", "document": "d: "}, {"query": "q: ", "passage": "p: "}, {"query": "", "document": None}],
)
def test_training_uses_the_prompts_that_encoding_uses(prompts, tmp_path):
    config = {"prompts": prompts, "default_prompt_name": "query" if prompts.get("query") else None}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    found = prompts_of(tmp_path)
    theirs = read_config(tmp_path).prompts
    assert (found.query or "", found.document or "") == (theirs["query"], theirs["document"])


def test_a_model_that_says_nothing_of_prompts_has_none(tmp_path):
    assert prompts_of(tmp_path) == Prompts(None, None)


def test_prompts_reach_the_tokeniser_and_the_trainer_finds_two_columns():
    seen = []

    def preprocess(texts, *, prompt, task):
        seen.append((task, prompt, texts))
        return {"input_ids": torch.zeros(len(texts), 1), "attention_mask": torch.ones(len(texts), 1)}

    feed = Feed(DATA, Batches(DATA, batch_size=2, steps=2, seed=0), Picks(), Prompts("q: ", "d: "))
    collator = Collator([feed], Turns([1], steps=2, seed=0), preprocess, seed=0)
    inputs = collator([{"step": 1}])
    assert [(task, prompt) for task, prompt, _ in seen] == [("query", "q: "), ("document", "d: ")]
    assert seen[0][2] == collator.texts(1).queries
    assert list(inputs) == [
        "query_input_ids",
        "query_attention_mask",
        "document_input_ids",
        "document_attention_mask",
        "label",
    ]


def test_suspects_and_taught_pairs_go_with_their_rows():
    data = replace(DATA, suspects={1: frozenset({6, 5})}, taught={0: {0: 0.5, 3: 3.25, 5: 0.1, 4: 0.2}, 2: {6: 1.0}})
    structure = text_batch(data, DRAWS[:2], Picks(negatives=1), seed=0, needs={"targets", "taught"}).structure
    assert structure["suspects"].tolist() == [[1, 5], [1, 6]]
    assert structure["taught_pairs"].tolist() == [[0, 4], [0, 5]]  # not of what the list itself shows
    assert structure["taught_scores"].tolist() == pytest.approx([0.2, 0.1])
    empty = text_batch(data, DRAWS[2:], Picks(), seed=0, needs={"targets", "taught"}).structure
    assert [empty[name].shape for name in ("suspects", "taught_pairs", "taught_scores")] == [(0, 2), (0, 2), (0,)]


def test_parts_that_nothing_needs_are_not_there():
    structure = text_batch(replace(DATA, taught={0: {4: 0.2}}), DRAWS, Picks(), seed=0, needs={"negatives"}).structure
    assert not {"targets", "taught_pairs", "suspects", "query_classes", "guide_queries"} & structure.keys()


def test_classes_go_with_their_texts():
    data = replace(DATA, query_classes={0: 2, 2: 0}, document_classes={0: 2, 6: 1})
    structure = text_batch(data, DRAWS, Picks(negatives=1), seed=0, needs={"classes"}).structure
    classes = dict(zip(structure["doc_ids"].tolist(), structure["doc_classes"].tolist(), strict=True))
    assert structure["query_classes"].tolist() == [2, -1, 0]
    assert {d: c for d, c in classes.items() if c >= 0} == {0: 2, 6: 1}


def test_guide_vectors_are_those_of_the_shown_texts(tiny_model, context):
    from embedkit.retrieval.encoder import open_encoder

    data = examples([(1, [4], [2]), (2, [0], [3])])
    encoder = open_encoder(tiny_model, context)
    guide = guide_vectors(encoder, data)
    assert len(guide.queries.vectors) == 2  # query 0 and document 1 are in no row
    assert len(guide.documents.vectors) == 4
    batch = text_batch(data, [Draw(1, 0), Draw(0, 0)], Picks(), seed=0, guide=guide)
    expected = encoder.queries(batch.queries), encoder.documents(batch.documents)
    for name, vectors in zip(("guide_queries", "guide_documents"), expected, strict=True):
        torch.testing.assert_close(batch.structure[name], torch.from_numpy(vectors), atol=1e-6, rtol=0)
        torch.testing.assert_close(batch.structure[name].norm(dim=-1), torch.ones(len(vectors)))


def test_each_step_shows_the_source_whose_turn_it_is():
    other = examples([(i, [i], []) for i in range(6)])
    feeds = [
        Feed(DATA, Batches(DATA, batch_size=2, steps=4, seed=1), Picks()),
        Feed(other, Batches(other, batch_size=3, steps=8, seed=2), Picks(), needs={"targets"}),
    ]
    turns = Turns([1, 2], steps=12, seed=5)
    collator = Collator(feeds, turns, None, seed=5)
    seen = [collator.texts(step) for step in range(12)]
    assert [int(batch.structure["source"]) for batch in seen] == [turns[step][0] for step in range(12)]
    assert ["targets" in batch.structure for batch in seen] == [turns[step][0] == 1 for step in range(12)]
    for step, (number, place) in enumerate(turns[step] for step in range(12)):
        assert seen[step].queries == feeds[number].texts(place).queries
    seeds = [int(batch.structure["seed"]) for batch in seen]
    assert len(set(seeds)) == 12
    assert int(collator.texts(7).structure["seed"]) == seeds[7] == mixed(5, 7) >= 0


def test_mixed_numbers_differ():
    made = {mixed(*numbers) for numbers in ((0,), (0, 0), (1,), (1, 0), (0, 1), (1, 0, 0))}
    assert len(made) == 6
    assert all(0 <= number < 2**63 for number in made)
