import itertools
import math

import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from embedkit.core.errors import DataError
from embedkit.losses import Batch, InfoNCE, Ragged
from tests.losses.batches import DOC_CLASSES, KNOWN, NEGATIVES, POSITIVES, QUERY_CLASSES, SUSPECTS, ragged_batch
from tests.oracles.infonce import infonce_by_hand

OTHERS = ("query_to_query", "document_to_query", "document_to_document")
ALL = ("query_to_document", *OTHERS)
SUBSETS = [("query_to_document", *c) for n in range(4) for c in itertools.combinations(OTHERS, n)]


HARDNESS_OF = {
    "all": lambda i, j: True,
    "own": lambda i, j: j in NEGATIVES[i],
    "in_batch": lambda i, j: j not in NEGATIVES[i],
}


def by_hand(queries, documents, loss, **options):
    """The oracle with the options of `loss`."""
    return infonce_by_hand(
        queries.tolist(),
        documents.tolist(),
        POSITIVES,
        NEGATIVES,
        KNOWN,
        loss.temperature,
        loss.directions,
        suspects=SUSPECTS,
        others_push=loss.other_positives == "negatives",
        focal=loss.focal,
        hardness=lambda i, j: loss.hardness * HARDNESS_OF[loss.hardness_of](i, j),
        same_class=same_class if loss.mask_classes else lambda *_: False,
        **options,
    )


def same_class(side, i, j):
    theirs = QUERY_CLASSES if side == "query" else DOC_CLASSES
    return QUERY_CLASSES[i] >= 0 and QUERY_CLASSES[i] == theirs[j]


