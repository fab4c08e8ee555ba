"""A task's prompts must be those that the model was made for, unless one asks for others."""

import pytest

from embedkit.core.errors import ModelError
from embedkit.evaluation.prompts import check_declared
from embedkit.evaluation.stage import EvaluateOne
from embedkit.evaluation.tasks import LocalTask
from embedkit.retrieval.identity import ModelConfig

CONFIG = ModelConfig(
    prompts={"query": "query: ", "document": "", "text": ""},
    similarity="cosine",
    truncate_dim=None,
    named_prompts={"query": "query: ", "document": "", "nq": "Question: "},
)


@pytest.mark.parametrize(
    "prompts",
    [
        {},
        {"query": "query: "},
        {"query": "Question: "},  # declared under another name
        {"document": "passage: "},  # the model says nothing of documents
        {"text": "anything "},
    ],
)
def test_declared_prompts_pass(prompts):
    check_declared(prompts, CONFIG, "soup")


@pytest.mark.parametrize("text", ["search: ", ""])
def test_another_prompt_is_refused_in_one_line(text):
    with pytest.raises(ModelError) as caught:
        check_declared({"query": text}, CONFIG, "soup")
    (line,) = caught.value.problems
    told = f"prompts.query: the task puts {text!r} before its texts, but 'soup' was made with 'query: '"
    assert line.startswith(told)


def test_the_stage_refuses_and_takes_it_when_asked(tmp_path, tiny_model, tiny_dataset, context):
    import json
    import shutil

    from embedkit.core.stage import Artifact

    model = shutil.copytree(tiny_model, tmp_path / "model")
    path = model / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": {"query": "list "}}))
    inputs = {"m": Artifact("m" * 64, model), "data": tiny_dataset}
    task = LocalTask(data="data", prompts={"query": "disk "})
    (tmp_path / "refused").mkdir()
    with pytest.raises(ModelError, match=r"^prompts.query: the task puts 'disk '"):
        EvaluateOne(model="m", task=task).run(inputs, tmp_path / "refused", context)
    (tmp_path / "out").mkdir()
    asked = task.model_copy(update={"undeclared_prompts": True})
    EvaluateOne(model="m", task=asked).run(inputs, tmp_path / "out", context)
    assert (tmp_path / "out" / "result.json").is_file()
