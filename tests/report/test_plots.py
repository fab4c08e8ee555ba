import re

import pytest

from embedkit.core.stats import histogram
from embedkit.report.plots import Bar, curve, histograms, intervals, shares

BARS = [Bar("<b>$x$</b>", 0.1, 0.05, 0.15, strong=True), Bar("plain", 0.0, -0.1, 0.1)]
FIGURES = {
    "curve": lambda: curve([(1, 2.0), (2, 1.0), (3, 0.5)], about='loss of "a" & <b>'),
    "point": lambda: curve([(1, 2.0)], about="one step"),
    "histograms": lambda: histograms({"<i>": histogram([0.1, 0.2], low=0, high=1)}, about="scores"),
    "shares": lambda: shares({"<i>": [(0.5, 1.0), (1.0, 0.0)]}, xlabel="ratio", about="shares"),
    "intervals": lambda: intervals(BARS, xlabel="difference", about="differences"),
}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_the_same_bytes_each_time(figure):
    assert figure() == figure()


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_figure_stands_alone_in_html(figure):
    text = str(figure())
    assert re.fullmatch(r"<svg [^>]*>.*</svg>", text, flags=re.DOTALL)
    assert not re.search(r'\bid="|href|url\(|<style|http|#0c0de', text)
    assert 'role="img"' in text
    assert "var(--" in text


def test_texts_are_escaped_and_not_read_as_formulas():
    assert "&lt;b&gt;$x$&lt;/b&gt;" in FIGURES["intervals"]()
    assert 'aria-label="loss of &#34;a&#34; &amp; &lt;b&gt;"' in FIGURES["curve"]()


def test_small_values_keep_their_decimals():
    text = intervals([Bar("soup", 0.0003, 0.0, 0.001)], xlabel="difference", about="differences")
    assert re.search(r">0\.000[1-9]+<", text)
    assert not re.search(r'="[^"]*\d\.\d{3}', text)


def test_a_dot_is_open_where_the_interval_holds_zero():
    clear = intervals([BARS[0]], xlabel="x", about="x").count("--paper")
    both = intervals(BARS, xlabel="x", about="x").count("--paper")
    assert both == clear + 1
