import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from embedkit.core.errors import DataError
from embedkit.measures import calibration
from embedkit.measures.calibration import Scaling, brier, cross_fit, fit, fit_pairs, folds_of, reliability
from embedkit.measures.pairs import Pairs
from tests.measures.scored import draw, pairs
from tests.oracles.separation import ece_by_hand


def simulated(n=4000, seed=0):
    """Probabilities and what came true of them."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 2.0, n)
    return p, rng.random(n) < p


def by_sklearn(scores, relevant, weights):
    """Platt's targets as two rows a pair, fitted without a penalty."""
    high, low = weights[relevant].sum(), weights[~relevant].sum()
    targets = np.where(relevant, (high + 1) / (high + 2), 1 / (low + 2))
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
    rows = np.r_[scores, scores][:, None]
    model.fit(rows, np.repeat([1, 0], len(scores)), np.r_[weights * targets, weights * (1 - targets)])
    return 1 / model.coef_[0, 0], model.intercept_[0]


@pytest.mark.parametrize("weighted", [False, True])
def test_the_scaling_is_logistic_regression_on_platts_targets(weighted):
    _, scores, relevant = draw(30, 10, gap=1.5)
    weights = np.random.default_rng(5).integers(1, 5, len(scores)).astype(float) if weighted else None
    found = fit(scores, relevant, weights)
    expected = by_sklearn(scores, relevant, np.ones(len(scores)) if weights is None else weights)
    assert (found.temperature, found.bias) == pytest.approx(expected, rel=1e-4)


def test_the_scaling_gets_back_what_made_the_judgements():
    scores = np.random.default_rng(0).normal(0.4, 0.1, 200_000)
    relevant = np.random.default_rng(1).random(200_000) < expit(scores / 0.05 - 9)
    found = fit(scores, relevant)
    assert found.temperature == pytest.approx(0.05, rel=0.02)
    assert found.bias == pytest.approx(-9, rel=0.02)


def test_scaling_leaves_auc_and_order():
    _, scores, relevant = draw(30, 10)
    p = fit(scores, relevant).probabilities(scores)
    assert roc_auc_score(relevant, p) == roc_auc_score(relevant, scores)
    assert np.argsort(p).tolist() == np.argsort(scores).tolist()


