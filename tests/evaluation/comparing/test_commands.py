"""`embedkit compare` and `embedkit score` as a user calls them."""

import json
import re

import pytest

from embedkit.cli.main import main
from embedkit.evaluation.trec import write_qrels, write_run
from tests.evaluation.comparing import folders
from tests.evaluation.comparing.folders import KEYS, queries, ranking, similarity, system, three, write_folder
from tests.report.test_report import Page

EVIL = "<script>alert(1)</script> [bold]"
FEW = ("--samples", 300)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run `embedkit` in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["embedkit", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def run(tmp_path):
    return folders.write_run(tmp_path / "run", three(), {"SciFact": {"q1": EVIL}})


@pytest.fixture
def trec(tmp_path):
    """Two run files and a BEIR folder of what they are scored on."""
    relevant = {f"q{i}": {f"d{i}": 1} for i in range(30)}
    good = {q: dict.fromkeys(docs, 1.0) | {"x": 0.5} for q, docs in relevant.items()}
    poor = {q: dict.fromkeys(docs, 1.0) | {"x": 2.0, "y": 1.5} for q, docs in relevant.items()}
    for name, found in (("good", good), ("poor", poor)):
        write_run(tmp_path / f"{name}.run", found, tag=name)
    (tmp_path / "Set" / "qrels").mkdir(parents=True)
    rows = "".join(f"{q}\t{d}\t1\n" for q, docs in relevant.items() for d in docs)
    (tmp_path / "Set" / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    texts = [json.dumps({"_id": q, "text": f"text of {q}"}) for q in relevant]
    (tmp_path / "Set" / "queries.jsonl").write_text("\n".join(texts))
    write_qrels(tmp_path / "set.qrels", relevant)
    return tmp_path


def test_it_prints_tables_notes_and_how_they_were_made(command, run):
    code, out, err = command("compare", "run", *FEW)
    assert (code, err) == (0, "")
    text = re.sub(r" +", " ", out)
    for told in (
        "better against base",
        "worse against base",
        "SciFact nDCG@10 60",
        "95 % interval",
        "better\n",
        "corrected by Holm for the number of tests. 300 samples, seed 0",
    ):
        assert told in text
    assert "queries that fell" not in out
    assert "of other tasks" not in out


def test_changed_queries_are_shown_with_their_texts(command, run):
    _, out, _ = command("compare", "run:base", "run:worse", "--changed", 60, *FEW)
    assert "queries that fell furthest" in out
    assert EVIL in out


def test_json_and_files_say_the_same_and_have_no_texts(command, run, tmp_path):
    code, out, _ = command("compare", "run", "--json", "--out", "out", *FEW)
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "out" / "compare.json").read_text())
    assert "alert" not in out
    assert len(json.loads(out)["candidates"][1]["changed"]["fell"]) == 20
    command("compare", "run", "--json", "--out", "again", *FEW)
    for name in ("compare.json", "compare.html"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_the_page_loads_nothing_and_escapes_what_it_shows(command, run, tmp_path):
    rule = "main < base - 0.005 at 95%"
    code, _, _ = command("compare", "run", "--out", "out", "--changed", 60, "--fail-if", rule, *FEW)
    assert code == 3
    page = (tmp_path / "out" / "compare.html").read_text()
    assert not re.search(r"https?:|@import|url\(", page)
    found = Page(page)
    assert "script" not in {tag for tag, _ in found.tags}
    assert sum(tag == "svg" for tag, _ in found.tags) == 2
    text = " ".join(found.text)
    assert EVIL in text
    assert "Gate failed" in text
    assert "Gate passed" in text
    assert rule in text


def test_a_gate_has_an_exit_code_of_its_own_and_says_why(command, run):
    code, out, _ = command("compare", "run", "--fail-if", "ndcg@10 < base - 0.005 at 95%", *FEW)
    assert code == 3
    assert "gate FAILED: --fail-if 'ndcg@10 < base - 0.005 at 95%': worse differs by −0.0" in out
    assert re.search(r"with 95 % confidence by at most −0\.\d{4}, which is below −0\.0050", out)
    assert "gate passed: --fail-if 'ndcg@10 < base - 0.005 at 95%': better differs by +0.0" in out
    code, out, _ = command(
        "compare", "run:base", "run:better", "--fail-unless", "ndcg@10 > base - 0.005 at 95%", "--fail-if",
        "mrr@10 < base at 95% on SciFact", *FEW,
    )  # fmt: skip
    assert code == 0
    assert out.count("gate passed") == 2


def test_a_gate_also_stops_where_json_is_printed(command, run):
    code, out, _ = command("compare", "run", "--json", "--fail-if", "main < base at 95%", *FEW)
    assert code == 3
    assert [gate["failed"] for gate in json.loads(out)["gates"]] == [False, True]


def test_another_baseline(command, run):
    _, out, _ = command("compare", "run", "--baseline", "worse", "--json", *FEW)
    found = json.loads(out)
    assert (found["baseline"], [c["name"] for c in found["candidates"]]) == ("worse", ["base", "better"])


def test_two_names_of_one_model_are_told(command, tmp_path):
    run = folders.write_run(tmp_path / "run", three()[:1])
    told = json.loads((run / "provenance.json").read_text())
    told["stages"]["scores"]["inputs"]["twin"] = KEYS["base"]
    (run / "provenance.json").write_text(json.dumps(told))
    code, _, err = command("compare", "run", *FEW)
    assert (code, err) == (
        2,
        "error: base and twin are the same model, with the same weights; a comparison needs another system\n",
    )
    folders.write_run(tmp_path / "other", three()[1:2])
    code, out, _ = command("compare", "run", "other", "--baseline", "twin", *FEW)
    assert code == 0
    assert "better against base" in out
    assert "base and twin are the same model, with the same weights; compared as base" in " ".join(out.split())


@pytest.mark.parametrize("words", [("score", "good.run"), ("compare", "good.run", "poor.run")])
def test_relevance_that_would_take_all_memory_is_refused(command, trec, words):
    (trec / "huge.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t3000000000\n")
    code, out, err = command(*words, "--qrels", "huge.tsv")
    assert (code, out) == (2, "")
    assert err == "error: huge.tsv:2: relevance is '3000000000'; expected -10,000 to 10,000\n"


def test_several_tasks_get_a_mean_over_them(command, tmp_path):
    sides = [
        system(name, SciFact=ranking(queries()), STS=similarity(noise))
        for name, noise in (("base", 1.0), ("better", 0.3))
    ]
    write_folder(tmp_path / "scores", sides)
    code, out, _ = command("compare", "scores", "--out", "out", *FEW)
    assert code == 0
    assert "mean over tasks" in out
    assert "of other tasks it says nothing" in out
    page = (tmp_path / "out" / "compare.html").read_text()
    assert page.count("mean over tasks") >= 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run:base"], "only base was named; a comparison needs another system"),
        (["run", "--baseline", "bse"], "--baseline 'bse': is none of base, better, worse; did you mean 'base'?"),
        (["run", "--metric", "ndgc@10"], "did you mean 'ndcg@10'?"),
        (["run", "--tasks", "scifact"], "task 'scifact' is unknown; did you mean 'SciFact'?"),
        (["run", "--fail-if", "ndcg@10 < 0.6 at 95%"], "compares with '0.6'; expected base"),
        (["run", "--fail-if", "ndcg@100 < base at 95%"], "metric 'ndcg@100': base and better lack it"),
        (["run", "good.run"], "a TREC run needs judgements; name them with --qrels FILE"),
        (["run", "--qrels", "set.qrels"], "none of the systems is a file"),
        (["run", "good.run", "--qrels", "set.qrels"], "good and base have no task in common: set against SciFact"),
        (["run", "--out", "made"], "is an artifact, which must stay as it was made"),
        (["good.run", "poor.run", "--qrels", "set.qrels", "--metric", "ndcg_at_10"], "did you mean 'ndcg@10'?"),
    ],
)
def test_mistakes_are_told_in_one_line(command, run, trec, words, message):
    (trec / "made").mkdir()
    (trec / "made" / "manifest.json").write_text("{}")
    code, out, err = command("compare", *words, *FEW)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


