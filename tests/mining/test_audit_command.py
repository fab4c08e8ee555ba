"""`embedkit audit` as a user calls it."""

import json
import re

import pytest

from embedkit.cli.main import main
from embedkit.core.dataset import Dataset, write_dataset
from embedkit.core.records import Corpus, Queries, read_corpus, write_corpus
from tests.mining.mined_sets import random_set, texts, write_manifest
from tests.report.test_report import Page

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `embedkit`; its exit code, stdout and stderr."""

    def run(*words) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["embedkit", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def mined(tmp_path):
    random_set(tmp_path / "mined", 0)
    write_manifest(tmp_path / "mined")
    return tmp_path / "mined"


def beir(folder, queries: dict[str, str], documents: dict[str, str], split: str) -> None:
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("queries", queries), ("corpus", documents)):
        lines = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in rows.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    judged = "".join(f"{q}\t{d}\t1\n" for q, d in zip(queries, documents, strict=False))
    (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")


def test_it_prints_what_it_finds(command, mined):
    code, out, err = command("audit", mined, "--examples", 2)
    assert (code, err) == (0, "")
    for told in (
        "40 queries over 60 documents",
        "percent_of_positive 0.95 0 0.0%",
        "of hidden positives",
        "most often a negative",
        "Gini",
        "known positives, hidden one at a time",
        "warnings",
        "negative d",
    ):
        assert told in re.sub(r" +", " ", out)
    assert out.count("\nquery     q") == 2


def test_json_and_files_say_the_same(command, mined, tmp_path):
    code, out, _ = command("audit", mined, "--json", "--out", tmp_path / "out")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "out" / "audit.json").read_text())
    assert len(json.loads(out)["examples"]) == 20
    page = (tmp_path / "out" / "audit.html").read_text()
    assert not re.search(r"https?:|@import|url\(", page)
    assert "script" not in {tag for tag, _ in Page(page).tags}
    command("audit", mined, "--out", tmp_path / "again")
    assert (tmp_path / "again" / "audit.html").read_text() == page


def test_texts_and_names_are_escaped(command, mined, tmp_path):
    corpus = read_corpus(mined)
    write_corpus(mined, Corpus(corpus.ids, corpus.titles, [f"{EVIL} [bold]{text}" for text in corpus.texts]))
    beir(tmp_path / EVIL.replace("/", ""), {"q": EVIL}, {"d": f"{EVIL} [bold]{corpus.texts[0]}"}, "test")
    code, out, _ = command(
        "audit", mined, "--out", tmp_path / "out", "--examples", 3, "--against", tmp_path / EVIL.replace("/", "")
    )
    page = (tmp_path / "out" / "audit.html").read_text()
    assert code == 0
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 3
    assert f"{EVIL} [bold]doc" in out


def test_evaluation_sets_are_beir_folders_and_datasets(command, mined, tmp_path):
    queries, documents = texts(40, "query"), texts(60, "doc")
    beir(tmp_path / "beir", {"a": queries[3].upper(), "b": "another one"}, {"x": documents[5], "y": "unlike"}, "test")
    qrels = {"test": {"t0": {"x": 1}}, "train": {"t1": {"y": 1}}}
    corpus = Corpus(["x", "y"], ["", ""], ["something", documents[1]])
    (tmp_path / "dataset").mkdir()
    write_dataset(tmp_path / "dataset", Dataset(corpus, Queries(["t0", "t1"], [queries[4], queries[5]]), qrels))
    code, out, _ = command("audit", mined, "--json", "--against", tmp_path / "beir", "--against", tmp_path / "dataset")
    assert code == 0
    first, second = json.loads(out)["overlap"]
    assert [first["name"], second["name"]] == [str(tmp_path / "beir"), str(tmp_path / "dataset")]
    assert first["found"][0]["examples"][0]["id"] == "q3"
    assert second["sizes"] == {"queries": 1, "documents": 1}  # train is not held out
    assert [e["id"] for e in second["found"][0]["examples"]] == ["q4"]


def test_a_sample_is_written_judged_and_read(command, mined, tmp_path):
    code, out, _ = command("audit", mined, "--sample", 10, "--to", tmp_path / "s.tsv")
    assert code == 0
    assert "wrote 10 negatives" in out
    judged = re.sub(r"^(\w+\tdd?\d+\t)", r"\g<1>0", (tmp_path / "s.tsv").read_text(), flags=re.MULTILINE)
    (tmp_path / "j.tsv").write_text(judged)
    code, out, _ = command("audit", mined, "--judgements", tmp_path / "j.tsv", "--out", tmp_path / "out")
    assert code == 0
    assert "0.0% (0.0% to 30.8%) of the negatives are false, by 10 judgements" in out
    assert "Judged sample" in (tmp_path / "out" / "audit.html").read_text()


def test_without_candidates_it_says_what_it_cannot_tell(command, mined):
    (mined / "candidates.parquet").unlink()
    code, out, _ = command("audit", mined)
    assert code == 0
    assert "what filters dropped: there is no candidates.parquet" in out
    assert "dropped by" not in out


def test_mistakes_are_one_line_and_code_2(command, mined, tmp_path):
    for words, message in (
        (
            (tmp_path / "no",),
            "is no folder; a mined set is a folder with pairs.parquet, corpus.parquet, queries.parquet",
        ),
        ((tmp_path,), f"has no pairs.parquet; did you mean {mined}?"),
        ((mined, "--against", tmp_path / "no"), "is no folder; --against takes BEIR folders and datasets"),
        ((mined, "--against", tmp_path), "corpus.jsonl: no such file"),
        ((mined, "--sample", 5), "--sample and --to go together"),
        ((mined, "--judgements", tmp_path / "no.tsv"), "no.tsv: cannot be read (No such file or directory)"),
        ((mined, "--out", mined / "audit"), "which must stay as it was made"),
        ((mined, "--sample", 5, "--to", mined / "s.tsv"), "which must stay as it was made"),
        ((mined, "--sample", 5, "--to", tmp_path / "s.tsv", "--json"), "--json: does not go with --sample"),
        ((mined, "--sample", 5, "--to", tmp_path / "s.tsv", "--against", tmp_path), "--against: does not go with"),
    ):
        code, out, err = command("audit", *words)
        assert (code, out) == (2, "")
        assert message in err
        assert err.startswith("error: ")
        assert "Traceback" not in err
