import pytest
from pydantic import ValidationError

from embedkit.core.estimate import Size
from embedkit.training.early_stopping import Evaluation, Score, Standing, logged_as, scores_in, standing, told


def evaluation(**fields) -> Evaluation:
    return Evaluation(**{"data": "data", **fields})


def course(*values: float) -> list[Score]:
    """Scores before training and after steps 10, 20, ..."""
    return [Score(10 * i, value) for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "fields", "best", "waited", "exhausted"),
    [
        ((0.5,), {"patience": 1}, None, 0, False),
        ((0.5, 0.3), {"patience": 1}, (10, 0.3), 0, False),  # the model before training is not to be beaten
        ((0.5, 0.3, 0.4, 0.4), {"patience": 2}, (20, 0.4), 1, False),  # equal is no gain
        ((0.5, 0.3, 0.4, 0.4, 0.1), {"patience": 2}, (20, 0.4), 2, True),
        ((0.5, 0.3, 0.4, 0.2, 0.41), {"patience": 2}, (40, 0.41), 0, False),
        ((0.0, 0.30, 0.34, 0.38), {"patience": 2, "min_gain": 0.05}, (30, 0.38), 0, False),  # over the last gain
        ((0.0, 0.30, 0.34, 0.35), {"patience": 2, "min_gain": 0.05}, (30, 0.35), 2, True),  # best, but no gain
        ((0.0, 0.4, 0.3, 0.2, 0.1), {}, (10, 0.4), 3, False),
    ],
)
def test_what_follows_from_scores(values, fields, best, waited, exhausted):
    spec = evaluation(**fields)
    found = standing(spec, course(*values))
    assert found == Standing(None if best is None else Score(*best), waited)
    assert found.exhausted(spec) is exhausted


def test_when_a_model_is_scored():
    assert [step for step in range(1, 15) if evaluation().due(step, 14)] == [4, 8, 12, 14]
    assert [step for step in range(1, 15) if evaluation(every=6).due(step, 14)] == [6, 12, 14]


def test_scores_are_read_from_the_log_of_the_trainer():
    spec = evaluation(metric="mrr@5")
    log = [{"eval_mrr_at_5": 0.1, "step": 0}, {"loss": 2.0, "step": 1}, {"eval_mrr_at_5": 0.2, "step": 1}]
    assert logged_as(spec) == "eval_mrr_at_5"
    assert scores_in(log, spec) == [Score(0, 0.1), Score(1, 0.2)]


def test_what_is_told():
    found = told(evaluation(patience=2), course(0.6, 0.4, 0.5, 0.45, 0.3), 100)
    assert found["summary"] == [
        "ndcg@10 on dev 0.6000 before training, best 0.5000 at step 20, 0.3000 at step 40; kept: step 20; stopped "
        "after 2 scores without gain, 60 of 100 steps early"
    ]
    assert found["warnings"] == [
        "ndcg@10 on dev is 0.5000 at step 20, which was kept, but was 0.6000 before training; lower learning_rate, or "
        "look at the pairs"
    ]
    last = told(evaluation(keep="last"), course(0.2, 0.4, 0.3), 20)
    assert (last["kept"], last["best"], last["warnings"]) == (20, {"step": 10, "value": 0.4}, [])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_gain": 0.1}, "min_gain but no patience"),
        ({"metric": "ndcg"}, "should match pattern"),
        ({"split": "test"}, "'train' or 'dev'"),
    ],
)
def test_mistakes(fields, message):
    with pytest.raises(ValidationError, match=message):
        evaluation(**fields)


def test_the_estimate_counts_every_score():
    model = Size(active_parameters=100, max_tokens=20)
    data = Size(documents=50, document_tokens=40, query_tokens=10, held_out={"dev": 8})
    every_text = 2 * 100 * (8 * 10 + 50 * 20)
    assert evaluation().flops(model, data, steps=14) == 5 * every_text
    assert evaluation(every=14, queries=4, documents=10).flops(model, data, steps=14) == 2 * 2 * 100 * (40 + 200)
