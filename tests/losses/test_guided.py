import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from embedkit.core.errors import DataError
from embedkit.losses import Batch, Guide, Guided, InfoNCE, MarginMSE, Ragged
from tests.losses.batches import KNOWN, NEGATIVES, POSITIVES, SUSPECTS, ragged_batch
from tests.losses.test_infonce import columns_batch
from tests.oracles.wrappers import guided_by_hand, weighted_infonce_by_hand

DIRECTIONS = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")
MARGINS = [("absolute", 0.0), ("absolute", 0.4), ("relative", 0.5)]


@pytest.mark.parametrize(("strategy", "margin"), MARGINS)
@pytest.mark.parametrize("directions", [DIRECTIONS[:1], DIRECTIONS])
def test_equals_the_formula_in_loops(directions, strategy, margin):
    batch = ragged_batch()
    loss = Guided(loss=InfoNCE(temperature=0.2, directions=directions), margin=margin, margin_strategy=strategy)
    guide = [part.tolist() for part in batch.guide]
    weight = guided_by_hand(*guide, POSITIVES, margin, relative=strategy == "relative")
    parts = (batch.queries.tolist(), batch.documents.tolist(), POSITIVES, NEGATIVES, KNOWN | SUSPECTS)
    expected = weighted_infonce_by_hand(*parts, 0.2, directions, weight)
    assert loss(batch).item() == pytest.approx(expected, rel=1e-9)
    assert loss(batch).item() != pytest.approx(loss.loss(batch).item(), rel=1e-3)


def test_gradients_are_right():
    batch = ragged_batch()
    loss = Guided(loss=InfoNCE(temperature=0.5, directions=DIRECTIONS))

    def value(queries, documents):
        return loss(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


def with_scores(cosines: list[float]) -> torch.Tensor:
    """Vectors of two dimensions with these cosines to (1, 0)."""
    column = torch.tensor(cosines, dtype=torch.float64)
    return torch.stack([column, (1 - column.square()).sqrt()], dim=1)


@pytest.mark.parametrize(("judged", "expected"), [(0.85, 0.002476), (0.75, 0.315072)])
def test_worked_numbers(judged, expected):
    """Positive 0.7, another document 0.6, another query 0.1; the guide says 0.8, `judged` and 0.2."""
    batch = Batch(
        queries=with_scores([1.0, 0.1]),
        documents=with_scores([0.7, 0.6]),
        query_ids=torch.arange(2),
        doc_ids=torch.arange(2),
        positives=Ragged.of([[0], [1]]),
        negatives=Ragged.of([[], []]),
        guide=Guide(with_scores([1.0, 0.2]), with_scores([0.8, judged])),
        local=range(1),
    )
    loss = Guided(loss=InfoNCE(temperature=0.1, directions=("query_to_document", "query_to_query")))
    assert loss(batch).item() == pytest.approx(expected, abs=1e-6)
    assert math.log1p(math.exp(-6)) == pytest.approx(0.002476, abs=1e-6)


@pytest.mark.parametrize(("strategy", "margin"), MARGINS)
@pytest.mark.parametrize("negatives", [0, 1])
def test_equals_sentence_transformers(negatives, strategy, margin, monkeypatch):
    from sentence_transformers.sentence_transformer.losses import gist_embed

    generator = torch.Generator().manual_seed(5)
    columns, guides = (
        [normalize(torch.randn(6, 8, generator=generator), dim=1) for _ in range(2 + negatives)] for _ in range(2)
    )
    theirs = gist_embed.GISTEmbedLoss.__new__(gist_embed.GISTEmbedLoss)  # it takes none but a model with a tokenizer
    nn.Module.__init__(theirs)
    theirs.model, theirs.guide, theirs.must_retokenize, theirs.gather_across_devices = "mine", "guide", False, False
    theirs.temperature, theirs.margin, theirs.margin_strategy = 0.1, margin, strategy
    theirs.similarity_fct, theirs.cross_entropy_loss = nn.CosineSimilarity(dim=-1), nn.CrossEntropyLoss()
    theirs.contrast_anchors, theirs.contrast_positives = True, negatives == 0
    monkeypatch.setattr(gist_embed, "embed_columns", lambda model, features: [part[model] for part in features])
    features = [{"mine": a, "guide": b} for a, b in zip(columns, guides, strict=True)]
    directions = DIRECTIONS[:2] if negatives else (*DIRECTIONS[:2], DIRECTIONS[3])
    loss = Guided(loss=InfoNCE(temperature=0.1, directions=directions), margin=margin, margin_strategy=strategy)
    batch = columns_batch(columns[0], columns[1:]).changed(guide=Guide(guides[0], torch.cat(guides[1:])))
    assert loss(batch).item() == pytest.approx(theirs(features, None).item(), rel=1e-5)
    assert loss(batch).item() != pytest.approx(loss.loss(batch).item(), rel=1e-2)


def test_a_text_and_itself_are_not_compared_even_where_the_guide_sees_no_difference():
    """Where the positive repeats the query, g = 1 and no score is above it."""
    batch = ragged_batch()
    same = torch.ones(1, 3, dtype=torch.float64) / 3**0.5
    alike = batch.changed(guide=Guide(same.expand(4, 3), same.expand(8, 3)))
    inner = InfoNCE(directions=DIRECTIONS)
    assert Guided(loss=inner)(alike).item() == pytest.approx(inner(alike).item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_document_that_the_guide_cannot_tell_from_the_positive_stays_a_negative(dtype):
    generator = torch.Generator().manual_seed(0)
    queries, documents = (normalize(torch.randn(n, 300, generator=generator), dim=1) for n in (40, 1))
    guide = Guide(queries.to(dtype), documents.expand(80, 300).to(dtype))
    batch = columns_batch(queries, normalize(torch.randn(80, 300, generator=generator), dim=1).split(40))
    assert Guided()(batch.changed(guide=guide)).item() == pytest.approx(InfoNCE()(batch).item(), rel=1e-6)


def test_needs_a_guide():
    assert Guided().needs == {"guide"}
    with pytest.raises(DataError, match="no guide"):
        Guided()(ragged_batch(guide=None))


def test_refuses_a_loss_without_in_batch_negatives():
    with pytest.raises(ValidationError, match="margin_mse has no in-batch negatives"):
        Guided(loss=MarginMSE())
