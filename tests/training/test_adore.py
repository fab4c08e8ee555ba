from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from embedkit.core.errors import ModelError
from embedkit.core.estimate import Size
from embedkit.core.pairs import Pair, Pairs, read_pairs, write_pairs
from embedkit.core.stage import Context
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.losses import InfoNCE, LambdaLoss, MarginMSE, Ragged
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.exact import look_exactly
from embedkit.retrieval.identity import model_digests
from embedkit.retrieval.loading import load_model
from embedkit.training.adore import Adore
from embedkit.training.assembly import Structure
from embedkit.training.early_stopping import Evaluation
from embedkit.training.objective import Objective
from embedkit.training.retrieved import Retrieved
from tests.oracles import dot, nearest_by_hand
from tests.oracles.lambda_loss import lambda_by_hand
from tests.training.runs import run

ADORE = Adore(
    model="model", pairs="pairs", seed=3, steps=8, batch_size=8, learning_rate=2e-3, top_k=6, checkpoint_every=3
)


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory) -> Path:
    """The tiny data set, one more document known to each query, and one that may be relevant."""
    folder = tmp_path_factory.mktemp("pairs")
    found = read_pairs(tiny_dataset.path)
    ids = list(found.corpus.ids)

    def more(i: int, row: Pair) -> Pair:
        others = [d for d in ids[i:] + ids[:i] if d not in row.known]
        return Pair(row.query_id, row.positives, known=(*row.known, others[0]), suspects=(others[1],))

    write_pairs(folder, Pairs(found.corpus, found.queries, [more(i, row) for i, row in enumerate(found.rows)]))
    return folder


@pytest.fixture(scope="module")
def trained(tiny_model, pairs, tmp_path_factory) -> tuple[Path, list[tuple[str, dict]]]:
    events: list[tuple[str, dict]] = []
    folder = tmp_path_factory.mktemp("adore")
    out = run(ADORE, tiny_model, pairs, folder, lambda name, facts: events.append((name, dict(facts))))
    return out, events


