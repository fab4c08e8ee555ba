from typing import get_args

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from embedkit.core.errors import ModelError
from embedkit.core.estimate import Size
from embedkit.core.records import Corpus, Queries
from embedkit.core.stage import Artifact
from embedkit.mining.teacher import BM25, AnyTeacher, CrossEncoder, Encoder, Folder, Hub
from embedkit.mining.teaching import Classroom

REVISION = "0123456789abcdef" * 2 + "01234567"
HUB = CrossEncoder(source=Hub(name="some/reranker", revision=REVISION))


def test_members():
    assert set(get_args(get_args(AnyTeacher)[0])) == {BM25, Encoder, CrossEncoder}


def test_labels_tell_teachers_apart_and_name_no_stage(tmp_path):
    inputs = {"first": Artifact("f" * 64, tmp_path)}
    assert BM25().label(inputs) == {"kind": "bm25"}
    assert Encoder(model="first").label(inputs) == {"kind": "encoder", "model": "f" * 64}
    assert HUB.label(inputs) == {"kind": "cross_encoder", "hub": "some/reranker"}


def test_a_hub_model_is_pinned_to_a_commit():
    spec = {"kind": "cross_encoder", "source": {"kind": "hub", "name": "some/reranker", "revision": "main"}}
    with pytest.raises(ValidationError, match="should match pattern"):
        TypeAdapter(AnyTeacher).validate_python(spec)


def test_flops_of_a_cross_encoder_are_those_of_its_weights(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(4000))
    work = {"documents": 10, "queries": 5, "pairs": 100, "tokens": 8.0}
    assert CrossEncoder(source=Folder(path=tmp_path)).flops({}, **work) == 2 * 1000 * 100 * 8 * 1.25
    assert HUB.flops({}, **work) == BM25().flops({}, **work) == 0
    assert Encoder(model="m").flops({"m": Size(active_parameters=100)}, **work) == 200 * (80 + 10)


def test_teachers_whose_scores_are_no_numbers_are_refused(context):
    corpus, queries = Corpus(["a"], [""], ["x"]), Queries(["q"], ["z"])
    room = Classroom(
        spec=None,
        context=context,
        corpus=corpus,
        queries=queries,
        documents=["x"],
        student=None,
        asked=np.zeros((1, 2), dtype=np.float32),
        pool=None,
        scorers=[lambda texts, lists: [np.array([np.inf])]],
        labels=[{**HUB.label({}), "weight": 1.0}],
    )
    with pytest.raises(ModelError, match="cross_encoder some/reranker gives scores that are not finite"):
        room.score(["z"], [np.array([0])])
