"""Templates of the package, and the filters they may use."""

from typing import Final

import jinja2

from embedkit.report import tables

_FILTERS: Final = (
    tables.cell,
    tables.line,
    tables.listed,
    tables.memory,
    tables.metric_name,
    tables.number,
    tables.percent,
    tables.score,
    tables.seconds,
    tables.share,
    tables.signed,
    tables.words,
)


def template(name: str) -> jinja2.Template:
    """The template of this name. HTML templates escape what they are given; a name they lack is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("embedkit.report"),
        autoescape=name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({function.__name__: function for function in _FILTERS})
    return environment.get_template(name)
