import json

import numpy as np
import pytest

from embedkit.core.separation import write_separation
from embedkit.core.store import Store
from embedkit.evaluation.separation import Options, geometry, separation
from embedkit.report.lineage import walk
from embedkit.report.sections import separation as section
from embedkit.report.separation import render_separation
from tests.measures.scored import draw
from tests.report.fake import FakeRun

HOW = Options(samples=50)


@pytest.fixture(scope="module")
def figures():
    return {
        name: separation(*draw(40, 20, gap=gap, shift=0.5), options=HOW)
        for name, gap in (("base", 1.0), ("soup", 2.0), ("<b>plain", 1.5))
    }


def test_the_page_shows_every_model_and_escapes_what_it_is_given(figures):
    rng = np.random.default_rng(0)
    lie = geometry(rng.normal(size=(9, 5)), rng.normal(size=(9, 5)), rng.normal(size=(20, 5)))
    found = [{"model": name, "task": "tldr & co", **one} for name, one in figures.items()]
    found[0]["geometry"] = lie
    page = render_separation(found)
    assert page == render_separation(json.loads(json.dumps(found)))
    assert "&lt;b&gt;plain" in page
    assert "<b>plain" not in page
    assert "tldr &amp; co" in page
    for name in ("base", "soup"):
        assert f"{figures[name]['auc']['pooled']['value']:.4f}" in page
    assert "cannot be reached" in page
    assert f"{lie['alignment']:.3f}" in page
    assert f"−{-lie['uniformity']['documents']:.3f}" in page
    for loaded in ("<script", "src=", 'href="http', "@import"):
        assert loaded not in page


def test_the_section_draws_the_best_and_the_worst(figures):
    shown = section.separated([(name, "tldr", one) for name, one in figures.items()])
    assert [one.model for one in shown[0].scores] == ["soup", "base"]
    assert [model for model, *_ in shown[0].rows] == ["base", "soup", "<b>plain"]
    assert shown[0].wanted == 0.9
    assert "soup" in shown[0].roc
    assert "plain" not in shown[0].roc


def test_a_model_that_cannot_be_calibrated_is_shown_too():
    found = separation([0, 0, 0], [0.9, 0.5, 0.4], [1, 0, 0], options=HOW)
    page = render_separation([{"model": "base", "task": "tldr", **found}])
    assert "too few queries for any to be calibrated by the others" in page


def test_the_report_finds_the_figures_of_its_results(figures, tmp_path):
    run = FakeRun(Store(tmp_path))
    for name in ("soup", "base"):
        run.add(name, "pretrained", "model")
        fill = {"fill": lambda draft, name=name: write_separation(draft, {"": figures[name], "en": figures[name]})}
        run.add(f"scores/{name}/tldr", "evaluate_one", "task_scores", named=False, spec={"m": name}, **fill)
    run.add("none", "evaluate_one", "task_scores", named=False)
    parts = {f"parts.{name}/tldr": f"scores/{name}/tldr" for name in ("base", "soup")} | {
        "models.0": "soup",
        "models.1": "base",
        "parts.soup/sts": "none",
    }
    key = run.add("scores", "evaluate", "scores", inputs=parts).key
    shown = section.section(walk([key], run.store.get, run.labels))
    assert [(one.task, [model for model, *_ in one.rows]) for one in shown] == [
        ("tldr", ["soup", "base"]),
        ("tldr:en", ["soup", "base"]),
    ]
    assert section.section(walk([run.artifacts["none"].key], run.store.get, run.labels)) is None