def test_runs_made_elsewhere_are_compared(command, trec):
    code, out, _ = command("compare", "poor.run", "good.run", "--data", "Set", "--changed", 2, *FEW)
    assert code == 0
    assert "good against poor" in out
    assert re.search(r"Set +nDCG@10 +30 +0\.5000 +1\.0000 +\+0\.500", out)
    assert "0.500 → 1.000  Set q0: text of q0" in out


def test_a_run_made_elsewhere_is_compared_with_a_model(command, trec):
    rows = {f"q{i}": {"ndcg@10": 0.4 + 0.01 * i} for i in range(30)}
    write_folder(trec / "scores", [system("base", Set=ranking(rows))])
    code, out, _ = command("compare", "scores", "good.run", "--qrels", "set.qrels", "--task", "Set", *FEW)
    assert code == 0
    assert "good against a1a1a1a1a1a1" in out


def test_score_prints_and_writes_what_compare_takes(command, trec):
    code, out, _ = command("score", "good.run", "poor.run", "--qrels", "set.qrels", "--out", "scored")
    assert code == 0
    text = re.sub(r" +", " ", out)
    assert "run on set queries nDCG@10 MRR@10 Recall@100 MAP@100" in text
    assert "poor 30 0.5000 0.3333 1.0000 0.3333" in text
    code, out, _ = command("compare", "scored:poor", "scored:good", *FEW, "--json")
    assert code == 0
    assert json.loads(out)["candidates"][0]["overall"] is None
    assert json.loads(out)["candidates"][0]["tasks"][0]["difference"] == pytest.approx(0.5)


