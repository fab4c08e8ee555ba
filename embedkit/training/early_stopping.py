"""What a recipe says about evaluation during training, and what its scores say: which is best, when to stop."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from embedkit.core.estimate import Size, encode_flops
from embedkit.core.spec import DatasetRef, Spec


class Score(NamedTuple):
    """The metric after a step; step 0 is the model before training."""

    step: int
    value: float


class Evaluation(Spec):
    """Retrieval on held-out queries while a model trains, with the weights it then has.

    The model before training is scored too, for comparison, and the last step always. With `keep: best` the result has
    the weights of the best score, of equal ones the earliest. With `patience`, training stops after so many scores
    in a row that are not above the best before them by more than `min_gain`.
    """

    data: DatasetRef
    split: Literal["train", "dev"] = "dev"  # test queries are for the end
    metric: Annotated[str, Field(pattern=r"^(ndcg|mrr|map|recall|precision)@([1-9][0-9]{0,2}|1000)$")] = "ndcg@10"
    every: PositiveInt | None = None  # steps; null: a quarter of the training
    queries: PositiveInt | None = 1000  # at most, a seeded sample; null: all
    documents: PositiveInt | None = None  # at most, the judged ones and a seeded sample of the others; null: all
    patience: PositiveInt | None = None  # scores; null: never stop early
    min_gain: NonNegativeFloat = 0.0
    keep: Literal["best", "last"] = "best"

    @model_validator(mode="after")
    def _gain_of_patience(self) -> Self:
        if self.min_gain and self.patience is None:
            raise ValueError("has min_gain but no patience, which it belongs to")
        return self

    def interval(self, steps: int) -> int:
        """Steps from one score to the next, in a training of `steps`."""
        return self.every or math.ceil(steps / 4)

    def due(self, step: int, steps: int) -> bool:
        """Whether the model is scored after this step."""
        return step == steps or step % self.interval(steps) == 0

    def flops(self, model: Size, data: Size, steps: int) -> float:
        """Floating-point operations of all scores of a training of `steps`."""
        times = 1 + math.ceil(steps / self.interval(steps))
        queries = min(data.held_out.get(self.split, 0), self.queries or math.inf)
        documents = min(data.documents, self.documents or math.inf)
        limit = model.max_tokens or math.inf
        tokens = queries * min(data.query_tokens, limit) + documents * min(data.document_tokens, limit)
        return times * encode_flops(model, texts=1, tokens=tokens)


class Standing(NamedTuple):
    """What the scores of a training so far come to."""

    best: Score | None  # after a step of training
    waited: int  # scores since the last gain

    def exhausted(self, spec: Evaluation) -> bool:
        """Whether training is to stop."""
        return spec.patience is not None and self.waited >= spec.patience


def standing(spec: Evaluation, scores: Sequence[Score]) -> Standing:
    """What follows from these scores, in order of their steps.

    It is all that early stopping knows, so a resumed training, which has its scores, goes on as if nothing had been.
    The model before training is neither the best nor to be beaten: a score often falls before it rises.
    """
    best: Score | None = None
    mark, waited = -math.inf, 0  # the score to be beaten
    for score in (score for score in scores if score.step):
        if mark == -math.inf or score.value > mark + spec.min_gain:
            mark, waited = score.value, 0
        else:
            waited += 1
        if best is None or score.value > best.value:
            best = score
    return Standing(best, waited)


def scores_in(log: Sequence[Mapping[str, Any]], spec: Evaluation) -> list[Score]:
    """The scores among what the trainer has logged."""
    return [Score(entry["step"], entry[logged_as(spec)]) for entry in log if logged_as(spec) in entry]


def logged_as(spec: Evaluation) -> str:
    """What the metric is called in the trainer's log; trackers take no @ in a name."""
    return f"eval_{spec.metric.replace('@', '_at_')}"


def told(spec: Evaluation, scores: Sequence[Score], steps: int) -> dict[str, Any]:
    """What the report shows of the scores, and what a user should know of them. `steps` were to be trained."""
    found = standing(spec, scores)
    course = {"metric": spec.metric, "split": spec.split, "scores": [score._asdict() for score in scores]}
    if found.best is None:  # a part of a training, in which no score was due
        return {**course, "summary": [], "warnings": []}
    first, last = scores[0], scores[-1]
    where = f"{spec.metric} on {spec.split}"
    kept = found.best if spec.keep == "best" else last
    summary = f"{where} {first.value:.4f} before training, best {found.best.value:.4f} at step {found.best.step}, "
    summary += f"{last.value:.4f} at step {last.step}; kept: step {kept.step}"
    if found.exhausted(spec) and last.step < steps:  # a part of a training may end before its next score
        summary += f"; stopped after {found.waited} scores without gain, {steps - last.step} of {steps} steps early"
    warnings = []
    if kept.value < first.value:
        warnings.append(
            f"{where} is {kept.value:.4f} at step {kept.step}, which was kept, but was {first.value:.4f} before "
            "training; lower learning_rate, or look at the pairs"
        )
    return {
        **course,
        "best": found.best._asdict(),
        "kept": kept.step,
        "summary": [summary],
        "warnings": warnings,
    }
