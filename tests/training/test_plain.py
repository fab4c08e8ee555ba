import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file

from embedkit.core.errors import DataError, ModelError, RecipeError
from embedkit.core.estimate import Size
from embedkit.core.pairs import Pair, Pairs, read_pairs, write_pairs
from embedkit.core.records import Corpus, Queries
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.recipe import load_recipe
from embedkit.training.examples import examples_of
from embedkit.training.peers import AnyPeer
from embedkit.training.peers.base import Data
from embedkit.training.peers.table import Table, check_size, table_of, texts_of
from embedkit.training.plain import TrainST
from tests.training.peers import EXAMPLES
from tests.training.runs import scored_pairs


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    """Scored lists whose documents have classes."""
    folder = scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))
    found = read_pairs(folder)
    corpus = replace(found.corpus, classes=[f"class {i % 3}" for i in range(len(found.corpus))])
    write_pairs(folder, replace(found, corpus=corpus))
    return folder


@pytest.fixture(scope="module")
def inference(pairs, tmp_path_factory):
    """Pairs whose score is one of three classes."""
    folder = tmp_path_factory.mktemp("inference")
    found = read_pairs(pairs)
    rows = [Pair(row.query_id, row.positives, positive_targets=(i % 3,)) for i, row in enumerate(found.rows)]
    write_pairs(folder, replace(found, rows=rows))
    return folder


def stage(loss: dict, **fields) -> TrainST:
    """A short training with this loss, with as few negatives as there is something to learn from."""
    data = TypeAdapter(AnyPeer).validate_python(loss).data
    negatives = 2 if (data.rows, data.labels) == ("pairs", "scores") else data.fewest
    fields = {"steps": 2, "batch_size": 8, "negatives": negatives, "learning_rate": 2e-3, **fields}
    return TrainST(model="model", pairs="pairs", loss=loss, **fields)


