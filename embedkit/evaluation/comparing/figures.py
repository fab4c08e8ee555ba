"""A comparison as plain figures: what compare.json holds, and what the table and the page show."""

from collections.abc import Mapping, Sequence
from typing import Any

from embedkit.evaluation.comparing.changed import Changed, changed
from embedkit.evaluation.comparing.comparison import Against, Comparison
from embedkit.evaluation.comparing.findings import Finding, How
from embedkit.evaluation.comparing.gate import Judgement

FORMAT = 1


def figures(comparison: Comparison, judgements: Sequence[Judgement] = (), *, most: int = 0) -> dict[str, Any]:
    """All numbers of a comparison, with the ids of the `most` changed queries but no texts."""
    how = comparison.how
    return {
        "format": FORMAT,
        "baseline": comparison.baseline,
        "metric": comparison.metric,
        "confidence": how.confidence,
        "samples": how.samples,
        "seed": how.seed,
        "correction": how.correction,
        "candidates": [_candidate(against, how, most) for against in comparison.candidates],
        "gates": [_judgement(found) for found in judgements],
        "notes": list(comparison.notes),
    }


def _candidate(against: Against, how: How, most: int) -> dict[str, Any]:
    fell, rose = changed(against.pairs, most)
    return {
        "name": against.candidate,
        "overall": _finding(against.overall, how) if against.overall else None,
        "tasks": [_finding(finding, how) for finding in against.tasks],
        "changed": {"fell": [_changed(row) for row in fell], "rose": [_changed(row) for row in rose]},
        "notes": list(against.notes),
    }


def _finding(finding: Finding, how: How) -> dict[str, Any]:
    low, high = finding.bootstrap.interval(how.confidence)
    return {
        "task": finding.task,
        "group": finding.group,
        "metric": finding.metric,
        "statistic": finding.statistic,
        "units": finding.units,
        "base": finding.base,
        "candidate": finding.candidate,
        "difference": finding.difference,
        "low": low,
        "high": high,
        "p_bootstrap": finding.bootstrap.p,
        "p_randomization": finding.randomization.p,
        "p_corrected": finding.p,
        "verdict": finding.verdict(how.confidence),
        "effect_size": finding.effect,
        "counted": finding.unit,
        **_record(finding),
    }


def _record(finding: Finding) -> Mapping[str, int | None]:
    names = ("wins", "ties", "losses")
    return {name: None if finding.record is None else getattr(finding.record, name) for name in names}


def _changed(row: Changed) -> dict[str, Any]:
    return {
        "task": row.task,
        "query_id": row.query_id,
        "base": row.base,
        "candidate": row.candidate,
        "difference": row.difference,
    }


def _judgement(found: Judgement) -> dict[str, Any]:
    gate = found.gate
    return {
        "kind": gate.kind,
        "rule": gate.text,
        "candidate": found.candidate,
        "on": found.on,
        "difference": found.difference,
        "bound": found.bound,
        "side": "at least" if gate.above else "at most",
        "margin": gate.margin,
        "confidence": gate.confidence,
        "holds": found.holds,
        "failed": found.failed,
    }
