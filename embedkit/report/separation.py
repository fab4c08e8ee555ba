"""Separation and calibration of some models as an HTML page that loads nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from embedkit._version import __version__
from embedkit.report.sections.separation import separated
from embedkit.report.templating import template


def render_separation(found: Sequence[Mapping[str, Any]]) -> str:
    """The page of figures with their `model` and `task`. The same figures give the same bytes."""
    shown = separated([(one["model"], one["task"], one) for one in found])
    return template("separation.html.j2").render(
        version=__version__, shown=shown, tasks=[one.task for one in shown], found=found
    )
