import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router
from transformers.trainer_utils import set_seed

from embedkit.training import tokenising as module
from embedkit.training.tokenising import Ahead, Later, arrived, tokenising
from tests.tiny import WORDS
from tests.training.runs import TRAIN, run

TEXTS = [" ".join(WORDS[i : i + n]) for i, n in enumerate([1, 30, 7])] * 40
CPU = torch.device("cpu")


@pytest.fixture
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu")


@pytest.mark.parametrize("prompt", [None, "find: "])
def test_features_are_those_of_the_model(prompt, model):
    made = tokenising(model)(TEXTS, prompt=prompt, task="query")
    assert isinstance(made["input_ids"], Later)
    expected = model.preprocess(TEXTS, prompt=prompt, task="query")
    found = arrived(made, CPU)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value) if isinstance(value, torch.Tensor) else found[name] == value
    assert arrived(made, CPU).keys() == found.keys()  # a batch that is computed again is still there
    assert arrived(expected, CPU) is expected


def test_the_model_can_tokenise_other_texts_meanwhile(model):
    ahead = Ahead(model)
    expected = model.preprocess(TEXTS)["input_ids"]
    for _ in range(20):
        later = ahead(TEXTS, prompt=None, task="document")
        short = model.preprocess(["list"], processing_kwargs={"text": {"padding": False, "max_length": 3}})
        assert short["input_ids"].shape == (1, 3)
        assert torch.equal(arrived(later, CPU)["input_ids"], expected)


def test_what_went_wrong_is_told_where_the_batch_is_used(model):
    later = Ahead(model)([None], prompt=None, task="query")
    with pytest.raises(ValueError, match="NoneType"):
        arrived(later, CPU)


def test_models_with_more_than_one_tokenizer_do_it_themselves(model, other_tiny_model):
    other = SentenceTransformer(str(other_tiny_model), device="cpu")
    routed = SentenceTransformer(modules=[Router.for_query_document([model[0]], [other[0]]), model[1]], device="cpu")
    assert tokenising(routed) == routed.preprocess


def test_training_gives_the_same_model_without_it(tiny_model, tiny_dataset, tmp_path, monkeypatch):
    stage = TRAIN.model_copy(update={"steps": 3})
    ahead = run(stage, tiny_model, tiny_dataset.path, tmp_path / "ahead")
    monkeypatch.setattr(module, "can_tokenise", lambda model: False)
    set_seed(7)
    at_once = run(stage, tiny_model, tiny_dataset.path, tmp_path / "at-once")
    assert (ahead / "model.safetensors").read_bytes() == (at_once / "model.safetensors").read_bytes()
