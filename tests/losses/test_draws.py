import pytest
import torch

from embedkit.losses.draws import betas, hashed, places, uniforms
from tests.oracles.wrappers import beta_by_hand, hash_by_hand, place_by_hand, splitmix_by_hand, uniform_by_hand

IDS = torch.tensor([0, 1, -1, 2**62, -(2**63), 1234567])
MANY = torch.arange(40_000)


def test_the_oracle_is_splitmix64():
    """The first numbers of seed 1234567, as its reference implementation prints them."""
    states = [1234567 + step * 0x9E3779B97F4A7C15 for step in range(3)]
    assert [splitmix_by_hand(state % 2**64) for state in states] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_bits_are_those_of_the_oracle():
    found = hashed(-7, IDS, 3, IDS.flip(0)).tolist()
    keys = zip(IDS.tolist(), IDS.flip(0).tolist(), strict=True)
    assert [number % 2**64 for number in found] == [hash_by_hand(-7, a, 3, b) for a, b in keys]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_are_those_of_the_oracle_in_every_type(dtype):
    assert uniforms(5, IDS, dtype=dtype).tolist() == [uniform_by_hand(5, i) for i in IDS.tolist()]
    assert betas(5, IDS, dtype=dtype).tolist() == [beta_by_hand(5, i) for i in IDS.tolist()]
    sizes = torch.tensor([1, 2, 3, 4, 5, 6])
    expected = [place_by_hand(n, 5, i) for n, i in zip(sizes.tolist(), IDS.tolist(), strict=True)]
    assert places(sizes, 5, IDS).tolist() == expected


@pytest.mark.parametrize(("draw", "variance"), [(uniforms, 1 / 12), (betas, 1 / 20)])
def test_draws_have_their_distribution(draw, variance):
    numbers = draw(1, MANY, dtype=torch.float64)
    assert numbers.mean().item() == pytest.approx(0.5, abs=0.005)
    assert numbers.var().item() == pytest.approx(variance, rel=0.03)
    assert numbers.min() > 0
    assert numbers.max() < 1
    again = draw(2, MANY, dtype=torch.float64)
    assert torch.corrcoef(torch.stack([numbers, again]))[0, 1].abs() < 0.02


def test_places_are_even():
    counts = torch.bincount(places(torch.full_like(MANY, 7), 1, MANY))
    assert counts.tolist() == pytest.approx([len(MANY) / 7] * 7, rel=0.05)
