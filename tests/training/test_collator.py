import json
from itertools import pairwise

import pytest
import torch

from embedkit.retrieval.identity import CONFIG, read_config
from embedkit.training.collator import Collator, Picks, Prompts, prompts_of, text_batch
from embedkit.training.samplers import Batches, Draw
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
    batch = text_batch(DATA, DRAWS, Picks(positives=None, negatives=2), seed=0, targets=True)
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
    assert {"query": found.query or "", "document": found.document or ""} == read_config(tmp_path).prompts


def test_a_model_that_says_nothing_of_prompts_has_none(tmp_path):
    assert prompts_of(tmp_path) == Prompts(None, None)


def test_prompts_reach_the_tokeniser_and_the_trainer_finds_two_columns():
    seen = []

    def preprocess(texts, *, prompt, task):
        seen.append((task, prompt, texts))
        return {"input_ids": torch.zeros(len(texts), 1), "attention_mask": torch.ones(len(texts), 1)}

    batches = Batches(DATA, batch_size=2, steps=2, seed=0)
    collator = Collator(DATA, batches, Picks(), preprocess, Prompts("q: ", "d: "))
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
