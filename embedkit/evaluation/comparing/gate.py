"""Regression gates: rules on a difference and how sure one must be of it.

    RULE    METRIC < base - NUMBER at NUMBER% [on TASK]         also > and +, and `base` alone

`ndcg@10 < base - 0.005 at 95%` holds if one can be 95 % confident that the candidate is worse than the baseline by more
than 0.005: if the upper end of the difference's one-sided 95 % interval is below -0.005. As --fail-if it stops what is
surely worse; `ndcg@10 > base - 0.005 at 95%` as --fail-unless stops what is not surely as good (non-inferiority): too
few queries pass the first and fail the second. METRIC may be `main`, each task's own. A rule is about the mean over
tasks unless it names one, or a group of them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from embedkit.core.errors import DataError, RecipeError, did_you_mean
from embedkit.evaluation.comparing.comparison import Against, Comparison, check_samples
from embedkit.evaluation.comparing.findings import Finding, average

Kind = Literal["fail-if", "fail-unless"]
EXAMPLE: Final = "ndcg@10 < base - 0.005 at 95%"

_RULE: Final = re.compile(
    r"(?P<metric>[^\s<>=]+)\s*(?P<sign><=|>=|==|=|<|>)\s*(?P<side>[^\s+\-−]+)\s*"
    r"(?:(?P<way>[+\-−])\s*(?P<margin>[^\s%]+))?\s*(?P<percent>%)?"
    r"(?:\s+at\s+(?P<confidence>[^\s%]+)\s*%)?(?:\s+on\s+(?P<task>.*\S))?"
)


@dataclass(frozen=True)
class Gate:
    """A rule: whether the difference is surely above, or surely below, the margin."""

    kind: Kind
    text: str
    metric: str
    above: bool
    margin: float
    confidence: float
    task: str  # "" for the mean over tasks


@dataclass(frozen=True)
class Judgement:
    """A rule applied to a candidate."""

    gate: Gate
    candidate: str
    on: str
    difference: float
    bound: float  # the end of the one-sided interval
    holds: bool  # what the rule says

    @property
    def failed(self) -> bool:
        """Whether the gate stops this candidate."""
        return self.holds == (self.gate.kind == "fail-if")


def parse_gate(kind: Kind, text: str) -> Gate:
    """Read a rule. Raises `RecipeError` if it is not one, and says what is wrong."""

    def wrong(why: str) -> RecipeError:
        return RecipeError(f"--{kind} {text!r}: {why}; e.g. --{kind} {_example(kind)!r}")

    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise wrong("is not a rule; expected METRIC < base - NUMBER at NUMBER% [on TASK]")
    if match["sign"] not in ("<", ">"):
        raise wrong(f"{match['sign']!r} is not known; expected < or >")
    if match["side"] != "base":
        raise wrong(
            f"compares with {match['side']!r}; expected base, the baseline{did_you_mean(match['side'], ['base'])}"
        )
    if match["percent"]:
        raise wrong(f"{match['margin']}% is not a margin; expected one in units of the metric, e.g. 0.005")
    if match["confidence"] is None:
        raise wrong("does not say how sure one must be; expected e.g. at 95%")
    margin, confidence = _number(match["margin"] or "0"), _number(match["confidence"])
    if margin is None or not 0 <= margin < 1:
        raise wrong(f"the margin is {match['margin']!r}; expected a number from 0 to 1, in units of the metric")
    if confidence is None or not 50 < confidence < 100:
        raise wrong(f"the confidence is {match['confidence']!r}; expected more than 50% and less than 100%")
    signed = margin if match["way"] == "+" or not margin else -margin
    task = match["task"] or ""
    return Gate(kind, text.strip(), match["metric"], match["sign"] == ">", signed, confidence / 100, task)


def judge(gate: Gate, comparison: Comparison) -> list[Judgement]:
    """Apply a rule to every candidate of a comparison on the rule's metric.

    Raises `DataError` if a candidate lacks what the baseline has: what was not scored must not pass. Candidates are
    judged one by one: a rule at 95 % stops each of those that differ by just the margin with a chance of 5 %.
    """
    check_samples(comparison.how.samples, 1 - gate.confidence, f"--{gate.kind} {gate.text!r}")
    return [_judge(gate, against) for against in comparison.candidates]


def _judge(gate: Gate, against: Against) -> Judgement:
    found, on = _about(gate, against)
    names = {finding.task for finding in found} | {finding.group for finding in found} | {gate.task}
    gaps = [gap for gap in against.gaps if not gate.task or gap.partition(": ")[0] in names]
    if gaps:
        raise DataError(
            f"--{gate.kind} {gate.text!r}: {gaps[0]}; what {against.candidate} lacks must not let it pass. Score it "
            "there too, or choose tasks with --tasks"
        )
    whole = found[0] if len(found) == 1 else average(found, gate.task)
    side = whole.bootstrap.at_least if gate.above else whole.bootstrap.at_most
    bound = side(gate.confidence)
    holds = bound > gate.margin if gate.above else bound < gate.margin
    return Judgement(gate, against.candidate, on, whole.difference, bound, holds)


def _about(gate: Gate, against: Against) -> tuple[Sequence[Finding], str]:
    """The findings a rule is about, and what they are in words."""
    found = [f for f in against.tasks if not gate.task or gate.task in (f.task, f.group)]
    if not found:
        known = sorted({name for finding in against.tasks for name in (finding.task, finding.group)})
        raise RecipeError(
            f"--{gate.kind} {gate.text!r}: task {gate.task!r} is none of those compared"
            f"{did_you_mean(gate.task, known)}; there are {', '.join(known)}"
        )
    units = f"{sum(f.units for f in found):,} {' and '.join(sorted({f.unit for f in found}, reverse=True))}"
    if len(found) == 1:
        return found, f"{found[0].task}, {units}"
    return found, f"mean over {len(found)} tasks{f' of {gate.task}' if gate.task else ''}, {units}"


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d*)?|\.\d+", text) else None


def _example(kind: Kind) -> str:
    return EXAMPLE if kind == "fail-if" else EXAMPLE.replace("<", ">")
