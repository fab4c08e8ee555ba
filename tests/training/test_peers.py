import inspect
import math
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from sentence_transformers.sentence_transformer import losses

from embedkit.core.spec import Reference, marked
from embedkit.training.peers import NOT_OFFERED, NOT_SET, AnyPeer, Peer, build_peer
from embedkit.training.peers.base import Named
from embedkit.training.peers.wrappers import OfEmbeddings
from tests.training.peers import EXAMPLES

ADAPTER = TypeAdapter(AnyPeer)
PEERS = get_args(get_args(AnyPeer)[0])
OFFERED = {peer.model_fields["name"].default: peer for peer in PEERS}


def test_all_that_sentence_transformers_has_is_offered_or_told_why_not():
    assert OFFERED.keys() | NOT_OFFERED.keys() == set(losses.__all__)
    assert not OFFERED.keys() & NOT_OFFERED.keys()
    assert EXAMPLES.keys() == OFFERED.keys()


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.__name__)
def test_arguments_and_defaults_are_those_of_sentence_transformers(peer):
    assert peer.__name__ == peer.model_fields["name"].default
    assert peer.__doc__
    theirs = inspect.signature(getattr(losses, peer.__name__)).parameters
    assert set(peer.arguments()) == theirs.keys() - NOT_SET.keys()
    for name in peer.arguments():
        field, default = peer.model_fields[name], theirs[name].default
        if default is inspect.Parameter.empty:
            assert field.is_required()
            continue
        mark = next((mark for mark in field.metadata if isinstance(mark, Named)), None)
        ours = mark.resolve(field.default) if mark else field.default
        assert type(ours) is type(default) if mark and mark.make else ours == default, name


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.__name__)
def test_every_name_of_a_function_is_one(peer):
    for name, hint in get_type_hints(peer, include_extras=True).items():
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, Named):
                assert all(callable(mark.resolve(value)) for value in get_args(get_args(hint)[0])), name


def test_losses_that_are_regularised_are_losses_of_embeddings():
    for peer in get_args(OfEmbeddings):
        parameters = inspect.signature(getattr(losses, peer.__name__).compute_loss_from_embeddings).parameters
        assert list(parameters) == ["self", "embeddings", "labels"]


def test_losses_that_cache_are_known(tiny_model):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.losses import uses_gradient_cache

    model = SentenceTransformer(str(tiny_model), device="cpu")
    for example in EXAMPLES.values():
        peer = ADAPTER.validate_python(example)
        assert peer.caches == uses_gradient_cache(build_peer(peer, model, lambda _: model)), peer.name


COSENT = {"name": "CoSENTLoss"}
MISTAKES = [
    ({"name": "MultipleNegativesRankingLos"}, "does not match any of the expected tags"),
    ({"name": "MultipleNegativesRankingLoss", "temperature": 0.1}, "Extra inputs"),
    ({"name": "MultipleNegativesRankingLoss", "scale": "high"}, "valid number"),
    ({"name": "MultipleNegativesRankingLoss", "directions": ["sideways"]}, "query_to_doc"),
    ({"name": "MultipleNegativesRankingLoss", "directions": ["doc_to_doc"]}, "must hold query_to_doc"),
    (
        {
            "name": "CachedMultipleNegativesRankingLoss",
            "directions": ["query_to_doc", "doc_to_doc"],
            "partition_mode": "per_direction",
        },
        "others have no positive",
    ),
    ({"name": "MultipleNegativesRankingLoss", "hardness_mode": "all_negatives"}, "only together"),
    ({"name": "MultipleNegativesRankingLoss", "hardness_strength": 3}, "only together"),
    ({"name": "TripletLoss", "distance_metric": "cosine"}, "COSINE"),
    (COSENT | {"similarity_fct": "os.system"}, "pairwise_cos_sim"),
    ({"name": "GISTEmbedLoss"}, "guide"),
    ({"name": "SoftmaxLoss"}, "num_labels"),
    (
        {
            "name": "SoftmaxLoss",
            "num_labels": 3,
            "concatenation_sent_rep": False,
            "concatenation_sent_difference": False,
        },
        "sees nothing",
    ),
    ({"name": "MatryoshkaLoss", "loss": COSENT, "matryoshka_dims": []}, "at least 1"),
    (
        {"name": "MatryoshkaLoss", "loss": COSENT, "matryoshka_dims": [8, 4], "matryoshka_weights": [1]},
        "as many as matryoshka_dims",
    ),
    ({"name": "MatryoshkaLoss", "loss": COSENT | {"margin": 1}, "matryoshka_dims": [8]}, "Extra inputs"),
    (
        {
            "name": "Matryoshka2dLoss",
            "loss": {"name": "MSELoss", "teacher": "t", "projection_dim": 8},
            "matryoshka_dims": [8],
        },
        "leave out projection_dim",
    ),
    ({"name": "AdaptiveLayerLoss", "loss": {"name": "MegaBatchMarginLoss"}}, "embeds again in the backward pass"),
    (
        {
            "name": "GlobalOrthogonalRegularizationLoss",
            "loss": COSENT,
            "mean_weight": 0,
            "second_moment_weight": None,
        },
        "must be above 0",
    ),
    ({"name": "GlobalOrthogonalRegularizationLoss", "loss": {"name": "MegaBatchMarginLoss"}}, "expected tags"),
]


@pytest.mark.parametrize(("loss", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_mistakes(loss, message):
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python(loss)


def test_specs_do_not_import_sentence_transformers():
    code = "import sys, embedkit.training.plain; sys.exit('sentence_transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_models_are_found_however_deep_they_are():
    inner = {"name": "GISTEmbedLoss", "guide": "judge"}
    peer = ADAPTER.validate_python({"name": "MatryoshkaLoss", "loss": inner, "matryoshka_dims": [8]})
    assert [(where, name) for where, name, _ in marked(peer, Reference)] == [(("loss", "guide"), "judge")]
    taught = {"name": "MSELoss", "teacher": "sage"}
    peer = ADAPTER.validate_python({"name": "AdaptiveLayerLoss", "loss": taught})
    assert peer.data.teacher == "sage"


def of(name: str, **arguments: object) -> Peer:
    return ADAPTER.validate_python({"name": name, **arguments})


def test_cosent_is_the_worked_number():
    scores = torch.tensor([0.9, 0.6, 0.7])
    queries = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    documents = torch.stack([scores, (1 - scores**2).sqrt()], dim=1)
    loss = build_peer(of("CoSENTLoss", scale=1 / 0.05), torch.nn.Identity())
    value = loss.compute_loss_from_embeddings([queries, documents], torch.tensor([2.0, 1.0, 0.0]))
    assert value.item() == pytest.approx(2.129404, abs=1e-5)
    assert value.item() == pytest.approx(math.log(1 + sum(map(math.exp, (-6, -4, 2)))), abs=1e-5)


def test_regularisation_stands_beside_the_loss():
    torch.manual_seed(0)
    embeddings = [torch.randn(5, 4), torch.randn(5, 4)]
    spec = of("GlobalOrthogonalRegularizationLoss", loss={"name": "MultipleNegativesRankingLoss"}, mean_weight=0.5)
    value = build_peer(spec, torch.nn.Identity()).compute_loss_from_embeddings(embeddings, None)
    model = torch.nn.Identity()
    alone = losses.MultipleNegativesRankingLoss(model).compute_loss_from_embeddings(embeddings, None)
    terms = losses.GlobalOrthogonalRegularizationLoss(model, mean_weight=0.5).compute_loss_from_embeddings(embeddings)
    assert value.item() == pytest.approx(alone.item() + sum(terms.values()).item(), rel=1e-6)
