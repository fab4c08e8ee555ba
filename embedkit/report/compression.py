"""What compressed vectors cost one model on one set, as an HTML page that loads nothing."""

from collections.abc import Mapping
from typing import Any

from embedkit._version import __version__
from embedkit.report.sections.compression import compressed
from embedkit.report.templating import template


def render_compression(name: str, stats: Mapping[str, Any], speed: Mapping[str, Any]) -> str:
    """The page of the `compress` stage whose stats.json and speed.json these are. Equal numbers give equal bytes."""
    return template("compression.html.j2").render(
        name=name,
        version=__version__,
        summary=stats["summary"],
        shown=[compressed(name, stats, speed, stats["warnings"])],
    )
