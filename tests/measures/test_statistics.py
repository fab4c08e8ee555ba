import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import average_precision_score

from embedkit.core.errors import DataError
from embedkit.measures.statistics import STATISTICS, chunks, coins, counts, ranks, statistic, value

PEERS = {
    "pearson": lambda x, y: pearsonr(x, y)[0],
    "spearman": lambda x, y: spearmanr(x, y)[0],
    "average_precision": lambda x, y: average_precision_score(y, x),
}
coarse = st.lists(st.integers(-3, 3), min_size=3, max_size=30)  # ties are common


def items(name: str, n: int, seed: int, decimals: int = 1):
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=n), decimals)
    y = np.round(x + rng.normal(size=n), decimals)
    return x, (y > 0).astype(float) if name == "average_precision" else y


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_every_resample_is_the_statistic_of_the_sample_written_out(name, decimals):
    x, y = items(name, 40, 0, decimals)
    weights = counts(np.random.default_rng(1), 60, 40)
    found = statistic(name, x, y)(weights)
    written = [np.repeat(np.arange(40), row.astype(int)) for row in weights]
    assert found == pytest.approx([PEERS[name](x[rows], y[rows]) for rows in written], abs=1e-12)
    assert value(name, x, y) == pytest.approx(PEERS[name](x, y), abs=1e-12)


@pytest.mark.parametrize("name", STATISTICS)
def test_an_item_of_weight_0_is_not_there(name):
    x, y = items(name, 30, 2)
    weights = np.ones((1, 30))
    weights[0, 20:] = 0
    assert statistic(name, x, y)(weights)[0] == pytest.approx(PEERS[name](x[:20], y[:20]), abs=1e-12)


@given(coarse)
def test_ranks_are_scipys(values):
    assert ranks(values) == pytest.approx(rankdata(values))


@given(coarse, st.sampled_from([1.0, 1e-6, 1e6]), st.sampled_from([0.0, 1e4]))
def test_scale_and_place_do_not_matter(x, scale, shift):
    rng = np.random.default_rng(len(x))
    y = rng.normal(size=len(x))
    for name in ("pearson", "spearman"):
        one, other = value(name, x, y), value(name, np.asarray(x) * scale + shift * scale, y)
        assert one == pytest.approx(other, abs=1e-9, nan_ok=True)


def test_what_is_undefined_is_nan_and_not_a_number_by_chance():
    for constant in (0.1 + 0.2, 1e9 + 0.1, 0.0):
        assert np.isnan(value("pearson", [constant] * 7, range(7)))
        assert np.isnan(value("spearman", range(7), [constant] * 7))
    assert np.isnan(value("average_precision", [0.1, 0.2], [0, 0]))
    assert value("average_precision", [0.1, 0.2], [1, 1]) == 1.0


def test_counts_are_as_many_as_items_and_each_as_likely():
    found = counts(np.random.default_rng(0), 4000, 5)
    assert (found.sum(axis=1) == 5).all()
    assert found.mean(axis=0) == pytest.approx(np.ones(5), abs=0.06)


def test_coins_are_fair_and_do_not_depend_on_how_many_are_tossed_at_a_time():
    found = coins(np.random.default_rng(0), 3000, 45)
    assert set(np.unique(found)) == {0.0, 1.0}
    assert found.mean(axis=0) == pytest.approx(np.full(45, 0.5), abs=0.04)
    assert np.abs(np.corrcoef(found.T) - np.eye(45)).max() < 0.1
    rng = np.random.default_rng(0)
    assert np.array_equal(np.concatenate([coins(rng, rows, 45) for rows in (1, 2000, 999)]), found)


def test_chunks_add_up():
    assert list(chunks(10, 4, cells=12)) == [3, 3, 3, 1]
    assert list(chunks(2, 100, cells=10)) == [1, 1]


@pytest.mark.parametrize(
    ("name", "x", "y", "message"),
    [
        ("spearman", [1.0], [1.0, 2.0], "1 predictions, 2 targets"),
        ("spearman", [], [], "0 predictions"),
        ("spearman", [[1.0]], [1.0], r"shape \(1, 1\)"),
        ("pearson", [1.0, float("nan")], [1.0, 2.0], "NaN or infinity"),
        ("average_precision", [1.0, 2.0], [0.0, 0.5], "0 and 1; found 0.5"),
    ],
)
def test_what_is_no_set_of_items_is_an_error(name, x, y, message):
    with pytest.raises(DataError, match=message):
        statistic(name, x, y)