def batch_of(dimension: int) -> tuple[torch.Tensor, Structure]:
    queries = torch.randn(3, dimension, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    positives = Ragged.of([[0], [1, 2], [0]])
    nothing = Ragged.of([[], [], []])
    return queries, Structure(
        query_ids=torch.arange(3),
        doc_ids=torch.tensor([4, 30, 7]),
        positive_offsets=positives.offsets,
        positive_columns=positives.values,
        negative_offsets=nothing.offsets,
        negative_columns=nothing.values,
        known=torch.tensor([(0, 4), (0, 11), (0, 12), (1, 30), (1, 7), (2, 4), (2, 0)]),
        suspects=torch.tensor([(1, 3), (2, 9), (2, 17)]),
    )


@pytest.mark.parametrize("top_k", [1, 5, 20, 40, 100])
def test_lists_are_what_is_nearest_with_the_positives(top_k):
    """Known ones are positives where they were found, suspects are nowhere; the loss is that of the lists by hand."""
    vectors = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    queries, structure = batch_of(4)
    queries = queries.float().double()
    documents, found = Retrieved(vectors, look_exactly(vectors), top_k=top_k)(queries.float(), structure)
    assert documents.tolist() == vectors[found["doc_ids"].numpy()].tolist()
    assert len(found["doc_ids"]) == len(set(found["doc_ids"].tolist()))
    own = {0: [4], 1: [30, 7], 2: [4]}
    losses = []
    for i, query in enumerate(queries.tolist()):
        known, suspects = ({d for q, d in structure[name].tolist() if q == i} for name in ("known", "suspects"))
        near = nearest_by_hand(query, vectors.tolist(), top_k)
        wanted = {d for d in near if d in known} | set(own[i])
        unwanted = {d for d in near if d not in known and d not in suspects}
        for name, expected in (("positive", wanted), ("negative", unwanted)):
            offsets, columns = found[f"{name}_offsets"], found[f"{name}_columns"]
            got = found["doc_ids"][columns[offsets[i] : offsets[i + 1]]].tolist()
            assert set(got) == expected
            assert len(got) == len(expected)
        scores = {d: dot(query, vectors[d].tolist()) for d in wanted | unwanted}
        losses.append(lambda_by_hand(list(scores.values()), [d in wanted for d in scores], 0.3))
    objective = Objective(
        Table(queries),
        LambdaLoss(temperature=0.3),
        normalize=False,
        retrieve=Retrieved(vectors, look_exactly(vectors), top_k=top_k),
    )
    value = objective([{"input_ids": torch.arange(3)[:, None]}], structure)
    assert value.item() == pytest.approx(sum(losses) / 3, rel=1e-6)
    value.backward()
    assert objective.model.table.grad.abs().sum() > 0 or top_k == 1


class Table(torch.nn.Module):
    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(rows.clone())

    def forward(self, features):
        return {"sentence_embedding": self.table[features["input_ids"][:, 0]]}


def test_queries_that_are_not_finite_reach_the_loss():
    """Where training is stopped, and says so."""
    vectors = np.eye(4, dtype=np.float32)
    queries, structure = batch_of(4)
    structure["doc_ids"] = torch.tensor([0, 1, 2])
    queries[1] = torch.nan
    objective = Objective(
        Table(queries), LambdaLoss(), normalize=False, retrieve=Retrieved(vectors, look_exactly(vectors), top_k=3)
    )
    assert objective([{"input_ids": torch.arange(3)[:, None]}], structure).isnan()


def test_documents_vectors_are_those_of_the_model_that_came_in(trained, tiny_model, pairs, tmp_path):
    out, _ = trained
    texts = read_pairs(pairs).corpus.full_texts()
    found, expected = (
        open_encoder(folder, Context(work=tmp_path, embeddings=tmp_path / name))
        for folder, name in ((out, "after"), (tiny_model, "before"))
    )
    assert np.array_equal(found.documents(texts), expected.documents(texts))
    assert model_digests(out)["document"] == model_digests(tiny_model)["document"]  # stored vectors are found again
    queries = read_pairs(pairs).query_texts().values()
    assert not np.allclose(found.queries(list(queries)), expected.queries(list(queries)), atol=1e-3)


def test_the_result_is_a_router_that_loads(trained, tiny_model):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    model = SentenceTransformer(str(trained[0]), device="cpu", local_files_only=True)
    assert isinstance(model[0], Router)
    assert model.similarity_fn_name == load_model(tiny_model, device="cpu").similarity_fn_name
    query, document = (
        load_file(trained[0] / f"{task}_0_Transformer" / "model.safetensors") for task in ("query", "document")
    )
    before = load_file(tiny_model / "model.safetensors")
    assert all(torch.equal(document[name], before[name]) for name in before)
    assert any(not torch.equal(query[name], before[name]) for name in before)


def test_the_loss_falls_and_is_logged(tiny_model, pairs, tmp_path):
    out = run(ADORE.model_copy(update={"steps": 30}), tiny_model, pairs, tmp_path)
    losses = [entry["loss"] for entry in read_stats(out)["history"]]
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert read_stats(out)["loss"]["kind"] == "lambda"


def test_an_interrupted_training_ends_as_one_that_was_not(trained, tiny_model, pairs, tmp_path):
    class Interrupted(Exception):
        pass

    def stop(name, facts):
        if name == "step" and facts["step"] == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(ADORE, tiny_model, pairs, tmp_path, stop)
    (tmp_path / "out").rmdir()
    assert digests(run(ADORE, tiny_model, pairs, tmp_path)) == digests(trained[0])


@pytest.mark.parametrize("options", [{"loss": InfoNCE()}, {"chunk_size": 3}], ids=str)
def test_other_losses_and_chunks(options, trained, tiny_model, pairs, tmp_path):
    out = run(ADORE.model_copy(update={"steps": 2, **options}), tiny_model, pairs, tmp_path)
    assert all(np.isfinite(entry["loss"]) for entry in read_stats(out)["history"])


def test_a_model_of_two_towers_keeps_them(trained, pairs, tmp_path):
    """And its document tower, whose vectors may be in use, does not move."""
    out = run(ADORE.model_copy(update={"steps": 3}), trained[0], pairs, tmp_path)
    before, after = digests(trained[0]), digests(out)
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"query_0_Transformer/model.safetensors", "stats.json"}
    assert model_digests(out)["document"] == model_digests(trained[0])["document"]
    assert model_digests(out)["query"] != model_digests(trained[0])["query"]


def test_towers_of_one_transformer_are_refused(trained, pairs, tmp_path):
    model = load_model(trained[0], device="cpu")
    model[0].sub_modules["query"] = model[0].sub_modules["document"]
    model.save(str(tmp_path / "shared"), create_model_card=False)
    with pytest.raises(ModelError, match="its towers share all weights"):
        run(ADORE, tmp_path / "shared", pairs, tmp_path / "run")


def test_a_loss_that_needs_scores_is_refused():
    with pytest.raises(ValidationError, match="loss margin_mse needs targets"):
        Adore(model="m", pairs="p", loss=MarginMSE())


def test_the_estimate_knows_of_evaluations():
    inputs = {
        "model": Size(parameters=10**7, active_parameters=10**7, dimensions=256, max_tokens=256),
        "pairs": Size(pairs=1000, documents=500, query_tokens=10, document_tokens=200),
        "data": Size(documents=500, query_tokens=10, document_tokens=200, held_out={"dev": 100}),
    }
    spec = Evaluation(data="data")
    plain, evaluated = (
        Adore(model="model", pairs="pairs", evaluate=evaluate).estimate(inputs) for evaluate in (None, spec)
    )
    scores = spec.flops(inputs["model"], inputs["data"], plain.steps)
    assert evaluated.flops == plain.flops + scores > plain.flops
