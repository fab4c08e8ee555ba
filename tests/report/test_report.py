"""The report stage, from artifacts to the page."""

import json
import re
from html.parser import HTMLParser

import pytest

from embedkit.core.errors import StageError
from embedkit.core.scores import read_per_query
from embedkit.core.spec import Reference, marked
from embedkit.core.stats import read_stats
from embedkit.measures.significance import paired_bootstrap
from embedkit.report.stage import Report
from tests.report.fake import MEANS, FakeRun, build_run, fill_scores, write_tiny_settings

REPORT = Report(
    scores="scores", baseline="base", candidate="soup", peers=("plain", "plain4"), title="A <b>title</b>", samples=300
)
VOID = {"meta", "br", "path", "rect", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Checks that elements nest, and keeps what tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def visible(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def make(stage: Report, run: FakeRun, folder):
    out = folder / "out"
    out.mkdir(parents=True)
    stage.run(run.artifacts, out, run.context(folder / "context"))
    return out


@pytest.fixture(scope="module")
def out(run, tmp_path_factory):
    return make(REPORT, run, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(out) -> Page:
    return Page((out / "index.html").read_text(encoding="utf-8"))


def test_nothing_is_loaded_and_nothing_runs(out, page):
    text = (out / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|url\(", text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert not [a for _, attrs in page.tags for a in attrs if a == "src" or a.startswith("on")]
    assert {attrs["href"][0] for _, attrs in page.tags if "href" in attrs} == {"#"}


def test_every_link_leads_somewhere_and_no_id_is_used_twice(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"][1:] for _, attrs in page.tags if "href" in attrs}
    targets |= {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs}
    assert targets <= set(ids)


def test_figures_and_scrolling_regions_have_a_text_and_header_cells_a_scope(page):
    assert all("aria-label" in attrs for tag, attrs in page.tags if tag == "svg" or attrs.get("role") == "region")
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_every_stage_and_every_key_is_there(run, page):
    text = page.visible()
    for name, artifact in run.artifacts.items():
        assert artifact.key in text
        if artifact.key in run.labels:
            assert re.search(rf"\b{name}\b", text)


def test_the_sections_of_all_kinds_of_stages_are_there(page):
    ids = {attrs["id"] for tag, attrs in page.tags if tag == "section"}
    assert ids == {
        "result", "scores", "stages", "training", "mining", "teaching", "soup", "data", "environment", "lineage",
    }  # fmt: skip
    text = page.visible()
    for told in (
        "percent of positive 18,822 15.9 %",
        "2 to 5 7,001 73.7 %",
        "over 1,000 392 4.1 %",
        "Of 340 known positives, hidden one at a time, 31.0% became negatives.",
        "The 10 documents (1 %) that serve most",
        "Trace a process strace Trace system calls. 0.710 ltrace Trace library calls. 0.640 3",
        "hidden positives",
        "soup is second alone: its search kept one member",
        "One member alone is the soup: second",
        "queries.jsonl:17 text is empty",
        "first (encoder) teacher 2 0.639",
        "evaluate_one × 8 1 min 16 s",
        "infonce, 4 directions: loss",
    ):
        assert told in text


def test_the_numbers_are_those_of_the_queries(run, out):
    facts = json.loads((out / "report.json").read_text(encoding="utf-8"))
    values = read_per_query(run.artifacts["scores"].path)
    lists = {
        (name, metric): [rows[q][metric] for q in sorted(rows)]
        for name in MEANS
        for rows in [values[run.artifacts[name].key, "tldr"]]
        for metric in ("ndcg@10", "mrr@10", "recall@100")
    }
    task = facts["tasks"]["tldr"]
    assert task["queries"] == 300
    for row in task["models"]:
        name = facts["names"][row["model"]]
        for metric, cell in row["metrics"].items():
            own, base = lists[name, metric], lists["base", metric]
            assert cell["value"] == pytest.approx(sum(own) / len(own))
            if name != "base":
                interval = paired_bootstrap(own, base, samples=300, confidence=0.95, seed=0)
                assert cell["against_baseline"]["interval"] == pytest.approx(vars(interval))
    means = {name: sum(lists[name, "ndcg@10"]) for name in ("plain", "plain4")}
    references = [facts["names"][headline["reference"]] for headline in task["headlines"]]
    assert references == ["base", max(means, key=means.__getitem__)]


def test_an_interval_is_marked_where_it_excludes_zero(out, page):
    facts = json.loads((out / "report.json").read_text(encoding="utf-8"))
    verdicts = [
        cell["against_baseline"]["verdict"]
        for row in facts["tasks"]["tldr"]["models"]
        for cell in row["metrics"].values()
        if cell["against_baseline"]
    ]
    text = page.visible()
    assert "higher" in verdicts
    assert (text.count("▲ +"), text.count("▼ −")) == (verdicts.count("higher"), verdicts.count("lower"))


def test_the_stage_says_the_headlines(out):
    first, second = read_stats(out)["summary"]
    assert first.startswith("tldr: soup against base: nDCG@10 ")
    assert second.startswith("tldr: soup against plain4: nDCG@10 ")


def test_the_same_run_gives_the_same_bytes(run, out, tmp_path):
    again = make(REPORT, run, tmp_path)
    for name in ("index.html", "report.json", "stats.json"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_report_json_knows_no_times_and_machines(out):
    text = (out / "report.json").read_text(encoding="utf-8")
    assert "41.237" not in text
    assert "A processor" not in text


def test_what_files_and_recipes_say_is_text(tmp_path, page):
    assert "A <b>title</b>" in page.visible()
    evil = "<script>alert(1)</script>"
    run = build_run(tmp_path / "store", task=evil)
    mined = run.artifacts["mined"]
    stats = {**read_stats(mined.path), "hubs": [{"doc_id": evil, "queries": 1}], "warnings": [evil], "summary": [evil]}
    told = {"hubs": [evil], "false_negatives": [evil]}
    example = dict.fromkeys(("query_text", "positive_text", "negative_text"), evil)
    stats |= {"told": told, "examples": [{**example, "score": None, "positive_score": None, "rank": None}]}
    (mined.path / "stats.json").write_text(json.dumps(stats))
    text = (make(REPORT, run, tmp_path / "report") / "index.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 10


def test_a_run_of_few_stages_has_few_sections_and_dashes(tmp_path):
    run = build_run(tmp_path / "whole")
    few = FakeRun(run.store)
    for name in ("base", "other"):
        few.add(name, "pretrained", "model", spec={"name": name}, made={}, fill=write_tiny_settings)
    values = read_per_query(run.artifacts["scores"].path)
    base, other = (few.artifacts[name].key for name in ("base", "other"))
    rows = {(base, "t"): values[run.artifacts["base"].key, "tldr"]}
    rows[other, "t"] = values[run.artifacts["soup"].key, "tldr"]
    inputs = {"models.0": "base", "models.1": "other"}
    few.add("scores", "evaluate", "scores", inputs=inputs, made={}, fill=lambda draft: fill_scores(draft, rows))
    out = make(Report(scores="scores", baseline="base", candidate="other", samples=50), few, tmp_path / "few")
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    assert {attrs["id"] for tag, attrs in page.tags if tag == "section"} == {"result", "scores", "stages", "lineage"}
    assert "base pretrained – –" in page.visible()


def test_a_candidate_without_scores_is_an_error(run, tmp_path):
    stage = Report(scores="scores", baseline="base", candidate="tldr")
    with pytest.raises(StageError, match="candidate: 'tldr' was not evaluated"):
        make(stage, run, tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_one_model_against_itself_and_one_peer(tmp_path):
    run = build_run(tmp_path / "store", means={"base": 0.5})
    out = make(Report(scores="scores", baseline="base", candidate="base", peers=("base",), samples=50), run, tmp_path)
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    assert "these queries do not tell base and base apart" in page.visible()
    assert "Intervals on tldr" not in {attrs.get("aria-label") for _, attrs in page.tags}


def test_a_training_without_history_has_no_curve(tmp_path):
    run = build_run(tmp_path / "store")
    for name in ("warm", "first"):
        path = run.artifacts[name].path / "stats.json"
        path.write_text(json.dumps({"summary": [], "history": [] if name == "warm" else [{"step": 1, "loss": 2.5}]}))
    page = Page((make(REPORT, run, tmp_path) / "index.html").read_text(encoding="utf-8"))
    labels = " ".join(attrs["aria-label"] for _, attrs in page.tags if "aria-label" in attrs)
    assert "Training loss of first: loss 2.500 at step 1" in labels
    assert "Training loss of warm" not in labels


def test_the_estimate_is_seconds_whatever_the_models():
    assert 0 < REPORT.estimate({}).overhead < 60


def test_all_references_of_the_spec_are_found():
    found = {".".join(map(str, where)): name for where, name, _ in marked(REPORT, Reference)}
    assert found == {
        "scores": "scores", "baseline": "base", "candidate": "soup", "peers.0": "plain", "peers.1": "plain4",
    }  # fmt: skip