def test_score_tells_which_queries_count(command, trec):
    write_run(trec / "part.run", {"q0": {"d0": 1.0}, "stranger": {"d0": 1.0}}, tag="t")
    code, out, _ = command("score", "part.run", "--qrels", "set.qrels", "--metric", "recall@10", "--json")
    (found,) = json.loads(out)["runs"]
    assert code == 0
    assert found["metrics"]["recall@10"] == pytest.approx(1 / 30)
    assert found["notes"] == [
        "part.run: 29 of 30 judged queries are not in the run; they score 0",
        "part.run: 1 of 2 queries of the run are not judged; they are left out",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.run", "--qrels", "set.qrels"], "absent.run: no such file"),
        (
            ["strange.run", "--qrels", "set.qrels"],
            "none of its 1 queries is judged: the first is 'stranger', of the judgements",
        ),
        (["good.run", "--qrels", "set.qrels", "--metric", "ndgc@10"], "did you mean 'ndcg@10'?"),
        (["good.run", "good.run", "--qrels", "set.qrels"], "two runs are called 'good'"),
        (["good.run", "--qrels", "set.qrels", "--out", "Set"], "Set: is there already"),
    ],
)
def test_mistakes_in_scoring_are_told_in_one_line(command, trec, words, message):
    write_run(trec / "strange.run", {"stranger": {"d0": 1.0}}, tag="t")
    code, out, err = command("score", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_tasks_are_named_one_by_one_or_with_commas(command, tmp_path):
    sides = [system(name, **{f"T{i}": ranking(queries(seed=i)) for i in range(4)}) for name in ("base", "better")]
    write_folder(tmp_path / "scores", sides)
    _, out, _ = command("compare", "scores", "--tasks", "T0,T2", "--tasks", "T3", "--json", *FEW)
    assert [row["task"] for row in json.loads(out)["candidates"][0]["tasks"]] == ["T0", "T2", "T3"]


def test_a_suite_says_how_differences_are_tested(command, run, tmp_path):
    tasks = "tasks: {STS: {kind: mteb, name: STSBenchmark}}"
    how = "significance: {samples: 250, confidence: 0.9, seed: 4, correction: none}"
    (tmp_path / "mine.yaml").write_text(f"name: mine\n{tasks}\n{how}\n")
    _, out, _ = command("compare", "run", "--suite", "mine.yaml", "--json")
    found = json.loads(out)
    assert [found[name] for name in ("samples", "confidence", "seed", "correction")] == [250, 0.9, 4, "none"]
    _, out, _ = command("compare", "run", "--suite", "mine.yaml", "--json", "--seed", 5)
    assert [json.loads(out)[name] for name in ("samples", "seed")] == [250, 5]
