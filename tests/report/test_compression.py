"""Compressed vectors in the report, and on a page of their own."""

import json
import re

import numpy as np
import pytest

from embedkit.core.stats import write_stats
from embedkit.report.compression import render_compression
from embedkit.report.lineage import walk
from embedkit.report.plots import Spot, pareto
from embedkit.report.sections.compression import SPEED, compressed, section
from embedkit.report.stage import Report
from tests.report.fake import build_run

NAMES = {"float32": 1536, "int8": 384, "<b>binary</b>": 48, "truncate 64": 256}
STATS = {
    "summary": ["full vectors: ndcg@10 0.6451, 1,536 bytes each"],
    "counts": {"queries": 300, "documents": 5183, "dimensions": 384},
    "warnings": ["overlap@9000 is left out"],
    "split": "test",
    "depth": 100,
    "metrics": ["ndcg@10"],
    "confidence": 0.95,
    "variants": [
        {
            "name": name,
            "bytes": {"document": size, "searched": size, "corpus": 5183 * size},
            "metrics": {
                "ndcg@10": {
                    "mean": 0.6451 - 0.02 * i,
                    "difference": -0.02 * i,
                    "low": -0.05 * i,
                    "high": 0.01 * i,
                    "p": 1,
                },
                "overlap@10": {"mean": 1 - 0.1 * i},
            },
            "front": name != "truncate 64",
        }
        for i, (name, size) in enumerate(NAMES.items())
    ],
}
SPEEDS = {
    "queries": 300,
    "documents": 5183,
    "top_k": 100,
    "rounds": 5,
    "threads": [1, 2],
    "seconds_per_1000_queries": {
        name: {count: {"median": 0.25 + i, "least": 0.2, "most": 9.0} for count in ("1", "2")}
        for i, name in enumerate(NAMES)
    },
}


def test_a_page_shows_all_variants():
    page = render_compression("scifact", STATS, SPEEDS)
    assert page == render_compression("scifact", STATS, SPEEDS)
    rows = re.findall(r'<tr><td class="n">(\d)</td><th scope="row">(.*?)</th>(.*?)</tr>', page)
    assert [(number, name) for number, name, _ in rows] == [
        ("0", "float32"), ("1", "int8"), ("2", "&lt;b&gt;binary&lt;/b&gt;"), ("3", "truncate 64"),
    ]  # fmt: skip
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", rest) for *_, rest in rows]
    assert cells[1] == ["384", "384", "4", "0.6251", "−0.020", "−0.050", "+0.010", "0.900", "1.250", "1.250", "yes"]
    assert cells[0][4:7] == ["", "", ""]
    assert cells[3][-1] == ""
    assert "5,183 documents, 384 dimensions, ranked 100 deep" in page
    assert "with 1 and 2 threads" in page
    assert "overlap@9000 is left out" in page
    assert "<b>" not in page


def test_without_times_there_are_no_columns_for_them():
    found = compressed("here", STATS, {}, [])
    assert (found.threads, found.timed) == ([], "")
    assert "1,000 queries" not in render_compression("here", STATS, {})


def fill(draft):
    write_stats(draft, STATS)
    (draft / SPEED).write_text(json.dumps(SPEEDS))


def test_a_stage_is_found_in_the_lineage(tmp_path):
    run = build_run(tmp_path)
    assert section(walk([run.artifacts["scores"].key], run.store.get, run.labels)) is None
    artifact = run.add("small", "compress", "compression", inputs={"model": "soup", "data": "tldr"}, fill=fill)
    found = section(walk([artifact.key, run.artifacts["scores"].key], run.store.get, run.labels))
    assert [(one.name, one.variants[1].seconds) for one in found] == [("small", [1.25, 1.25])]


def test_a_report_shows_the_compressions_it_names(tmp_path):
    run = build_run(tmp_path / "store")
    run.add("small", "compress", "compression", inputs={"model": "soup", "data": "tldr"}, fill=fill)
    named = Report(scores="scores", baseline="base", candidate="soup", compressions=("small",), samples=50)
    for stage, there in ((named, True), (named.model_copy(update={"compressions": ()}), False)):
        out = tmp_path / str(there)
        out.mkdir()
        stage.run(run.artifacts, out, run.context(tmp_path / "work"))
        assert ('<section id="compression"' in (out / "index.html").read_text()) == there


@pytest.mark.parametrize("count", [1, 12])
def test_the_plot_names_the_front_and_numbers_the_rest(count):
    rng = np.random.default_rng(0)
    spots = [
        Spot(f"<i>{i}</i> $x$", 2.0 ** (4 + i % 8), float(v), float(v) - 0.1, float(v) + 0.1, front=i < 2)
        for i, v in enumerate(rng.random(count))
    ]
    text = str(pareto(spots, reference=0.5, xlabel="bytes", ylabel="score", about="sizes"))
    shown = re.findall(r">([^<>]+)</text>", text)
    assert [name for name in shown if name.startswith("&lt;")] == [
        f"&lt;i&gt;{i}&lt;/i&gt; $x$" for i in range(min(count, 2))
    ]
    assert set(map(str, range(2, count))) <= set(shown)
    assert text == str(pareto(spots, reference=0.5, xlabel="bytes", ylabel="score", about="sizes"))
    assert not re.search(r'\bid="|href|url\(|<style|http|#0c0de', text)
