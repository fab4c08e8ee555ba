import math

import pytest
import torch

from embedkit.losses.selection import quantiles

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 0.999)
CASES = {
    "normal": lambda n, g: torch.randn(n, generator=g, dtype=torch.float64),
    "close": lambda n, g: 1 + 1e-6 * torch.randn(n, generator=g, dtype=torch.float64),
    "ties": lambda n, g: torch.randint(-3, 4, (n,), generator=g).double() / 4,
    "one value": lambda n, g: torch.full((n,), -0.1, dtype=torch.float64),
    "wide": lambda n, g: torch.randn(n, generator=g, dtype=torch.float64).mul(40).exp() * (torch.arange(n) % 2 * 2 - 1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 8, 1001])
@pytest.mark.parametrize("case", CASES)
def test_equals_sorting(dtype, number, case):
    numbers = CASES[case](number, torch.Generator().manual_seed(number)).to(dtype)
    parts = [numbers[:0], *numbers.split(300)]
    ordered = numbers.sort().values
    expected = [ordered[math.floor(f * number)].item() for f in FRACTIONS]
    assert quantiles(lambda: parts, FRACTIONS, like=numbers) == expected


def test_both_zeros_and_infinities_have_their_place():
    numbers = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1e-45, -1e-45])
    ordered = numbers.sort().values.tolist()
    found = quantiles(lambda: [numbers], [i / 6 + 0.01 for i in range(6)], like=numbers)
    assert found == ordered


def test_no_numbers_have_no_quantiles():
    none = torch.empty(0)
    assert quantiles(lambda: [none], FRACTIONS, like=none) is None