OPTIONS = [
    *({"directions": directions} for directions in SUBSETS),
    {"focal": 0.5},
    {"focal": 2.0, "directions": ALL},
    {"other_positives": "negatives"},
    {"other_positives": "negatives", "directions": ALL, "focal": 1.0},
    *({"hardness": 3.0, "hardness_of": of} for of in HARDNESS_OF),
    {"mask_classes": True, "directions": ALL},
    {"mask_classes": True, "hardness": 2.0, "focal": 0.5, "other_positives": "negatives", "directions": ALL},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_the_formula_in_loops(options):
    batch = ragged_batch()
    loss = InfoNCE(temperature=0.07, **options)
    assert loss(batch).item() == pytest.approx(by_hand(batch.queries, batch.documents, loss), rel=1e-9)


@pytest.mark.parametrize("options", [o for o in OPTIONS if "hardness" not in o], ids=str)
def test_gradients_are_right(options):
    batch = ragged_batch()

    def value(queries, documents):
        return InfoNCE(temperature=0.5, **options)(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


@pytest.mark.parametrize("options", [o for o in OPTIONS if "hardness" in o], ids=str)
def test_no_gradient_goes_through_the_hardness_weights(options):
    batch = ragged_batch()
    loss = InfoNCE(temperature=0.5, **options)
    batch.queries.requires_grad_()
    loss(batch).backward()
    fixed = batch.queries.tolist(), batch.documents.tolist()
    for where in [(0, 0), (1, 3), (3, 5)]:
        ends = []
        for step in (1e-6, -1e-6):
            moved = batch.queries.detach().clone()
            moved[where] += step
            ends.append(by_hand(moved, batch.documents, loss, stopped=fixed))
        assert batch.queries.grad[where].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_the_focal_weight_can_be_held_fixed():
    batch = ragged_batch()
    gradients = {}
    for detach in (False, True):
        queries = batch.queries.clone().requires_grad_()
        InfoNCE(temperature=0.5, focal=2.0, focal_detach=detach)(ragged_batch(queries=queries)).backward()
        gradients[detach] = queries.grad
    assert not torch.allclose(gradients[True], gradients[False])
    cosines = torch.tensor(0.2).log()  # one positive of probability 0.2: the fixed weight is (1 - 0.2)²
    logits = torch.stack([cosines, torch.tensor(0.8).log()]).requires_grad_()
    queries = torch.eye(2)[:1].requires_grad_()
    loss = InfoNCE(temperature=1.0, focal=2.0, focal_detach=True)
    documents = torch.stack([logits.detach(), torch.zeros(2)], dim=1).requires_grad_()
    loss(pair_batch(queries, documents)).backward()
    plain = torch.autograd.grad(InfoNCE(temperature=1.0)(pair_batch(queries, documents)), documents)[0]
    torch.testing.assert_close(documents.grad, 0.64 * plain)


@pytest.mark.parametrize(
    ("gamma", "each", "mean"),
    [(0.5, (0.033318, 1.439525), 0.736421), (2.0, (0.001054, 1.030040), 0.515547), (0.0, None, 0.857399)],
)
def test_worked_numbers_of_the_focal_weight(gamma, each, mean):
    losses = [
        InfoNCE(temperature=1.0, focal=gamma)(
            pair_batch(
                torch.eye(2, dtype=torch.float64)[:1], torch.tensor([[math.log(p), 0], [math.log(1 - p), 0]]).double()
            )
        ).item()
        for p in (0.9, 0.2)
    ]
    assert sum(losses) / 2 == pytest.approx(mean, abs=1e-6)
    if each:
        assert losses == pytest.approx(each, abs=1e-6)


def test_a_certain_positive_has_a_finite_gradient_under_the_focal_weight():
    documents = torch.tensor([[1.0, 0], [-1.0, 0]]).requires_grad_()
    InfoNCE(temperature=0.005, focal=0.5)(pair_batch(torch.eye(2)[:1], documents)).backward()
    assert torch.isfinite(documents.grad).all()


def test_worked_numbers_of_the_class_mask():
    """Positive 0.8, own negatives 0.6 and 0.2, in-batch 0.7 of the same class and 0.1 of another."""
    cosines = torch.tensor([0.8, 0.6, 0.2, 0.7, 0.1], dtype=torch.float64)
    batch = Batch(
        queries=torch.eye(2, dtype=torch.float64)[[0, 1]],
        documents=torch.stack([cosines, torch.zeros_like(cosines)], dim=1),
        query_ids=torch.arange(2),
        doc_ids=torch.arange(5),
        positives=Ragged.of([[0], [3]]),
        negatives=Ragged.of([[1, 2], [4]]),
        query_classes=torch.tensor([1, 1]),
        doc_classes=torch.tensor([1, 2, 3, 1, 2]),
        local=range(1),
    )
    assert InfoNCE(temperature=1.0)(batch).item() == pytest.approx(1.326800, abs=1e-6)
    assert InfoNCE(temperature=1.0, mask_classes=True)(batch).item() == pytest.approx(1.052264, abs=1e-6)


def test_worked_numbers_of_the_query_direction():
    """Positive 0.8, negatives 0.5 and 0.3, another query at 0.4."""
    cosines = torch.tensor([0.8, 0.5, 0.3], dtype=torch.float64)
    batch = Batch(
        queries=torch.tensor([[1.0, 0.0], [0.4, 0.0]], dtype=torch.float64),
        documents=torch.stack([cosines, torch.zeros_like(cosines)], dim=1),
        query_ids=torch.arange(2),
        doc_ids=torch.arange(3),
        positives=Ragged.of([[0], [1]]),
        negatives=Ragged.of([[1, 2], []]),
        local=range(1),
    )
    assert InfoNCE(temperature=1.0)(batch).item() == pytest.approx(0.853287, abs=1e-6)
    loss = InfoNCE(temperature=1.0, directions=("query_to_document", "query_to_query"))
    assert loss(batch).item() == pytest.approx(1.104485, abs=1e-6)


def test_classes_must_be_there():
    with pytest.raises(DataError, match="no classes"):
        InfoNCE(mask_classes=True)(ragged_batch(query_classes=None))


@pytest.mark.parametrize("mode", ["all", "own", "in_batch"])
def test_hardness_is_that_of_sentence_transformers(mode):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    generator = torch.Generator().manual_seed(3)
    queries, *columns = (normalize(torch.randn(5, 8, generator=generator), dim=1) for _ in range(4))
    names = {"all": "all_negatives", "own": "hard_negatives", "in_batch": "in_batch_negatives"}
    theirs = MultipleNegativesRankingLoss(
        None, scale=20.0, hardness_mode=names[mode], hardness_strength=9.0
    ).compute_loss_from_embeddings([queries, *columns], None)
    ours = InfoNCE(temperature=0.05, hardness=9.0, hardness_of=mode)(columns_batch(queries, columns))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


@pytest.mark.parametrize("directions", [ALL[:1], ALL])
def test_equals_sentence_transformers(directions):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    generator = torch.Generator().manual_seed(3)
    queries, *columns = (normalize(torch.randn(5, 8, generator=generator), dim=1) for _ in range(4))
    theirs = MultipleNegativesRankingLoss(
        None, scale=20.0, directions=tuple(d.replace("document", "doc") for d in directions)
    ).compute_loss_from_embeddings([queries, *columns], None)
    ours = InfoNCE(temperature=0.05, directions=directions)(columns_batch(queries, columns))
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
    relevant = KNOWN | SUSPECTS | {(i, p) for i, row in enumerate(POSITIVES) for p in row}
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


def columns_batch(queries, columns) -> Batch:
    """Every query with one document of each column: a positive, then negatives."""
    size = len(queries)
    return Batch(
        queries,
        torch.cat(columns),
        torch.arange(size),
        torch.arange(size * len(columns)),
        Ragged.of([[i] for i in range(size)]),
        Ragged.of([[k * size + i for k in range(1, len(columns))] for i in range(size)]),
    )


def pair_batch(queries, documents) -> Batch:
    """One query, its positive and its negatives."""
    numbers = torch.arange(len(documents))
    negatives = Ragged.of([list(range(1, len(documents)))])
    return Batch(queries, documents, torch.tensor([0]), numbers, Ragged.of([[0]]), negatives)


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


@pytest.mark.parametrize("focal", [0.0, 0.5])
@pytest.mark.parametrize(("temperature", "positive", "negative"), [(0.05, 0.9, 0.2), (0.01, 0.9, 0.75)])
def test_small_losses_are_exact_in_float32(focal, temperature, positive, negative):
    found = []
    for dtype in (torch.float32, torch.float64):
        documents = torch.tensor([[positive, 0], [negative, 0]], dtype=dtype, requires_grad=True)
        value = InfoNCE(temperature=temperature, focal=focal)(pair_batch(torch.eye(2, dtype=dtype)[:1], documents))
        value.backward()
        found.append(torch.cat([value.detach()[None], documents.grad[:, 0]]).double())
    assert found[1][0] > 0
    torch.testing.assert_close(found[0], found[1], rtol=2e-4, atol=0)


def test_queries_of_one_text_are_never_each_others_negatives():
    batch = ragged_batch(query_ids=torch.tensor([10, 11, 10, 13]))
    same = {(0, 2), (2, 0)}
    expected = infonce_by_hand(
        batch.queries.tolist(), batch.documents.tolist(), POSITIVES, NEGATIVES, KNOWN, 0.07, ALL,
        suspects=SUSPECTS, same_class=lambda side, i, j: side == "query" and (i, j) in same,
    )  # fmt: skip
    assert InfoNCE(temperature=0.07, directions=ALL)(batch).item() == pytest.approx(expected, rel=1e-9)
