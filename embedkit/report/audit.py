"""The audit of one mined set as an HTML page that loads nothing."""

from collections.abc import Mapping
from typing import Any

from embedkit._version import __version__
from embedkit.report.sections.mining import mined
from embedkit.report.templating import template


def render_audit(name: str, found: Mapping[str, Any]) -> str:
    """The page of what `embedkit.mining.audit.audit` found. The same numbers give the same bytes."""
    return template("audit.html.j2").render(
        name=name,
        version=__version__,
        shown=[mined(name, found, found["warnings"])],
        summary=found["summary"],
        left_out=found["left_out"],
        overlap=found["overlap"],
        same_texts=found["same_texts"],
        judged=found["false_negatives"].get("judged"),
    )
