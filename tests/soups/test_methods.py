"""Merging one tensor: worked numbers, oracles in loops, laws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from embedkit.soups.methods import Dare, Merge, Slerp, TaskArithmetic, Ties, Uniform, Weighted, merge_tensors
from embedkit.soups.stage import AnySoup, Soup
from tests.oracles import slerp_by_hand, ties_by_hand


def tensors(*rows: list[float]) -> list[torch.Tensor]:
    return [torch.tensor(row) for row in rows]


def close(found: torch.Tensor, expected: list[float]) -> bool:
    return torch.allclose(found, torch.tensor(expected), atol=1e-6)


def random_tensors(count: int, shape: tuple[int, ...] = (7, 5)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


MEANS: list[Merge] = [Uniform(), Weighted(weights=(1.0, 2.0, 0.5)), Weighted(weights=(0.0, 0.3, 0.1))]
WITH_BASE: list[Merge] = [
    TaskArithmetic(base="b", weights=(0.5, 0.25, 0.25)),
    Ties(base="b", density=1.0),
    Dare(base="b", drop=0.0, scale=1 / 3, seed=1),
]


@pytest.mark.parametrize("method", MEANS, ids=repr)
def test_a_mean_of_equal_tensors_is_that_tensor_bit_for_bit(method):
    (tensor,) = random_tensors(1)
    assert torch.equal(merge_tensors(method, [tensor] * 3, None, "w"), tensor)


@pytest.mark.parametrize("method", WITH_BASE, ids=repr)
def test_equal_members_over_a_base_give_the_member(method):
    tensor, base = random_tensors(2)
    assert torch.allclose(merge_tensors(method, [tensor] * 3, base, "w"), tensor, atol=1e-6)


def test_slerp_of_equal_tensors_is_that_tensor():
    (tensor,) = random_tensors(1)
    assert torch.equal(merge_tensors(Slerp(t=0.3), [tensor, tensor], None, "w"), tensor)


@pytest.mark.parametrize(
    "method", [Uniform(), TaskArithmetic(base="b"), Ties(base="b", density=0.4)], ids=lambda m: m.kind
)
def test_the_order_of_members_does_not_matter(method):
    *members, base = random_tensors(4)
    forward, backward = (merge_tensors(method, m, base, "w") for m in (members, members[::-1]))
    assert torch.allclose(forward, backward, atol=1e-6)


def test_reversing_a_slerp_is_one_minus_t():
    first, second = random_tensors(2)
    there = merge_tensors(Slerp(t=0.2), [first, second], None, "w")
    back = merge_tensors(Slerp(t=0.8), [second, first], None, "w")
    assert torch.allclose(there, back, atol=1e-6)


def test_weights_are_made_to_sum_to_one():
    method = Weighted(weights=(1, 3))
    assert method.shares(2) == (0.25, 0.75)
    assert close(method.combine(tensors([4.0, 0.0], [0.0, 8.0]), "w"), [1.0, 6.0])


@pytest.mark.parametrize(
    ("first", "t", "expected"),
    [
        ([1.0, 0.0], 0.5, [0.707107, 0.707107]),
        ([1.0, 0.0], 0.25, [0.923880, 0.382683]),
        ([2.0, 0.0], 0.5, [1.414214, 0.707107]),
        ([1.0, 0.0], 0.0, [1.0, 0.0]),
        ([1.0, 0.0], 1.0, [0.0, 1.0]),
    ],
)
def test_slerp_worked_numbers(first, t, expected):
    assert close(Slerp(t=t).combine(tensors(first, [0.0, 1.0]), "w"), expected)


@given(
    st.lists(st.tuples(st.floats(-2, 2, width=32), st.floats(-2, 2, width=32)), min_size=3, max_size=6),
    st.floats(0, 1),
)
def test_slerp_is_the_formula(pairs, t):
    first, second = [a for a, _ in pairs] + [1.0, 0.0], [b for _, b in pairs] + [0.0, 1.5]
    a, b = torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
    if abs(torch.cosine_similarity(a, b, dim=0)) < 0.999:
        expected = torch.tensor(slerp_by_hand(first, second, t), dtype=torch.float64)
        assert torch.allclose(Slerp(t=t).combine([a, b], "w"), expected, atol=1e-9)


@pytest.mark.parametrize("second", [[2.0, 4.0], [-1.0, -2.0], [0.0, 0.0], [1.0001, 2.0]])
def test_slerp_of_nearly_parallel_or_zero_tensors_is_linear(second):
    found = Slerp(t=0.25).combine(tensors([1.0, 2.0], second), "w")
    assert close(found, [0.75 + 0.25 * second[0], 1.5 + 0.25 * second[1]])


def test_task_arithmetic_adds_what_members_learned():
    method = TaskArithmetic(base="b", scale=0.5, weights=(1.0, -2.0))
    merged = merge_tensors(method, tensors([2.0, 1.0], [1.0, 4.0]), torch.tensor([1.0, 1.0]), "w")
    assert close(merged, [1.5, -2.0])
    assert method.shares(2) == (0.5, -1.0)


DELTAS = [[0.9, -0.1, 0.4, 0.0], [-0.2, 0.5, 0.6, 0.1], [0.8, -0.6, -0.3, 0.05]]


def test_ties_worked_numbers():
    assert close(Ties(base="b", density=0.5).combine(tensors(*DELTAS), "w"), [0.85, -0.6, 0.5, 0.0])


def test_ties_scales_what_it_adds_to_the_base():
    base = torch.tensor([1.0, 2.0, 3.0, 4.0])
    merged = merge_tensors(Ties(base="b", density=0.5, scale=2.0), [base + d for d in tensors(*DELTAS)], base, "w")
    assert close(merged, [2.7, 0.8, 4.0, 4.0])


def test_ties_elects_plus_where_the_sum_is_zero():
    assert close(Ties(base="b", density=1.0).combine(tensors([0.5, 1.0], [-0.5, 1.0]), "w"), [0.5, 1.0])


_eighths = st.integers(-16, 16).map(lambda i: i / 8)  # sums are exact, so that signs are the same in both


@given(st.lists(st.lists(_eighths, min_size=6, max_size=6), min_size=1, max_size=4), st.floats(0.05, 1))
def test_ties_is_the_algorithm(deltas, density):
    found = Ties(base="b", density=density).combine(tensors(*deltas), "w")
    assert close(found, ties_by_hand(deltas, density))


def test_dare_worked_numbers(monkeypatch):
    monkeypatch.setattr(Dare, "kept", lambda *_: torch.tensor([True, False, True, False]))
    found = Dare(base="b", drop=0.5, seed=0).combine(tensors([0.4, 0.2, -0.6, 0.8]), "w")
    assert close(found, [0.8, 0.0, -1.2, 0.0])


def test_dare_masks_depend_on_seed_tensor_and_member_alone():
    method, shape = Dare(base="b", drop=0.5, seed=1), torch.Size([1000])
    torch.manual_seed(5)
    before = torch.get_rng_state()
    mask = method.kept(shape, "w", 0)
    assert torch.equal(mask, method.kept(shape, "w", 0))
    others = method.kept(shape, "v", 0), method.kept(shape, "w", 1), Dare(base="b", seed=2).kept(shape, "w", 0)
    assert not any(torch.equal(mask, other) for other in others)
    assert torch.equal(before, torch.get_rng_state())
    assert 0.2 < Dare(base="b", drop=0.75, seed=1).kept(shape, "w", 0).float().mean() < 0.3


def test_dare_keeps_the_expectation():
    found = Dare(base="b", drop=0.75, seed=1).combine([torch.ones(20_000)], "w")
    assert abs(float(found.mean()) - 1) < 0.05


def test_half_precision_is_merged_in_float32_and_stays_half():
    members = [torch.full((3,), value, dtype=torch.float16) for value in (60000.0, 60000.0, 30000.0)]
    merged = merge_tensors(Uniform(), members, None, "w")
    assert merged.dtype == torch.float16
    assert merged.tolist() == [49984.0] * 3  # 50000 rounded to float16, whose sum would be infinite


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"kind": "weighted", "weights": [0, 0]}, "sum to 0"),
        ({"kind": "weighted", "weights": [1, -1]}, "greater than or equal to 0"),
        ({"kind": "weighted", "weights": [1, 1, 1]}, "3 weights for 2 models"),
        ({"kind": "task_arithmetic", "base": "b", "weights": [1]}, "1 weights for 2 models"),
        ({"kind": "ties"}, "base"),
        ({"kind": "ties", "base": "b", "density": 0}, "greater than 0"),
        ({"kind": "dare", "base": "b", "drop": 1.0, "seed": 1}, "less than 1"),
        ({"kind": "dare", "base": "b"}, "seed"),
        ({"kind": "slerp", "t": 1.5}, "less than or equal to 1"),
        ({"kind": "slurp"}, "slurp"),
    ],
)
def test_bad_settings_are_refused(method, message):
    with pytest.raises(ValidationError, match=message):
        Soup(models=("x", "y"), method=method)


def test_slerp_merges_two_models_only():
    with pytest.raises(ValidationError, match="slerp merges 2 models, not 3"):
        Soup(models=("x", "y", "z"), method=Slerp())


@pytest.mark.parametrize("models", [("x",), ("x", "x")])
def test_a_soup_is_of_two_models_or_more_each_once(models):
    with pytest.raises(ValidationError):
        Soup(models=models)


def test_every_kind_is_a_way_of_the_union():
    kinds = {"uniform", "weighted", "slerp", "task_arithmetic", "ties", "dare", "greedy"}
    assert set(TypeAdapter(AnySoup).json_schema()["discriminator"]["mapping"]) == kinds
