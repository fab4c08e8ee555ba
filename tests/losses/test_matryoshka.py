import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from embedkit.core.errors import DataError
from embedkit.core.spec import digest, identity
from embedkit.losses import AnyLoss, InfoNCE, Loss, MarginMSE, Matryoshka
from tests.losses.batches import KNOWN, NEGATIVES, POSITIVES, SUSPECTS, ragged_batch
from tests.losses.test_infonce import columns_batch
from tests.oracles.infonce import dot, infonce_by_hand
from tests.oracles.wrappers import cut_by_hand

ADAPTER: TypeAdapter = TypeAdapter(AnyLoss)


@pytest.mark.parametrize(("dims", "weights"), [((6, 4, 2), None), ((5, 3), (1.0, 0.3)), (None, None), ((2,), (0.5,))])
def test_equals_the_formula_in_loops(dims, weights):
    batch = ragged_batch()
    loss = Matryoshka(loss=InfoNCE(temperature=0.2), dims=dims, weights=weights)
    expected = 0.0
    for d, weight in zip(dims or (6, 3, 1), weights or (1, 1, 1), strict=weights is not None):
        parts = [cut_by_hand(part.tolist(), d) for part in (batch.queries, batch.documents)]
        expected += weight * infonce_by_hand(*parts, POSITIVES, NEGATIVES, KNOWN, 0.2, suspects=SUSPECTS)
    assert loss(batch).item() == pytest.approx(expected, rel=1e-9)


def test_without_unit_length_embeddings_are_only_cut():
    batch = ragged_batch(unit=False)
    parts = [part[:, :4].tolist() for part in (batch.queries, batch.documents)]
    expected = infonce_by_hand(*parts, POSITIVES, NEGATIVES, KNOWN, 0.2, suspects=SUSPECTS)
    loss = Matryoshka(loss=InfoNCE(temperature=0.2), dims=(4,))
    assert loss(batch).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("unit", [True, False])
def test_gradients_are_right(unit):
    batch = ragged_batch()
    loss = Matryoshka(loss=InfoNCE(temperature=0.5), dims=(6, 3), weights=(1.0, 0.4))

    def value(queries, documents):
        return loss(ragged_batch(queries=queries, documents=documents, unit=unit))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


class Table(nn.Module):
    """A model whose texts are embedded already."""

    def get_embedding_dimension(self):
        return 8

    def forward(self, features):
        return {"sentence_embedding": features["embedded"]}


def test_equals_sentence_transformers():
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

    generator = torch.Generator().manual_seed(3)
    parts = [normalize(torch.randn(5, 8, generator=generator), dim=1) for _ in range(4)]
    mine, yours = ([part.clone().requires_grad_() for part in parts] for _ in range(2))
    model = Table()
    theirs = MatryoshkaLoss(
        model, MultipleNegativesRankingLoss(model, scale=20.0), [8, 4, 2], matryoshka_weights=[1, 0.5, 0.25]
    )([{"embedded": part} for part in yours], None)
    loss = Matryoshka(loss=InfoNCE(temperature=0.05), dims=(8, 4, 2), weights=(1, 0.5, 0.25))
    ours = loss(columns_batch(mine[0], mine[1:]))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    torch.testing.assert_close(torch.autograd.grad(ours, mine), torch.autograd.grad(theirs, yours))


def test_more_dimensions_than_there_are():
    with pytest.raises(DataError, match="dims has 8; the embeddings have 6"):
        Matryoshka(dims=(8, 4))(ragged_batch())


@pytest.mark.parametrize(
    "fields",
    [
        {"dims": ()},
        {"dims": (4, 4)},
        {"dims": (2, 4)},
        {"dims": (4, 0)},
        {"dims": (4,), "weights": (1, 2)},
        {"weights": (1,)},
    ],
)
def test_refuses_lengths_that_make_no_sense(fields):
    with pytest.raises(ValidationError):
        Matryoshka(**fields)


def test_a_nested_loss_survives_the_way_through_json_and_is_part_of_the_identity():
    losses = [Matryoshka(loss=Matryoshka(loss=inner), dims=(4, 2)) for inner in (InfoNCE(), InfoNCE(focal=0.5))]
    for loss in losses:
        assert ADAPTER.validate_json(ADAPTER.dump_json(loss), strict=True) == loss
    assert len({digest(identity(loss, keys={}, digests={})) for loss in losses}) == 2
    assert ADAPTER.json_schema()["$defs"]["Matryoshka"]["properties"]["loss"]["discriminator"]


def test_says_where_a_nested_loss_is_wrong():
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_json(
            '{"kind": "matryoshka", "loss": {"kind": "guided", "loss": {"kind": "infonc"}}}', strict=True
        )
    (error,) = caught.value.errors()
    assert error["loc"] == ("matryoshka", "loss", "guided", "loss")
    assert error["type"] == "union_tag_invalid"


class Plain(Loss):
    """The mean score of positives, negated."""

    kind: str = "plain"

    def compute(self, batch):
        return -batch.mean_over_queries(batch.positive_scores())


def test_takes_a_loss_that_no_recipe_can_name():
    batch = ragged_batch()
    loss = Matryoshka(loss=Plain(), dims=(6, 2))
    parts = [cut_by_hand(part.tolist(), 2) for part in (batch.queries, batch.documents)]
    scores = [[dot(parts[0][i], parts[1][p]) for p in row] for i, row in enumerate(POSITIVES)]
    expected = Plain()(batch).item() - sum(sum(row) / len(row) for row in scores) / 4
    assert loss(batch).item() == pytest.approx(expected, rel=1e-9)
    assert loss.model_dump()["loss"] == {"kind": "plain"}


def test_passes_on_what_its_loss_needs():
    assert Matryoshka(loss=MarginMSE()).needs == MarginMSE().needs
    assert Matryoshka().contrasts
    assert not Matryoshka(loss=MarginMSE()).contrasts
