import inspect
from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from embedkit.training.peers import AnyPeer

PEERS = get_args(get_args(AnyPeer)[0])


def test_there_are_peers():
    assert len(PEERS) >= 3


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.__name__)
def test_arguments_and_defaults_are_those_of_sentence_transformers(peer):
    from sentence_transformers.sentence_transformer import losses

    spec = peer()
    theirs = inspect.signature(getattr(losses, spec.name)).parameters
    ours = spec.model_dump(exclude={"name"})
    assert ours == {name: theirs[name].default for name in ours}


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"name": "MultipleNegativesRankingLos"}, "does not match any of the expected tags"),
        ({"name": "MultipleNegativesRankingLoss", "temperature": 0.1}, "Extra inputs"),
        ({"name": "MultipleNegativesRankingLoss", "scale": "high"}, "valid number"),
        ({"name": "MultipleNegativesRankingLoss", "directions": ["sideways"]}, "query_to_doc"),
    ],
)
def test_a_mistake_is_found_without_sentence_transformers(loss, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnyPeer).validate_python(loss)
