"""`embedkit contamination` as a user calls it."""

import json
import re

import pytest
import typer

from embedkit.cli.contamination import contamination
from embedkit.core.dataset import Dataset
from embedkit.core.errors import EmbedkitError
from embedkit.core.pairs import read_pairs
from embedkit.core.scores import ModelScores, TaskScores, write_per_query, write_scores
from tests.evaluation.contamination.planted import QUERIES, TASK, text, write_beir, write_task, write_train

TOUCHED = ["q0", "q1", "q2", "q5", "q30"]


@pytest.fixture
def command(capsys):
    """Run the command; its error's lines, or none, and stdout."""

    def run(*words) -> tuple[list[str], str]:
        app = typer.Typer()
        app.command()(contamination)
        try:
            typer.main.get_command(app)([*map(str, words)], standalone_mode=False)
        except EmbedkitError as error:
            return list(error.problems), capsys.readouterr().out
        return [], capsys.readouterr().out

    return run


@pytest.fixture
def train(tmp_path):
    return write_train(tmp_path / "train")


def test_it_prints_what_it_finds(command, train, tmp_path):
    problems, out = command("--train", train, "--against", f"pages={write_task(tmp_path / 'task')}", "--examples")
    assert problems == []
    plain = re.sub(r" +", " ", out)
    for told in (
        "pages: 4 of 32 queries are among training queries (2 the same",
        "looked for: the same text; Jaccard similarity of runs of 3 words from 0.9",
        "8 training queries its queries 2 1 1 0 4 of 32 (12.5%)",
        "5 of 32 queries touched (15.6%): training has seen their text",
        "3 of 33 judged pairs are training pairs",
        "4 queries have a relevant document that is a training positive",
        "pages: training has seen 5 of 32 queries (15.6%); give its scores without them too",
        f"training p7: {QUERIES[2]}",
        f"evaluation q2: {QUERIES[2]}",
    ):
        assert told in plain


def test_folders_of_either_layout_say_the_same(command, train, tmp_path):
    beir, dataset = write_beir(tmp_path / "beir"), write_task(tmp_path / "task")
    problems, out = command("--train", train, "--against", f"a={beir}", "--against", f"b={dataset}", "--json")
    assert problems == []
    found = json.loads(out)
    a, b = found["tasks"]
    assert (a["name"], b["name"]) == ("a", "b")
    assert a["touched"] == b["touched"]
    assert found["warnings"][2] == (
        f"a: rows that are not compared: 1, e.g. {beir}/corpus.jsonl:62: text is empty; a document needs title or text"
    )
    assert a["touched_query_ids"] == TOUCHED


def test_json_and_file_say_the_same(command, train, tmp_path):
    task = write_task(tmp_path / "task")
    problems, out = command("--train", train, "--against", task, "--json", "--out", tmp_path / "out")
    assert problems == []
    assert json.loads(out) == json.loads((tmp_path / "out" / "contamination.json").read_text(encoding="utf-8"))
    assert json.loads(out)["tasks"][0]["name"] == "task"


def test_clean_pairs_and_scores_without_touched_queries(command, train, tmp_path):
    (tmp_path / "scores").mkdir()
    values = {f"q{i}": {"ndcg@10": float(f"q{i}" in TOUCHED)} for i in range(31)}
    write_scores(tmp_path / "scores", [ModelScores("m" * 64, {"task": TaskScores({"ndcg@10": 5 / 31}, 31)})])
    write_per_query(tmp_path / "scores", {("m" * 64, "task"): values})
    options = ["--remove-to", tmp_path / "clean", "--scores", tmp_path / "scores"]
    problems, out = command("--train", train, "--against", write_task(tmp_path / "task"), *options)
    assert problems == []
    assert "mmmmmmmmmmmm task ndcg@10 0.1613 0.0000 26 of 31" in re.sub(r" +", " ", out)
    assert "3 rows of pairs without them in" in out
    assert len(read_pairs(tmp_path / "clean").rows) == 3


