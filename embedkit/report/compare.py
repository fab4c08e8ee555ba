"""A comparison of systems as an HTML page that loads nothing."""

from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup

from embedkit._version import __version__
from embedkit.report.compare_words import gate_reason, method
from embedkit.report.plots import Bar, intervals
from embedkit.report.tables import metric_name, signed
from embedkit.report.templating import template

_PLOTTED: Final = 80  # bars of a figure: with more, their names no longer stand apart


def render_comparison(found: Mapping[str, Any], texts: Mapping[str, Mapping[str, str]]) -> str:
    """The page of what `embedkit.evaluation.comparing.figures` holds; `texts` is task -> query_id -> text.

    The same numbers and texts give the same bytes.
    """
    return template("compare.html.j2").render(
        version=__version__,
        found=found,
        texts=texts,
        method=method(found),
        gates=[(gate, gate_reason(gate)) for gate in found["gates"]],
        plots=[_plot(candidate, found) for candidate in found["candidates"]],
    )


def _plot(candidate: Mapping[str, Any], found: Mapping[str, Any]) -> Markup:
    """The difference and interval of every task, the mean over them first."""
    overall = [candidate["overall"]] if candidate["overall"] else []
    rows = [*overall, *candidate["tasks"]][:_PLOTTED]
    bars = [
        Bar(row["task"] or "mean over tasks", row["difference"], row["low"], row["high"], strong=not row["task"])
        for row in rows
    ]
    metric = "each task's main metric" if found["metric"] == "main" else metric_name(found["metric"])
    axis = f"difference from {found['baseline']} in {metric}"
    return intervals(
        bars, xlabel=axis, about=f"{axis}: " + "; ".join(f"{b.label} {signed(b.difference)}" for b in bars)
    )
