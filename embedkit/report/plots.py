"""Small SVG figures to set inline in the page. The only module that imports matplotlib.

The same values give the same bytes. Colours are the page's own CSS variables, so that figures follow a light or dark
scheme; text stays text, in the page's font.
"""

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

# matplotlib wants real colours: these stand for CSS variables until the figure is text
_INK, _MUTED, _RULE, _PAPER, _FIRST, _SECOND, _THIRD = (f"#0c0de{i}" for i in range(7))
_VARIABLES: Final = {
    _INK: "--ink",
    _MUTED: "--muted",
    _RULE: "--rule",
    _PAPER: "--paper",
    _FIRST: "--first",
    _SECOND: "--second",
    _THIRD: "--third",
}
_STYLE: Final[dict[Any, Any]] = {
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "embedkit",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
}


@dataclass(frozen=True)
class Bar:
    """One row of an interval plot."""

    label: str
    difference: float
    low: float
    high: float
    strong: bool = False


@dataclass(frozen=True)
class Spot:
    """A point of a plot of sizes and scores."""

    label: str
    size: float  # > 0
    value: float
    low: float
    high: float
    front: bool = False


def curve(
    points: Sequence[tuple[float, float]],
    *,
    about: str,
    mark: tuple[float, float] | None = None,
    marks: Sequence[float] = (),
) -> Markup:
    """A line through (step, value), with a dot at `mark` and a thin line up from each of the steps `marks`."""
    with _figure(3.3, 1.75) as (figure, axes):
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, color=_FIRST, linewidth=1.4)
        if len(points) == 1:
            _dot(axes, steps[0], values[0], _FIRST, filled=True)
        for step in marks:
            axes.axvline(step, color=_MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        if mark is not None:
            _dot(axes, *mark, _FIRST, filled=True)
        axes.grid(axis="y")
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.margins(x=0.02)
        return _svg(figure, about)


def histograms(groups: Mapping[str, Mapping[str, Any]], *, about: str) -> Markup:
    """Each group's share of its own scores in each bin. A group is a `core.stats.histogram`."""
    looks = [(_FIRST, "-", 0.28), (_SECOND, "-", 0.28), (_THIRD, (0, (3, 2)), 0.0)]
    with _figure(6.6, 2.5) as (figure, axes):
        for i, (name, group) in enumerate(groups.items()):
            colour, line, opacity = looks[i % len(looks)]
            shares = [count / max(group["n"], 1) for count in group["counts"]]
            if opacity:
                axes.stairs(shares, group["edges"], fill=True, color=colour, alpha=opacity, linewidth=0)
            axes.stairs(shares, group["edges"], color=colour, linestyle=line, linewidth=1.3, label=name)
        axes.set_xlabel("score")
        axes.set_ylabel("share of group")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.legend(frameon=False, loc="upper left", handlelength=1.8)
        return _svg(figure, about)


def shares(lines: Mapping[str, Sequence[tuple[float, float]]], *, xlabel: str, about: str) -> Markup:
    """Shares between 0 and 1 along x, a line each."""
    looks = [(_SECOND, "-"), (_FIRST, (0, (3, 2))), (_THIRD, "-")]
    with _figure(6.6, 2.2) as (figure, axes):
        for i, (name, points) in enumerate(lines.items()):
            colour, line = looks[i % len(looks)]
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=colour, linestyle=line, linewidth=1.4, label=name)
        axes.grid(axis="y")
        axes.set_xlabel(xlabel)
        axes.set_ylabel("share dropped")
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.margins(x=0.01)
        axes.legend(frameon=False, loc="upper right", handlelength=1.8)
        return _svg(figure, about)


def unit_square(
    lines: Mapping[str, Sequence[tuple[float, float]]], *, xlabel: str, ylabel: str, about: str, dots: bool = False
) -> Markup:
    """Lines through shares of two kinds, with the diagonal: ROC curves, reliability diagrams."""
    looks = [(_FIRST, "-"), (_SECOND, "-"), (_THIRD, (0, (3, 2)))]
    with _figure(3.3, 3.1) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
        for i, (name, points) in enumerate(lines.items()):
            colour, line = looks[i % len(looks)]
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=colour, linestyle=line, linewidth=1.4, label=name)
            for x, y in points if dots else ():
                _dot(axes, x, y, colour, filled=True, size=4.5)
        axes.grid()
        axes.set_axisbelow(True)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
            axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.legend(frameon=False, loc="upper left" if dots else "lower right", handlelength=1.8)
        return _svg(figure, about)


