"""A leaderboard as an HTML page that loads nothing and can be sorted; everything a file said is escaped."""

import base64
import hashlib
from typing import Final

from markupsafe import Markup

from embedkit._version import __version__
from embedkit.report.plots import Bar, intervals
from embedkit.report.standings import Standings
from embedkit.report.tables import signed
from embedkit.report.templating import template

SCRIPT: Final = "leaderboard.js"


def render_leaderboard(found: Standings, title: str = "Leaderboard") -> str:
    """The page. The same standings give the same bytes."""
    script = template(SCRIPT).render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template("leaderboard.html.j2").render(
        found=found,
        title=title,
        version=__version__,
        script=Markup(script),  # a file of the package
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        types=len({column.type for column in found.common}),
        known={name: any(getattr(line.entry.facts, name) for line in found.lines) for name in _FACTS},
        plot=_plot(found),
    )


_FACTS: Final = {"parameters": "parameters", "dimensions": "dimensions", "max_tokens": "max tokens"}


def _plot(found: Standings) -> Markup | None:
    """Each model's difference from the baseline, best first."""
    bars = [
        Bar(line.label, d.value, d.low, d.high, strong=line.rank == 1)
        for line in found.lines
        if (d := line.against_baseline) is not None
    ]
    if not bars:
        return None
    axis = f"difference from {found.baseline} in the mean over tasks"
    return intervals(
        bars, xlabel=axis, about=f"{axis}: " + "; ".join(f"{b.label} {signed(b.difference)}" for b in bars)
    )
