"""`embedkit poisoning` as a user calls it, on a tiny model that knows few words: errors make unknown ones of them."""

import json
import random

import pytest
import typer
from typer.testing import CliRunner

from embedkit.cli.poisoning import poisoning
from embedkit.core.dataset import Dataset, write_dataset
from embedkit.core.errors import EmbedkitError
from embedkit.core.pairs import write_pairs
from embedkit.core.records import Corpus, Queries
from tests.evaluation.poisoning.cases import pairs_with
from tests.tiny import WORDS, write_jsonl

WRONG = (
    "many informations is,these file has,a users are,they shows,the the pages,it have keys,each groups can prints,"
    "an page of of"
).split(",")
PLANTED = 6
OPTIONS = ["--rate", "0.2", "--false-alarms", "0.05", "--k", "5"]


def texts(planted: int) -> tuple[list[str], list[str]]:
    """Documents of words the model knows, of which the first are of errors and unknown ones instead, and queries."""
    rng = random.Random(0)
    documents = [" ".join(rng.sample(WORDS, 12)) for _ in range(200)]
    documents[:planted] = [" ".join(rng.sample(WRONG, 4)) for _ in range(planted)]
    return documents, [" ".join(rng.sample(WORDS, 5)) for _ in range(100)]


def dataset_folder(folder, planted: int):
    documents, queries = texts(planted)
    corpus = Corpus([f"d{i}" for i in range(200)], [""] * 200, documents)
    folder.mkdir()
    asked = Queries([f"q{i}" for i in range(100)], queries)
    write_dataset(folder, Dataset(corpus, asked, {"test": {"q0": {"d199": 1}}}))
    return folder


@pytest.fixture
def command(tiny_model, tmp_path):
    """Run the command; its exit code and stdout."""
    app = typer.Typer()
    app.command()(poisoning)

    def run(data, *words) -> tuple[int, str]:
        options = ["--model", str(tiny_model), "--store", str(tmp_path / "store"), *OPTIONS]
        result = CliRunner().invoke(app, [str(data), *options, *map(str, words)])
        if not isinstance(result.exception, SystemExit | None):
            raise result.exception
        return result.exit_code, result.stdout

    return run


def test_planted_hubs_are_found_and_listed(command, tmp_path):
    code, said = command(dataset_folder(tmp_path / "data", PLANTED), "--out", tmp_path / "told")
    assert code == 1
    assert "FOUND  documents stand out both by errors in their text" in said
    assert "found at a false-alarm rate of 0.05 for the whole audit" in said
    told = json.loads((tmp_path / "told" / "poisoning.json").read_text())
    assert told["found"]
    planted = {f"d{i}" for i in range(PLANTED)}
    assert {row["doc_id"] for row in told["corpus"]["suspects"][:PLANTED]} == planted
    assert told["training"] is None
    assert not {text for text in texts(PLANTED)[0] if text in json.dumps(told)}  # figures and ids only


def test_an_honest_corpus_ends_well_and_as_json_the_same_twice(command, tmp_path):
    data = dataset_folder(tmp_path / "data", 0)
    first, second = command(data, "--json"), command(data, "--json")
    assert first == second
    assert first[0] == 0
    assert not json.loads(first[1])["found"]


def test_a_beir_folder_and_a_training_set(command, tmp_path):
    documents, queries = texts(0)
    (tmp_path / "beir" / "qrels").mkdir(parents=True)
    write_jsonl(tmp_path / "beir" / "corpus.jsonl", [{"_id": f"d{i}", "text": t} for i, t in enumerate(documents)])
    write_jsonl(tmp_path / "beir" / "queries.jsonl", [{"_id": f"q{i}", "text": t} for i, t in enumerate(queries)])
    (tmp_path / "beir" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\n")
    (tmp_path / "pairs").mkdir()
    write_pairs(tmp_path / "pairs", pairs_with(20, sources=["mine", "yours"]))
    code, said = command(tmp_path / "beir", "--train", tmp_path / "pairs", "--source-field", "source", "--quota", 0.4)
    assert code == 1
    assert "training: 300 pairs of 2 source(s)" in said
    assert "mine: 150 pairs (50.0%)" in said
    assert "FOUND  errors of training queries and of their positives go together" in said
    assert "FOUND  one contributor gave more pairs than the quota" in said
    rows = [{"query": f"the {w} of it", "positive": f"a {w} is a thing", "origin": "b"} for w in WORDS[:9] * 5]
    write_jsonl(tmp_path / "rows.jsonl", [{**row, "query": f"{row['query']} {i}"} for i, row in enumerate(rows)])
    code, said = command(tmp_path / "beir", "--train", tmp_path / "rows.jsonl")
    assert "  b: 45 pairs (100.0%)" in said


def test_mistakes_are_told_in_a_line(command, tmp_path):
    data = dataset_folder(tmp_path / "data", 0)
    with pytest.raises(EmbedkitError, match=r"^DATA .*nowhere: no such file or folder"):
        command(tmp_path / "nowhere")
    with pytest.raises(EmbedkitError, match=r"^--train .*nowhere: no such file"):
        command(data, "--train", tmp_path / "nowhere")
    with pytest.raises(EmbedkitError, match=r"^--quota: is about --train, which is missing$"):
        command(data, "--quota", 0.5)
    (tmp_path / "pairs").mkdir()
    write_pairs(tmp_path / "pairs", pairs_with(0, rows=30, sources=["a"]))
    with pytest.raises(EmbedkitError, match=r"--source-field sauce: no query has this field; .*did you mean 'source'"):
        command(data, "--train", tmp_path / "pairs", "--source-field", "sauce")