def intervals(bars: Sequence[Bar], *, xlabel: str, about: str) -> Markup:
    """A dot and a line for every difference and its interval, zero marked. The first bar is on top."""
    with _figure(6.6, 0.62 + 0.27 * len(bars)) as (figure, axes):
        rows = range(len(bars))
        for row, bar in zip(rows, bars, strict=True):
            colour = _FIRST if bar.strong else _INK
            axes.plot([bar.low, bar.high], [row, row], color=colour, linewidth=2.2 if bar.strong else 1.3)
            _dot(axes, bar.difference, row, colour, filled=bar.low > 0 or bar.high < 0)
        axes.axvline(0, color=_MUTED, linewidth=0.9)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_yticks(list(rows), [bar.label for bar in bars])
        for tick, bar in zip(axes.get_yticklabels(), bars, strict=True):
            tick.set_color(_FIRST if bar.strong else _INK)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(xlabel)
        axes.xaxis.set_major_locator(MaxNLocator(7))
        return _svg(figure, about)


def pareto(spots: Sequence[Spot], *, reference: float, xlabel: str, ylabel: str, about: str) -> Markup:
    """Values by size, on a scale of doublings: those on the front filled, named and joined, the others numbered from 0.

    `reference` is the value that a dashed line marks.
    """
    with _figure(6.6, 3.4) as (figure, axes):
        axes.axhline(reference, color=_MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        best = sorted((spot.size, spot.value) for spot in spots if spot.front)
        axes.step(*zip(*best, strict=True), where="post", color=_FIRST, linewidth=1.0, alpha=0.6)
        for number, spot in enumerate(spots):
            colour = _FIRST if spot.front else _MUTED
            axes.plot([spot.size] * 2, [spot.low, spot.high], color=colour, linewidth=1.1)
            _dot(axes, spot.size, spot.value, colour, filled=spot.front)
            below = spot.front and best.index((spot.size, spot.value)) % 2 == 0  # neighbours' names in turn
            text, beside = spot.label if spot.front else str(number), (5, -10 if below else 4)
            axes.annotate(text, (spot.size, spot.value), beside, textcoords="offset points", color=colour, fontsize=8)
        first, last = (round(math.log2(edge(spot.size for spot in spots))) for edge in (min, max))
        axes.set_xscale("log", base=2)
        axes.set_xticks([2.0**power for power in range(first - 1, last + 2)])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(2.0 ** (first - 0.7), 2.0 ** (last + 1.4))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        return _svg(figure, about)


def _dot(axes: Axes, x: float, y: float, colour: str, *, filled: bool, size: float = 6.5) -> None:
    """A dot as a line without length: markers would need names that are unique in the page."""
    axes.plot([x, x], [y, y], color=colour, linewidth=size, solid_capstyle="round", zorder=3)
    if not filled:
        axes.plot([x, x], [y, y], color=_PAPER, linewidth=3.5, solid_capstyle="round", zorder=3)


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def _svg(figure: Figure, about: str) -> Markup:
    """The figure as an `svg` element that stands in HTML: no prolog, no metadata, no names that could clash."""
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
        buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    text = buffer.getvalue().decode()
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    width, height = size.groups() if size else ("1", "1")
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<defs>.*?</defs>", "", body, flags=re.DOTALL)  # clip paths and a style for the whole page
    body = re.sub(r' (?:clip-path|id)="[^"]*"', "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"<[^>]*>", _with_short_numbers, body)  # coordinates, not the texts between the tags
    body = re.sub(r"\s*\n\s*", " ", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return Markup(
        f'<svg class="figure" role="img" aria-label="{escape(about)}" viewBox="0 0 {width} {height}" '
        f'style="max-width:{float(width):.0f}pt"><g stroke-linejoin="round">{body}</g></svg>'
    )


def _with_short_numbers(tag: re.Match[str]) -> str:
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag[0])
