"""Prompts are declared once, where the model comes from; training names them, and remembers them all."""

import json
import shutil

import pytest

from embedkit.core.errors import ModelError
from embedkit.retrieval.identity import CONFIG, read_config
from embedkit.training.prompts import Prompts, prompts_of
from embedkit.training.sources import Source
from embedkit.training.stage import Train
from tests.training.runs import TRAIN, TRAIN_ST, run

DECLARED = {"query": "list ", "document": "", "hard": "memory disk "}


@pytest.fixture
def model(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "prompts": DECLARED}))
    return folder


def test_a_name_chooses_among_what_is_declared(model):
    assert prompts_of(model) == Prompts("list ", None)
    assert prompts_of(model, query="hard") == Prompts("memory disk ", None)
    assert prompts_of(model, query="document", document="hard") == Prompts(None, "memory disk ")


def test_an_undeclared_name_is_told_with_those_that_are(model):
    with pytest.raises(ModelError) as caught:
        prompts_of(model, query="herd", called="base")
    assert str(caught.value) == (
        "query_prompt: 'base' declares no prompt 'herd'; did you mean 'hard'?; it has 'query', 'document', 'hard'. "
        "Declare it where the model comes from: `prompts: {named: {herd: ...}}`"
    )


@pytest.fixture
def seen(monkeypatch):
    """The prompts that the tokenizer was given, in the order of the batches."""
    from sentence_transformers import SentenceTransformer

    found = []
    whole = SentenceTransformer.preprocess

    def preprocess(self, texts, *args, prompt=None, task=None, **options):
        found.append((task, prompt or None))
        return whole(self, texts, *args, prompt=prompt, task=task, **options)

    monkeypatch.setattr(SentenceTransformer, "preprocess", preprocess)
    monkeypatch.setattr("embedkit.training.tokenising.can_tokenise", lambda model: False)
    return found


def test_each_source_has_its_own_and_the_model_remembers_all(model, tiny_dataset, tmp_path, seen):
    sources = (Source(pairs="pairs", query_prompt="hard", document_prompt="query"),)
    stage = TRAIN.model_copy(update={"steps": 6, "sources": sources, "negatives": 0})
    out = run(Train.model_validate(stage.model_dump()), model, tiny_dataset.path, tmp_path / "run")
    assert {prompt for task, prompt in seen if task == "query"} == {"list ", "memory disk "}
    assert {prompt for task, prompt in seen if task == "document"} == {None, "list "}
    assert seen.count(("query", "memory disk ")) == seen.count(("document", "list ")) == 3
    assert dict(read_config(out).named_prompts) == DECLARED


@pytest.mark.parametrize("stage", [TRAIN, TRAIN_ST], ids=["train", "train_st"])
def test_an_undeclared_name_stops_before_training(stage, model, tiny_dataset, tmp_path):
    wrong = stage.model_copy(update={"document_prompt": "passage"})
    with pytest.raises(ModelError, match=r"^document_prompt: 'model' declares no prompt 'passage'"):
        run(wrong, model, tiny_dataset.path, tmp_path / "run")
    assert not (tmp_path / "run" / "work" / "checkpoints").exists()
