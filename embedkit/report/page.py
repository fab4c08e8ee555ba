"""The report as one HTML page: nothing is loaded, everything a recipe or a file said is escaped."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from embedkit._version import __version__
from embedkit.report import tables
from embedkit.report.contents import Contents, Verdict, lines
from embedkit.report.graph import HEIGHT, WIDTH, Drawing, draw
from embedkit.report.lineage import SHORT, Lineage
from embedkit.report.plots import Bar, intervals
from embedkit.report.sections import compression, data, environment, mining, separation, soup, teaching, training
from embedkit.report.templating import template

_SECTIONS: Final[Mapping[str, tuple[str, Callable[[Lineage], Any]]]] = {
    "training": ("Training", training.section),
    "mining": ("Mined negatives", mining.section),
    "teaching": ("Teachers", teaching.section),
    "soup": ("Soups", soup.section),
    "separation": ("Separation and calibration", separation.section),
    "compression": ("Compressed vectors", compression.section),
    "data": ("Data", data.section),
    "environment": ("Environment", environment.section),
}


def render(contents: Contents) -> str:
    """The page. The same contents give the same bytes."""
    found = {name: (title, section(contents.lineage)) for name, (title, section) in _SECTIONS.items()}
    return template("page.html.j2").render(
        contents=contents,
        version=__version__,
        lines=lines(contents.lineage),
        plots=[_intervals(contents, verdict) for verdict in contents.verdicts],
        sections={name: (title, shown) for name, (title, shown) in found.items() if shown is not None},
        drawing=_drawing(contents.lineage),
        box=(WIDTH, HEIGHT),
        short=SHORT,
    )


def _intervals(contents: Contents, verdict: Verdict) -> Any:
    """The figure of a task: each model's difference from the baseline on the deciding metric."""
    metric, baseline = verdict.metric, contents.names[contents.question.baseline]
    bars = []
    for row in verdict.board.rows:
        cell = row.cells[metric]
        found = cell.against_baseline if cell is not None else None
        if found is not None and (span := found.interval) is not None:
            name = contents.names[row.model]
            bars.append(Bar(name, span.difference, span.low, span.high, strong=row.role == "candidate"))
    if not bars:
        return None
    told = "; ".join(f"{b.label} {tables.signed(b.difference)}" for b in bars)
    axis = f"difference from {baseline} in {tables.metric_name(metric)}"
    return intervals(bars, xlabel=axis, about=f"{axis}, {verdict.board.task}: {told}")


def _drawing(lineage: Lineage) -> Drawing:
    """The stages only: an arrow to a part of a stage starts at what the part was made from."""

    def named(key: str) -> list[str]:
        node = lineage.nodes[key]
        return [key] if node.name else [k for needed in node.inputs.values() for k in named(needed)]

    return draw({n.key: [k for key in n.inputs.values() for k in named(key)] for n in lineage.stages()})