@pytest.fixture
def train(tiny_model, other_tiny_model, pairs, tmp_path):
    """Runs a stage; its artifact. `other` is a second model."""

    def run(spec, *, folder="run", on=pairs, other=other_tiny_model, emit=None):
        out, work = tmp_path / folder / "out", tmp_path / folder / "work"
        out.mkdir(parents=True, exist_ok=True)
        work.mkdir(exist_ok=True)
        context = Context(work=work, embeddings=tmp_path / "embeddings")
        folders = {"model": tiny_model, "pairs": on, "other": other}
        inputs = {name: Artifact(name[0] * 64, path) for name, path in folders.items()}
        spec.run(inputs, out, context if emit is None else replace(context, emit=emit))
        return out

    return run


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_loss_trains(name, train, tiny_model, inference, pairs, capfd):
    spec = stage(EXAMPLES[name])
    out = train(spec, on=inference if spec.loss.data.classes else pairs)
    stats = read_stats(out)
    assert [math.isfinite(entry["loss"]) and entry["loss"] > 0 for entry in stats["history"]] == [True, True]
    assert all(entry["grad_norm"] > 0 for entry in stats["history"])
    before, after = load_file(tiny_model / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    assert not torch.equal(*(w["encoder.layer.1.attention.self.query.weight"] for w in (before, after)))
    assert stats["loss"]["name"] == name
    assert "%|" not in "".join(capfd.readouterr())  # no bars


@pytest.mark.parametrize("name", ["SoftmaxLoss", "EmbedDistillLoss", "Matryoshka2dLoss", "GISTEmbedLoss"])
def test_interrupted_and_run_again_is_as_if_it_was_not(name, train, inference, pairs):
    """Also for losses with weights of their own, and for those that draw at random."""
    spec = stage(EXAMPLES[name], steps=4, checkpoint_every=2)
    on = inference if spec.loss.data.classes else pairs

    def cut(event, facts):
        if event == "step" and facts["step"] == 3:
            raise KeyboardInterrupt

    whole = digests(train(spec, folder="whole", on=on))
    with pytest.raises(KeyboardInterrupt):
        train(spec, folder="cut", on=on, emit=cut)
    steps = []
    again = train(spec, folder="cut", on=on, emit=lambda event, facts: steps.append(facts.get("step")))
    assert digests(again) == whole
    assert steps[0] == 3


def test_cosent_on_scored_pairs_is_the_loss_by_hand(tiny_model, train, tmp_path):
    """No dropout, one batch of all pairs: the first loss is that of the untrained model."""
    from sentence_transformers import SentenceTransformer

    calm = tmp_path / "calm"
    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.save(str(calm), create_model_card=False)
    config = json.loads((calm / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (calm / "config.json").write_text(json.dumps(config))
    texts = ["list files", "copy a folder", "kill process"], ["show file", "move folder", "start service"]
    gold = (2.0, 1.0, 0.0)
    write_pairs(
        tmp_path,
        Pairs(
            Corpus(["a", "b", "c"], ["", "", ""], texts[1]),
            Queries(["0", "1", "2"], texts[0]),
            [Pair(f"{i}", ("abc"[i],), positive_targets=(gold[i],)) for i in range(3)],
        ),
    )
    spec = stage({"name": "CoSENTLoss", "scale": 5.0}, batch_size=3, steps=1)
    spec = spec.model_copy(update={"model": "other"})
    found = read_stats(train(spec, on=tmp_path, other=calm))["history"][0]["loss"]
    left, right = (model.encode(column, normalize_embeddings=True) for column in texts)
    s = (left * right).sum(axis=1)
    exponents = [5.0 * (s[j] - s[i]) for i in range(3) for j in range(3) if gold[i] > gold[j]]
    assert found == pytest.approx(math.log(1 + sum(map(math.exp, exponents))), rel=1e-4)


def some() -> Pairs:
    """Two queries, one with two positives, with three negatives and one; scores tell the documents apart."""
    return Pairs(
        Corpus(list("abcdefg"), [""] * 7, [f"text {d}" for d in "abcdefg"], ["x", "y", "x", "", "y", "x", "y"]),
        Queries(["1", "2"], ["one", "two"], ["p", "q"]),
        [
            Pair("1", ("a", "b"), ("a", "b"), ("c", "d", "e"), (), (), (9, 8), (3, 4, 5)),
            Pair("2", ("f",), ("f",), ("c",), (), (), (7,), (6,)),
        ],
    )


def table(data: Data, negatives: int) -> Table:
    return table_of(examples_of(some()), data, negatives)


def test_tuples_have_as_many_negatives_as_asked():
    found = table(Data("tuples", "scores"), 2)
    assert found.columns == {
        "query": ["one", "one"],
        "positive": ["text a", "text b"],
        "negative_1": ["text c", "text c"],
        "negative_2": ["text d", "text d"],
    }
    assert found.labels == [[9, 3, 4], [8, 3, 4]]
    assert found.ids == ["1", "1"]
    assert found.skipped == {"rows with fewer than 2 negatives": 1}
    plain = table(Data("tuples"), 0)
    assert (list(plain.columns), plain.labels, len(plain), plain.skipped) == (["query", "positive"], None, 3, {})
    with pytest.raises(DataError, match="none of 2 rows has 4 negatives"):
        table(Data("tuples"), 4)


def test_pairs_are_of_any_document():
    found = table(Data("pairs", "scores"), 2)
    assert found.columns["query"] == ["one"] * 4 + ["two"] * 2
    assert found.columns["positive"] == [f"text {d}" for d in "abcdfc"]
    assert found.labels == [9, 8, 3, 4, 7, 6]
    assert table(Data("pairs", "relevance"), 2).labels == [1, 1, 0, 0, 1, 0]
    assert table(Data("pairs", "classes", classes=10), 0).labels == [9, 8, 7]
    with pytest.raises(DataError, match="query '1' has the score 9; classes are whole numbers from 0 to 7"):
        table(Data("pairs", "classes", classes=8), 0)


def test_texts_are_those_of_the_rows_that_have_a_class():
    data = Data("texts", "classes", sampler="group_by_label")
    found = texts_of(some())
    assert found.columns == {"document": [f"text {d}" for d in "abcef"]}  # d has no class, g is in no row
    assert (found.labels, found.ids) == ([0, 1, 0, 1, 0], list("abcef"))
    check_size(found, data, 4)
    with pytest.raises(DataError, match="too few classes with two texts or more for a batch of 5"):
        check_size(found, data, 5)
    bare = replace(some(), corpus=replace(some().corpus, classes=()))
    assert texts_of(bare).columns == {"query": ["one", "two"]}
    bare = replace(bare, queries=replace(bare.queries, classes=()))
    with pytest.raises(DataError, match="no text has a class"):
        texts_of(bare)


def test_the_sampler_takes_what_is_foreseen():
    """`check_size` knows how many texts sentence-transformers' sampler shows in a pass."""
    from datasets import Dataset
    from sentence_transformers.base.sampler import GroupByLabelBatchSampler

    from embedkit.training.peers.table import _in_groups

    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.choice(5, size=30, p=[0.6, 0.2, 0.1, 0.05, 0.05]).tolist()
        sampler = GroupByLabelBatchSampler(
            Dataset.from_dict({"label": labels}), batch_size=4, drop_last=True, valid_label_columns=["label"]
        )
        assert len(sampler) == _in_groups(labels) // 4


def test_a_teacher_of_other_dimensions(train):
    with pytest.raises(ModelError, match=r"teacher 'other' has 32 dimensions, expected 16; set projection_dim to 32"):
        train(stage({"name": "MSELoss", "teacher": "other", "projection_dim": 16}))


def test_a_loss_that_refuses_the_model(train):
    with pytest.raises(ModelError, match="loss MatryoshkaLoss: Dimensions in matryoshka_dims cannot exceed"):
        train(stage({"name": "MatryoshkaLoss", "loss": {"name": "CoSENTLoss"}, "matryoshka_dims": [64]}))


def test_pairs_without_scores(train, tiny_dataset):
    with pytest.raises(DataError, match="rows without target scores"):
        train(stage({"name": "CoSENTLoss"}), on=tiny_dataset.path)


def test_pairs_with_one_score(train):
    with pytest.raises(DataError, match=r"all scores are 0\.9, so there is nothing to tell apart"):
        train(stage({"name": "CoSENTLoss"}, negatives=0))


def test_left_out_rows_are_counted(train, pairs):
    short = [len(row.negatives) < 3 for row in read_pairs(pairs).rows].count(True)
    stats = read_stats(train(stage({"name": "TripletLoss"}, negatives=1)))
    assert stats["skipped"] == {}
    stats = read_stats(train(stage({"name": "MultipleNegativesRankingLoss"}, negatives=3), folder="three"))
    assert stats["skipped"] == ({"rows with fewer than 3 negatives": short} if short else {})


@pytest.mark.parametrize(
    ("loss", "fields", "message"),
    [
        ("TripletLoss", {}, "TripletLoss learns from negatives, so negatives must be at least 1"),
        ("TripletLoss", {"negatives": 2}, "TripletLoss has a place for 1 negatives, found 2"),
        ("MegaBatchMarginLoss", {"negatives": 1}, "has a place for 0 negatives"),
        ("ContrastiveLoss", {}, "negatives must be at least 1"),
        ("BatchHardTripletLoss", {"batch_size": 7}, "batch_size must be even"),
    ],
)
def test_mistakes_in_the_spec(loss, fields, message):
    with pytest.raises(ValidationError, match=message):
        TrainST(model="m", pairs="p", loss={"name": loss}, **fields)


RECIPE = """
name: r
stages:
  base: {kind: pretrained, model: {kind: folder, path: .}}
  data: {kind: data, source: {kind: jsonl, path: .}}
  mined: {kind: mine, data: data, model: base, negatives: 4}
  tuned:
    kind: train_st
    model: base
"""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("pairs: data\n    loss: {name: CoSENTLos}", "did you mean 'CoSENTLoss'"),
        ("pairs: data\n    loss: {scale: 2}", "needs a key `name` that says what it is"),
        (
            "pairs: data\n    loss: {name: MultipleNegativesSymmetricRankingLoss}",
            "is not offered: deprecated: it is MultipleNegativesRankingLoss with directions",
        ),
        ("pairs: data\n    loss: {name: CoSENTLoss, scal: 2}", "unknown key; did you mean 'scale'"),
        (
            "pairs: data\n    loss: {name: CoSENTLoss}",
            "CoSENTLoss needs target scores, but 'data' has none; a `teach` stage makes them",
        ),
        (
            "pairs: mined\n    loss: {name: MarginMSELoss}\n    negatives: 2",
            "needs target scores, but 'mined' has none",
        ),
        ("pairs: mined\n    negatives: 5", "found 5, but 'mined' keeps 4 for each query"),
        ("pairs: data\n    loss: {name: GISTEmbedLoss, guide: bas}", "no stage is named 'bas'"),
        ("pairs: data\n    loss: {name: MSELoss, teacher: data}", "teacher"),
    ],
)
def test_mistakes_in_a_recipe(lines, message, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{RECIPE}    {lines}\n")
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert any(message in problem for problem in error.value.problems), error.value.problems


def test_the_estimate_knows_rows_and_other_models():
    sizes = {
        "m": Size(parameters=1000, active_parameters=800, dimensions=8, max_tokens=20),
        "p": Size(pairs=100, query_tokens=10, document_tokens=50, documents_per_pair=4),
        "g": Size(parameters=500, active_parameters=400, dimensions=8, max_tokens=20),
    }
    common = {"model": "m", "pairs": "p", "batch_size": 10}
    plain = TrainST(**common).estimate(sizes)
    assert (plain.steps, plain.tokens) == (10, 10 * 10 * (10 + 20))
    tuples = TrainST(**common, negatives=2).estimate(sizes)
    assert tuples.tokens == 10 * 10 * (10 + 3 * 20)
    flat = TrainST(**common, negatives=2, loss={"name": "ContrastiveLoss"}).estimate(sizes)
    assert (flat.steps, flat.tokens) == (30, 30 * 10 * (10 + 20))
    guided = TrainST(**common, loss={"name": "GISTEmbedLoss", "guide": "g"}).estimate(sizes)
    assert guided.flops == plain.flops + 2 * 400 * plain.tokens
    assert guided.memory == plain.memory + 4 * 500


def test_a_guide_stored_in_half_precision_computes_in_full(tiny_model, tmp_path):
    from embedkit.retrieval.loading import load_model

    model = load_model(tiny_model, device="cpu")
    model.bfloat16().save(str(tmp_path), create_model_card=False)
    loss = stage({"name": "GISTEmbedLoss", "guide": "other"})._loss(
        model.float(), {"other": Artifact("o" * 64, tmp_path)}
    )
    assert {parameter.dtype for parameter in loss.guide.parameters()} == {torch.float32}