def test_scores_that_part_all_pairs_or_tell_nothing_can_be_fitted():
    found = fit(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert 0 < found.temperature < 1
    assert found.probabilities(np.array([0.1, 0.9])) == pytest.approx([0.25, 0.75], abs=0.05)
    flat = fit(np.full(4, 0.5), np.array([False, False, False, True]))
    assert flat.temperature == np.inf
    assert flat.probabilities(np.array([0.5]))[0] == pytest.approx((3 / 5 + 2 / 3) / 4)
    assert fit(np.array([0.9, 0.8, 0.1]), np.array([False, False, True])).temperature < 0
    with pytest.raises(DataError, match="found 2, 0"):
        fit(np.array([0.1, 0.2]), np.array([True, True]))


def test_scores_far_from_zero_are_fitted_as_well():
    _, scores, relevant = draw(30, 10)
    near, far = fit(scores, relevant), fit(1e4 + 1e-3 * scores, relevant)
    assert far.probabilities(1e4 + 1e-3 * scores) == pytest.approx(near.probabilities(scores), abs=1e-6)


def test_no_query_calibrates_itself():
    found = pairs(20, 6, shift=0.5)
    folds = folds_of(20, folds=4, seed=1)
    assert sorted(np.bincount(folds)) == [5, 5, 5, 5]
    own = folds[found.queries]
    expected = np.empty(len(own))
    for fold in range(4):
        scaling = fit(found.scores[own != fold], found.relevant[own != fold])
        expected[own == fold] = scaling.probabilities(found.scores[own == fold])
    assert cross_fit(found, folds) == pytest.approx(expected, abs=1e-4)
    flipped = Pairs(found.queries, found.scores, np.where(own == 0, ~found.relevant, found.relevant))
    assert cross_fit(flipped, folds)[own == 0] == pytest.approx(cross_fit(found, folds)[own == 0], abs=1e-12)
    assert np.abs(cross_fit(flipped, folds)[own == 1] - expected[own == 1]).max() > 0.01


def test_cells_change_nothing_that_can_be_seen(monkeypatch):
    found = pairs(40, 30)
    whole = fit(found.scores, found.relevant)
    assert fit_pairs(found).temperature == pytest.approx(whole.temperature, rel=1e-5)
    monkeypatch.setattr(calibration, "_CELLS", 64)
    assert fit_pairs(found).temperature == pytest.approx(whole.temperature, rel=1e-2)
    assert fit_pairs(found).temperature != pytest.approx(whole.temperature, rel=1e-9)


@pytest.mark.parametrize(("by", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_reliability_diagrams_are_sklearns(by, strategy):
    p, y = simulated()
    found = reliability(p, y, np.arange(len(p)), by=by, bins=10)
    shares, promised = calibration_curve(y, p, n_bins=10, strategy=strategy)
    assert found.shares == pytest.approx(shares, abs=1e-12)
    assert found.probabilities == pytest.approx(promised, abs=1e-12)
    assert found.counts.sum() == len(p)


def test_ece_by_hand_on_three_bins():
    p, y = [0.0, 0.1, 1 / 3, 0.4, 0.5, 0.9, 1.0], [False, True, False, True, False, True, True]
    found = reliability(np.array(p), np.array(y), np.zeros(7, int), by="width", bins=3)
    assert found.counts.tolist() == [3, 2, 2]
    assert found.ece == pytest.approx(ece_by_hand(p, y, 3))


def test_ece_of_perfect_probabilities_is_its_noise():
    sizes, noise, ece = (500, 8000), [], []
    for n in sizes:
        found = [reliability(*simulated(n, seed), np.arange(n), by="width") for seed in range(30)]
        ece.append(np.mean([one.ece for one in found]))
        noise.append(np.mean([one.noise for one in found]))
    assert ece == pytest.approx(noise, rel=0.12)
    assert ece[0] == pytest.approx(4 * ece[1], rel=0.25)
    p, y = simulated(8000)
    wrong = reliability(p**0.5, y, np.arange(8000), by="width")
    assert wrong.ece > 10 * wrong.noise


def test_noise_knows_that_pairs_of_a_query_move_together():
    p, y = simulated(500)
    copies = np.repeat(np.arange(500), 16)
    alone = reliability(p[copies], y[copies], np.arange(8000), by="width").noise
    together = reliability(p[copies], y[copies], copies, by="width").noise
    assert together == pytest.approx(4 * alone, rel=1e-6)
    assert together == pytest.approx(reliability(p, y, np.arange(500), by="width").noise, rel=1e-9)


def test_the_brier_score_is_sklearns_and_the_sum_of_its_parts():
    p, y = simulated()
    found = brier(p, y, reliability(p, y, np.arange(len(p)), by="width"))
    assert found.score == pytest.approx(brier_score_loss(y, p), abs=1e-12)
    parts = found.reliability - found.resolution + found.uncertainty + found.within_bins
    assert found.score == pytest.approx(parts, abs=1e-12)
    assert found.uncertainty == pytest.approx(y.mean() * (1 - y.mean()))
    assert found.skill == pytest.approx(1 - brier_score_loss(y, p) / brier_score_loss(y, np.full(len(y), y.mean())))


def test_nothing_is_within_bins_that_hold_one_probability_each():
    rng = np.random.default_rng(0)
    p = rng.choice([0.1, 0.3, 0.55, 0.9], 500)
    y = rng.random(500) < p
    found = brier(p, y, reliability(p, y, np.arange(500), by="width", bins=10))
    assert found.within_bins == pytest.approx(0, abs=1e-12)
    assert found.resolution > 0.05
    base = brier(np.full(500, y.mean()), y, reliability(np.full(500, y.mean()), y, np.arange(500), by="width"))
    assert (base.skill, base.resolution, base.reliability) == pytest.approx((0, 0, 0), abs=1e-12)


def test_a_scaling_is_what_it_says():
    assert Scaling(0.05, -9.0).probabilities(np.array([0.45])) == pytest.approx([0.5])