def test_a_suite_is_all_its_tasks_and_a_mirror_has_the_official_ones(command, train, tmp_path):
    """A folder, a table, and mteb's own SciFact whose entry is made of the same documents: named as in scores."""
    from embedkit.evaluation.containment import contained
    from embedkit.evaluation.mirror.from_beir import mirror_from_beir

    kept = {q: docs for q, docs in TASK.qrels["test"].items() if q != "empty"}
    dataset = Dataset(TASK.corpus.take(range(61)), TASK.queries.take(range(31)), {"test": kept})
    write_beir(tmp_path / "pages", dataset)
    (tmp_path / "sts.csv").write_text(f"sentence1,sentence2,score\n{QUERIES[2]},{text(8)},3\n{text(8)},{text(8)},1\n")
    with contained():
        from embedkit.evaluation.official import check_opens, facts_of

        mirror_from_beir(
            tmp_path / "mirror", facts_of("SciFact"), dataset, splits={}, check=check_opens, place="planted"
        )
    (tmp_path / "suite.yaml").write_text(
        "name: mine\n"
        "tasks:\n"
        "  pages: {kind: retrieval, source: {kind: beir, path: pages}}\n"
        "  sts: {kind: sts, path: sts.csv}\n"
        "  SciFact: {kind: mteb, name: SciFact}\n"
    )
    suite = ["--suite", tmp_path / "suite.yaml", "--mirror", tmp_path / "mirror"]
    problems, out = command("--train", train, *suite, "--json")
    assert problems == []
    pages, sts, official = json.loads(out)["tasks"]
    assert [pages["name"], sts["name"], official["name"]] == ["pages", "sts", "SciFact"]
    assert pages["touched_query_ids"] == official["touched_query_ids"] == TOUCHED
    assert sts["touched_query_ids"] == ["0"]
    problems, out = command("--train", train, "--against", tmp_path / "mirror" / "SciFact", "--json")
    assert problems == []
    assert json.loads(out)["tasks"] == [official]
    problems, _ = command("--train", train, "--against", tmp_path / "mirror")
    assert "is a mirror; name one of its tasks, e.g." in problems[0]


def test_mistakes_are_told_in_a_line(command, train, tmp_path):
    task = write_task(tmp_path / "task")
    (tmp_path / "file").touch()
    for words, message in (
        ((), "needs --train PAIRS, and --suite SUITE or --against DIR"),
        (("--train", train), "needs --train PAIRS, and --suite SUITE or --against DIR"),
        (("--train", tmp_path, "--against", task), f"has no pairs.parquet; did you mean {task}?"),
        (
            ("--train", tmp_path / "no", "--against", task),
            "is no folder; training pairs are a folder with pairs.parquet",
        ),
        (("--train", train, "--against", tmp_path / "no"), "is no folder; it takes BEIR folders"),
        (
            ("--train", train, "--against", tmp_path),
            "has no corpus; it takes BEIR folders, datasets, and tasks of a mirror",
        ),
        (("--train", train, "--against", task, "--against", task), "two tasks are called 'task'"),
        (("--train", train, "--against", task, "--near", 1.5), "--near 1.5: expected a number above 0 and up to 1"),
        (("--train", train, "--against", task, "--near-by", "guess"), "--near-by guess: expected one of auto, exact"),
        (("--train", train, "--against", task, "--embed", tmp_path), "--embed and --similarity go together"),
        (("--train", train, "--against", task, "--embed", tmp_path, "--similarity", 0.9), "it has no modules.json"),
        (("--train", train, "--suite", "nowhere"), "no suite is named 'nowhere'"),
        (("--train", train, "--against", task, "--remove-to", tmp_path), "is there already"),
        (("--train", train, "--against", task, "--out", tmp_path / "file"), "is a file; name a folder"),
        (("--train", train, "--against", task, "--scores", tmp_path), "cannot be read"),
    ):
        problems, out = command(*words)
        assert len(problems) == 1, words
        assert message in problems[0]
        assert out == ""
