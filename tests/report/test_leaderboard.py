"""The leaderboard's page."""

import base64
import hashlib
import re
from dataclasses import replace

import pytest

from embedkit.core.scores import TaskScores
from embedkit.report.comparison import Bootstrap
from embedkit.report.leaderboard import render_leaderboard
from embedkit.report.standings import standings
from tests.report.entries import entry
from tests.report.test_report import Page

HOW = Bootstrap(samples=300)
NASTY = "<script>alert('x')</script>\" onload=\"y"


@pytest.fixture(scope="module")
def entries():
    facts = {"parameters": 22_713_216, "dimensions": 384, "max_tokens": 256}
    odd = entry("odd", 0.5, seed=3)
    return [
        entry("base", 0.5, seed=1, noise=2.0, **facts),
        entry("tuned", 0.6, seed=2, noise=1.0),
        replace(odd, tasks={**odd.tasks, "STSBenchmark": TaskScores({"cosine_spearman": 0.5}, 0, revision="b2")}),
    ]


def page(entries, **asked) -> str:
    return render_leaderboard(standings(entries, how=HOW, **asked))


def test_the_page_nests_and_names_nothing_outside(entries):
    text = page(entries, baseline="base")
    Page(text)  # checks that elements nest
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert not re.search(r"\b(src|href)=", text)


def test_only_the_pages_own_script_may_run(entries):
    text = page(entries)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in text or f"script-src 'sha256-{digest}'" in text
    assert "default-src" in text


def test_everything_a_file_said_is_escaped(entries):
    tasks = {f"SciFact {NASTY}": replace(entries[0].tasks["SciFact"], revision=NASTY, type=NASTY)}
    text = page([replace(entries[0], name=NASTY, revision=NASTY, tasks=tasks)], baseline=NASTY)
    assert NASTY not in text
    assert text.count("<script>") == 1
    assert 'onload="y' not in text


def test_every_number_of_the_table_can_be_sorted_by(entries):
    text = page(entries, baseline="base")
    body = re.search(r"<tbody>(.*?)</tbody>", text, re.DOTALL)[1]
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    heads = re.findall(r"<th scope=\"col\".*?</th>", re.search(r"<thead>(.*?)</thead>", text, re.DOTALL)[1], re.DOTALL)
    assert len(rows) == 3
    assert {len(re.findall(r'data-key="', row)) for row in rows} == {len(heads)}
    assert all("<button" in head for head in heads)
    best = standings(entries, how=HOW).lines[0]
    assert f'data-key="{best.by_task.value}"' in rows[0]


def test_what_is_missing_and_what_is_known_is_told(entries):
    text = page(entries)
    assert '<span class="missing">missing</span>' in page([entries[1], replace(entries[0], tasks={}), entries[2]])
    assert "22,713,216" in text
    assert "after Holm's correction for all" in text.replace("&#39;", "'")
    assert "cosine Spearman" in text


def test_the_same_standings_give_the_same_bytes(entries):
    assert page(entries, baseline="tuned") == page(entries, baseline="tuned")


def test_a_single_model_has_a_page(entries):
    text = page(entries[:1])
    assert "1 model, 2 tasks" in text
    assert "has the highest mean" not in text
