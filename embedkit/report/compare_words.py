"""What a comparison says in sentences, on a terminal and on a page."""

from collections.abc import Mapping
from typing import Any

from embedkit.report.tables import MINUS, percent


def method(found: Mapping[str, Any]) -> list[str]:
    """How the figures of `embedkit.evaluation.comparing.figures` were made, and what they do not say."""
    corrected = "corrected by Holm for the number of tests" if found["correction"] == "holm" else "not corrected"
    lines = [
        f"Intervals: paired bootstrap, {percent(found['confidence'])}, each for itself. p: randomisation test, "
        f"two-sided, {corrected}. {found['samples']:,} samples, seed {found['seed']}."
    ]
    if any(candidate["overall"] for candidate in found["candidates"]):
        lines.append(
            "The mean over tasks tells what other queries of the same tasks would give; of other tasks it says nothing."
        )
    return lines


def gate_reason(gate: Mapping[str, Any]) -> str:
    """Why a gate failed or passed."""
    side = "above" if gate["side"] == "at least" else "below"
    return (
        f"{gate['candidate']} differs by {_exact(gate['difference'])} ({gate['on']}), with "
        f"{percent(gate['confidence'])} confidence by {gate['side']} {_exact(gate['bound'])}, which is "
        f"{'' if gate['holds'] else 'not '}{side} {_exact(gate['margin'])}"
    )


def _exact(value: float) -> str:
    """Four decimals, so that a bound and the margin it is near to do not read as equal."""
    return f"{value:+.4f}".replace("-", MINUS)
