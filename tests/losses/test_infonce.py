import itertools

import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from embedkit.losses import Batch, InfoNCE, Ragged
from tests.losses.batches import KNOWN, NEGATIVES, POSITIVES, ragged_batch
from tests.oracles import infonce_by_hand

OTHERS = ("query_to_query", "document_to_query", "document_to_document")
ALL = ("query_to_document", *OTHERS)
SUBSETS = [("query_to_document", *c) for n in range(4) for c in itertools.combinations(OTHERS, n)]


@pytest.mark.parametrize("directions", SUBSETS)
def test_equals_the_formula_in_loops(directions):
    batch = ragged_batch()
    expected = infonce_by_hand(
        batch.queries.tolist(), batch.documents.tolist(), POSITIVES, NEGATIVES, KNOWN, 0.07, directions
    )
    assert InfoNCE(temperature=0.07, directions=directions)(batch).item() == pytest.approx(expected, rel=1e-9)


def test_gradients_are_right():
    batch = ragged_batch()

    def value(queries, documents):
        return InfoNCE(temperature=0.5, directions=ALL)(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


@pytest.mark.parametrize("directions", [ALL[:1], ALL])
def test_equals_sentence_transformers(directions):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    generator = torch.Generator().manual_seed(3)
    queries, *columns = (normalize(torch.randn(5, 8, generator=generator), dim=1) for _ in range(4))
    theirs = MultipleNegativesRankingLoss(
        None, scale=20.0, directions=tuple(d.replace("document", "doc") for d in directions)
    ).compute_loss_from_embeddings([queries, *columns], None)
    batch = Batch(
        queries,
        torch.cat(columns),
        torch.arange(5),
        torch.arange(15),
        Ragged.of([[i] for i in range(5)]),
        Ragged.of([[5 + i, 10 + i] for i in range(5)]),
        torch.empty(0, 2, dtype=torch.int64),
    )
    ours = InfoNCE(temperature=0.05, directions=directions)(batch)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_worked_number():
    """One query, candidates with cosines 0.8, 0.5, 0.3, temperature 0.1."""
    assert InfoNCE(temperature=0.1)(worked_batch()).item() == pytest.approx(0.054985, abs=5e-7)


def test_a_known_positive_does_not_push():
    batch = ragged_batch()
    batch.documents.requires_grad_()
    masked = ragged_batch(documents=batch.documents, known=torch.tensor([(i, 103) for i in range(4)]))
    InfoNCE()(masked).backward()
    assert batch.documents.grad[5].abs().sum() == 0  # column 5 has id 103
    assert batch.documents.grad[6].abs().sum() > 0


def test_low_temperature_leaves_the_hardest_negative():
    batch = ragged_batch()
    queries, documents = batch.queries.tolist(), batch.documents.tolist()
    relevant = KNOWN | {(i, p) for i, row in enumerate(POSITIVES) for p in row}
    expected = 0.0
    for i, query in enumerate(queries):
        scores = [sum(a * b for a, b in zip(query, d, strict=True)) for d in documents]
        hardest = max(s for j, s in enumerate(scores) if (i, j) not in relevant)
        expected += sum(max(0.0, hardest - scores[p]) for p in POSITIVES[i]) / len(POSITIVES[i]) / 4
    assert 1e-4 * InfoNCE(temperature=1e-4)(batch).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("directions", [("query_to_query",), ("query_to_document", "query_to_document"), ("q",)])
def test_refuses_directions_without_the_positive_pair_twice_or_unknown(directions):
    with pytest.raises(ValidationError):
        InfoNCE(directions=directions)


def test_the_order_of_directions_is_not_part_of_the_value():
    assert InfoNCE(directions=ALL) == InfoNCE(directions=ALL[::-1])


def worked_batch(**changes) -> Batch:
    cosines = torch.tensor([0.8, 0.5, 0.3], dtype=torch.float64)
    parts = {
        "queries": torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        "documents": torch.stack([cosines, (1 - cosines.square()).sqrt()], dim=1),
        "query_ids": torch.tensor([0]),
        "doc_ids": torch.arange(3),
        "positives": Ragged.of([[0]]),
        "negatives": Ragged.of([[1, 2]]),
        "known": torch.empty(0, 2, dtype=torch.int64),
        "targets": Ragged.of([[0.9, 0.7, 0.1]], dtype=torch.float64),
    }
    return Batch(**(parts | changes))
