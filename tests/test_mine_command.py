"""The command `embedkit mine`: every form of input, every option, mistakes in one line, and the recipe it comes to."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from embedkit.cli.main import main
from embedkit.core.errors import RecipeError
from embedkit.core.pairs import read_pairs
from embedkit.core.store import Store
from embedkit.oneshot.inputs import model_source
from embedkit.pins import pin
from embedkit.plan import plan
from embedkit.recipe import load_recipe
from tests.slow import mostly
from tests.tiny import build_tiny_beir, write_jsonl


@pytest.fixture
def command(monkeypatch, capsys, tmp_path, tiny_model):
    """Runs `embedkit mine` in a folder of its own with the tiny model; exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object, model: object = tiny_model, out: object = "out") -> tuple[int, str, str]:
        named = [*(["--model", model] if model else []), *(["--out", out] if out else [])]
        monkeypatch.setattr(sys, "argv", ["embedkit", "mine", *map(str, (*words, *named))])
        with pytest.raises(SystemExit) as stopped:
            main()
        return (int(stopped.value.code or 0), *capsys.readouterr())

    return run


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def tables(tiny_beir):
    """Rows of the tiny BEIR folder: documents and queries with a field of their own, judgements of train."""
    corpus = [{**row, "url": f"u/{row['_id']}"} for row in lines_of(tiny_beir / "corpus.jsonl")]
    queries = [{**row, "lang": "en"} for row in lines_of(tiny_beir / "queries.jsonl")]
    judged = [line.split("\t") for line in (tiny_beir / "qrels" / "train.tsv").read_text().splitlines()[1:]]
    return corpus, queries, [{"query-id": q, "corpus-id": d, "score": int(s)} for q, d, s in judged]


def write_table(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        write_jsonl(path, rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return path


def beir_folder(folder, tables, suffix) -> list[str]:
    for name, rows in zip(("corpus", "queries", "qrels/train"), tables, strict=True):
        write_table(folder / f"{name}{suffix}", rows)
    return [str(folder)]


def separate_files(folder, tables, suffix) -> list[str]:
    words = []
    for name, rows in zip(("corpus", "queries", "qrels"), tables, strict=True):
        words += [f"--{name}", str(write_table(folder / f"my-{name}{suffix}", rows))]
    return words


def saved_datasets(folder, tables, _) -> list[str]:
    import datasets

    for name, rows in zip(("corpus", "queries", "default"), tables, strict=True):
        datasets.Dataset.from_list(rows).save_to_disk(folder / name)
    return [str(folder)]


FORMS = {
    **{f"beir{suffix}": (beir_folder, suffix) for suffix in (".jsonl", ".parquet", ".arrow")},
    **{f"files{suffix}": (separate_files, suffix) for suffix in (".jsonl", ".parquet", ".arrow")},
    "saved": (saved_datasets, ""),
}


@pytest.mark.parametrize("form", mostly(FORMS, slow={"beir.parquet", "beir.arrow", "files.jsonl", "files.arrow"}))
def test_every_form_of_corpus_and_queries_gives_the_same_pairs(command, tables, tmp_path, form):
    write, suffix = FORMS[form]
    code, out, err = command(*write(tmp_path / "in", tables, suffix), "--negatives", 2, "--filter", "none")
    assert code == 0, err
    assert f"pairs: {Path('out/mined')}" in out
    pairs = read_pairs(tmp_path / "out" / "mined")
    corpus, _, judged = tables
    assert list(pairs.corpus.ids) == [row["_id"] for row in corpus]
    assert {row.query_id: row.positives for row in pairs.rows} == {
        row["query-id"]: (row["corpus-id"],) for row in judged
    }
    for row in pairs.rows:
        assert len(set(row.negatives)) == 2
        assert not set(row.negatives) & set(row.positives)
    assert [json.loads(text) for text in pairs.corpus.metadata] == [{"url": row["url"]} for row in corpus]
    assert {json.loads(text)["lang"] for text in pairs.queries.metadata} == {"en"}


PAIRS = [
    {"qid": f"q{i}", "question": f"{a} {b}", "ids": [f"d{i}", f"e{i}"], "answers": [f"{a} {b} file", f"{b} {a} disk"]}
    for i, (a, b) in enumerate([("list", "copy"), ("move", "sort"), ("print", "read"), ("open", "close")])
]


TABLES = ["p.jsonl", "p.parquet", "p.arrow", "folder/train.jsonl", "folder/train.arrow"]


@pytest.mark.parametrize("name", mostly(TABLES, slow={"p.arrow", "p.parquet", "folder/train.jsonl"}))
def test_a_table_of_pairs_keeps_its_ids_and_several_positives(command, tmp_path, name):
    path = write_table(tmp_path / name, PAIRS)
    data = path.parent if path.parent != tmp_path else path
    columns = "query=question,positive=answers,query_id=qid,positive_id=ids"
    code, _, err = command(data, "--columns", columns, "--negatives", 2, "--filter", "none")
    assert code == 0, err
    rows = read_pairs(tmp_path / "out" / "mined").rows
    assert {row.query_id: set(row.positives) for row in rows} == {row["qid"]: set(row["ids"]) for row in PAIRS}
    assert all(len(row.negatives) == 2 for row in rows)


def test_ids_that_embedkit_makes_are_the_same_in_every_run(command, tmp_path):
    rows = [{"query": row["question"], "positive": row["answers"][0]} for row in PAIRS]
    found = []
    for i, some in enumerate((rows, rows[::-1])):
        write_jsonl(tmp_path / "pairs.jsonl", some)
        assert command("pairs.jsonl", "--filter", "none", out=f"out{i}")[0] == 0
        found.append({row.query_id: row.positives for row in read_pairs(tmp_path / f"out{i}" / "mined").rows})
    assert found[0] == found[1]


def test_the_same_command_has_nothing_left_to_do(command, tiny_beir):
    first = command(tiny_beir)
    code, out, err = command(tiny_beir)
    assert (first[0], code) == (0, 0)
    assert "nothing to do: every stage was already made" in out
    assert "72 queries over 60 documents" in out
    assert "kept  mined" in err


def test_stopped_the_same_command_goes_on(command, tiny_beir, monkeypatch):
    from embedkit.mining.stage import Mine

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Mine, "run", stop)
        code, _, err = command(tiny_beir)
    assert (code, err.splitlines()[-1]) == (130, "stopped; the same command goes on where it was")
    code, out, err = command(tiny_beir)
    assert code == 0
    assert "kept  data" in err
    assert "kept  model" in err
    assert "pairs: out/mined" in out


def keys(recipe, store) -> dict[str, str]:
    return {step.name: step.key for step in plan(recipe.stages, pin(recipe.stages, Store(store)))}


OPTIONS = (
    "--negatives 3 --top-k 20 --filter percent_of_positive=0.99,reference=max --filter rank_window:first=2,last=15 "
    "--sampling random --fill random --seed 5 --hybrid bm25 --signal words=bm25:b=0.5 --groups id='#' --split dev "
    "--max-length 16 --memory 300MB --keep-duplicates --on-bad-row drop --set mined.batch_tokens=999"
).replace("'", "")


def test_the_recipe_it_writes_is_the_recipe_it_ran(command, tiny_beir, tmp_path):
    words = [*OPTIONS.split(), "--query-prompt", "find: ", "--document-prompt", "page: "]
    code, out, err = command(tiny_beir, *words, "--recipe-out", "grown/mine.yaml")
    assert code == 0, err
    assert "recipe: grown/mine.yaml" in out
    assert "prompts, which the model remembers: query 'find: ', document 'page: '" in out
    recipe = load_recipe("grown/mine.yaml")
    ran = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert keys(recipe, tmp_path / ".embedkit") == {name: stage["key"] for name, stage in ran["stages"].items()}
    assert recipe.dump() == ran["recipe"]
    mined, data, model = (recipe.stages[name] for name in ("mined", "data", "model"))
    assert (mined.negatives, mined.top_k, mined.split, mined.batch_tokens) == (3, 20, "dev", 999)
    assert [f.kind for f in mined.filters] == ["percent_of_positive", "rank_window"]
    assert (mined.filters[0].reference, mined.filters[1].last) == ("max", 15)
    assert (mined.sampling.seed, mined.fill.seed, mined.groups.separator) == (5, 5, "#")
    assert (mined.signals["words"].b, mined.hybrid[0].kind, mined.memory) == (0.5, "bm25", 300_000_000)
    assert (data.exact_duplicates, data.near_duplicates, data.source.on_bad_row) == (False, None, "drop")
    assert (model.max_length, model.prompts.document) == (16, "page: ")
    config = json.loads((tmp_path / "out" / "model" / "config_sentence_transformers.json").read_text())
    assert (config["prompts"]["query"], config["prompts"]["document"]) == ("find: ", "page: ")


def test_a_recipe_names_files_beside_it_relative_to_it(command, tmp_path):
    build_tiny_beir(tmp_path / "beir")
    assert command("beir", "--recipe-out", "mine.yaml")[0] == 0
    written = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert written["stages"]["data"]["source"] == {"kind": "beir", "path": "beir"}
    assert Path(written["stages"]["model"]["source"]["path"]).is_absolute()
    assert command("beir", "--recipe-out", "mine.yaml")[0] == 0
    code, _, err = command("beir", "--negatives", 2, "--recipe-out", "mine.yaml")
    assert (code, err) == (
        2, "error: --recipe-out mine.yaml: is there already and differs; name a file that does not exist yet\n",
    )  # fmt: skip
    (tmp_path / "mine.yaml").write_bytes(b"\xff")  # no text at all
    assert command("beir", "--recipe-out", "mine.yaml")[2] == err


def test_other_models_are_stages_of_the_recipe(command, tiny_beir, other_tiny_model):
    words = ["--hybrid", f"encoder:{other_tiny_model}", "--signal", f"judge=encoder:{other_tiny_model},weight=2"]
    code, _, err = command(tiny_beir, *words, "--filter", "score_range=-1,signal=judge", "--recipe-out", "mine.yaml")
    assert code == 0, err
    stages = load_recipe("mine.yaml").stages
    assert stages["judge-model"].source.path == Path(other_tiny_model)
    assert (stages["mined"].signals["judge"].model, stages["mined"].signals["judge"].weight) == ("judge-model", 2.0)
    assert stages[stages["mined"].hybrid[0].model].source.path == Path(other_tiny_model)


def test_a_models_own_prompts_are_used_and_told(command, tiny_beir, tiny_model, tmp_path):
    import shutil

    own = shutil.copytree(tiny_model, tmp_path / "own")
    path = own / "config_sentence_transformers.json"
    prompts = {"query": "ask: ", "passage": "p: "}
    path.write_text(json.dumps({**json.loads(path.read_text()), "prompts": prompts}))
    code, out, _ = command(tiny_beir, model="own")
    assert code == 0
    assert "prompts, which the model remembers: query 'ask: '\n" in out
    assert "prompts of the model that nothing asked for: passage" in out


def test_pairs_are_exported_too(command, tiny_beir, tmp_path):
    words = [tiny_beir, "--filter", "none", "--format", "triplet", "--to", "train.jsonl"]
    code, out, _ = command(*words)
    assert code == 0
    assert "504 rows of 72 queries, triplet\nwrote train.jsonl" in out
    assert len(lines_of(tmp_path / "train.jsonl")) == 504
    code, _, err = command(*words)
    assert (code, err) == (2, "error: --to train.jsonl: is there already; --force writes it anew\n")
    assert command(*words, "--force")[0] == 0


def test_machines_get_json(command, tiny_beir):
    code, out, err = command(tiny_beir, "--json")
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert events[-1]["event"] == "mined"
    assert events[-1]["counts"]["queries"] == 72
    assert events[-1]["made"] == ["data", "model", "mined"]
    assert not any("progress" in event for event in events)


MISTAKES = {
    "no such data": ("nope", [], "DATA nope: no such file or folder"),
    "no data": (None, [], "DATA: is missing; name a folder or file, or --corpus, --queries and --qrels"),
    "data twice": ("", ["--corpus", "c.jsonl"], "--corpus: stands in place of DATA"),
    "half the tables": (None, ["--corpus", "c.jsonl"], "--queries: is missing; --corpus, --queries and --qrels go"),
    "tables that are not there": (
        None, ["--corpus", "c", "--queries", "p.jsonl", "--qrels", "p.jsonl"], "--corpus c: c: no such file",
    ),
    "columns of a beir folder": ("", ["--columns", "query=x"], "--columns: "),
    "columns without names": ("p.jsonl", ["--columns", "query"], "--columns query: expected WHAT=COLUMN"),
    "an unknown column": ("p.jsonl", ["--columns", "querry=x"], "--columns querry: a table of pairs has no"),
    "no negatives": ("", ["--negatives", "0"], "--negatives 0: found 0; input should be greater than 0"),
    "few candidates": ("", ["--top-k", "3"], "embedkit mine: top_k is 3, fewer than the 7 negatives"),
    "a mistyped filter": (
        "", ["--filter", "percent_of_postive=0.9"],
        "--filter percent_of_postive=0.9: no kind 'percent_of_postive'; did you mean 'percent_of_positive'?",
    ),
    "a filter's value": ("", ["--filter", "percent_of_positive=1.9"], "--filter percent_of_positive=1.9: found"),
    "a filter's field": (
        "", ["--filter", "rank_window:frist=2"], "--filter rank_window:frist=2: unknown key; did you mean 'first'?",
    ),
    "not a field": ("", ["--filter", "rank_window,2"], "--filter rank_window,2: found '2'; expected field=value"),
    "a value for what takes none": ("", ["--sampling", "top=3"], "--sampling top=3: takes no value"),
    "bad YAML": ("", ["--filter", "{kind: rank_window"], "--filter {kind: rank_window:1: not YAML"),
    "YAML that is no part": ("", ["--filter", "[rank_window]"], "--filter [rank_window]: no kind '[rank_window]'"),
    "an unknown signal": ("", ["--filter", "score_range=0,signal=bm26"], "embedkit mine: filters.0.signal: nothing"),
    "a signal's name": ("", ["--signal", "a.b=bm25"], "--signal a.b=bm25: 'a.b' is no name of a signal; expected"),
    "an unknown index": ("", ["--index", "hnws"], "--index hnws: no kind 'hnws'; did you mean 'hnsw'?"),
    "an unknown sampling": ("", ["--sampling", "randm"], "--sampling randm: no kind 'randm'; did you mean 'random'?"),
    "an unknown precision": ("", ["--precision", "half"], "--precision half: found 'half'; input should be"),
    "an unknown backend": ("", ["--backend", "onx"], "--backend onx: found 'onx'; input should be"),
    "an unknown split": ("", ["--split", "tset"], "--split tset: found 'tset'; input should be 'train' or 'dev'"),
    "an unknown field": ("", ["--set", "mined.negtives=3"], "--set mined.negtives=3: stages.mined.negtives: "),
    "an unknown format": ("", ["--format", "ntuple", "--to", "x.parquet"], "format 'ntuple': there is none of"),
    "a format to nowhere": ("", ["--format", "n-tuple"], "--to: is missing; --format and --to go together"),
    "a file where the pairs will be": (
        "", ["--format", "triplet", "--to", "out/mined/x.jsonl"], "--to out/mined/x.jsonl: is inside out/mined, which",
    ),
    "a file of another kind": ("", ["--format", "n-tuple", "--to", "x.csv"], "--to x.csv: n-tuple is written to files"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_that_names_the_option(command, tiny_beir, tmp_path, data, words, message):
    write_jsonl(tmp_path / "p.jsonl", [{"query": "list", "positive": "copy"}])
    code, _, err = command(*([] if data is None else [data or tiny_beir]), *words)
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith(f"error: {message}"), err


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "--model: is missing"),
        ("nothing", "--model nothing: no such folder and no such package"),
        ("some/model@main", "--model some/model at main: the hub does not tell its commit"),
        (Path("in"), "in: has no modules.json"),
    ],
)
def test_a_model_that_is_none_is_told_in_a_line(command, tiny_beir, tmp_path, model, message):
    (tmp_path / "in").mkdir()
    code, _, err = command(tiny_beir, model=model)
    last = err.splitlines()[-1]
    assert code == 2
    assert message in last
    assert "Traceback" not in err


def test_a_branch_of_the_hub_becomes_the_commit_it_is_at(command, monkeypatch, tiny_beir, tiny_model):
    commit = "0123456789" * 4
    monkeypatch.setattr("embedkit.retrieval.hub.commit_of", lambda name, revision, what: commit)
    monkeypatch.setattr("embedkit.retrieval.hub.fetch_model", lambda name, revision: tiny_model)
    assert command(tiny_beir, "--recipe-out", "mine.yaml", model="org/name")[0] == 0
    source = load_recipe("mine.yaml").stages["model"].source
    assert (source.name, source.revision) == ("org/name", commit)


def last_line(command, *words, **named) -> str:
    """The one line that tells what is wrong."""
    code, _, err = command(*words, **named)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, len(lines)) == (2, 1), err
    assert "Traceback" not in err
    assert "stages." not in lines[0]
    return lines[0].removeprefix("error: ")


def test_data_without_what_mining_needs_is_told(command, tmp_path):
    folder = build_tiny_beir(tmp_path / "beir")
    header = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "train.tsv").write_text(header + "q2-0\td2\t0\n")
    for split in ("dev", "test"):
        (folder / "qrels" / f"{split}.tsv").unlink()
    assert "no query of this split has a relevant document" in last_line(command, "beir")
    (folder / "qrels" / "train.tsv").write_text(header)
    assert last_line(command, "beir") == "beir: no document with a judged query; expected at least one"
    (folder / "corpus.jsonl").write_text("")
    assert last_line(command, "beir") == "beir: no document with a judged query; expected at least one"
    (tmp_path / "empty").mkdir()
    assert last_line(command, "empty").startswith("DATA empty: the folder has neither a corpus nor files of pairs")


def test_queries_without_positives_are_left_out_and_told(command, tmp_path):
    folder = build_tiny_beir(tmp_path / "beir")
    lines = (folder / "qrels" / "train.tsv").read_text().splitlines()
    (folder / "qrels" / "train.tsv").write_text("\n".join([*lines[:-1], lines[-1][:-1] + "0"]) + "\n")
    with (folder / "queries.jsonl").open("a") as file:
        file.write('{"_id": "alone", "text": "list file"}\n')
    code, _, err = command("beir")
    assert code == 0, err
    assert "1 queries without a judged document were left out" in err
    assert len(read_pairs(tmp_path / "out" / "mined").rows) == 71
    write_jsonl(tmp_path / "p.jsonl", [*({"query": f"q {i}", "positive": f"d {i}"} for i in range(9)), {"query": "x"}])
    assert "p.jsonl:10: has no 'positive'" in last_line(command, "p.jsonl", out="pairs")
    assert command("p.jsonl", "--on-bad-row", "drop", out="pairs")[0] == 0


def test_more_candidates_than_documents_are_all_documents(command, tiny_beir, tmp_path):
    code, _, err = command(tiny_beir, "--top-k", 5000, "--negatives", 500, "--filter", "none")
    assert code == 0, err
    rows = read_pairs(tmp_path / "out" / "mined").rows
    assert {len(row.negatives) for row in rows} <= {58, 59}


def test_folders_that_cannot_be_used_are_told_before_anything_is_done(command, tiny_beir, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "theirs" / "mined").mkdir(parents=True)
    (tmp_path / "theirs" / "mined" / "work.txt").write_text("dear")
    assert last_line(command, tiny_beir, out="file") == "--out file: cannot be the run folder: file exists"
    assert last_line(command, tiny_beir, out="file/below").startswith("--out file/below: cannot be the run folder: ")
    assert last_line(command, tiny_beir, out="theirs").startswith("theirs/mined: stands where a link to")
    assert (tmp_path / "theirs" / "mined" / "work.txt").read_text() == "dear"
    assert not list(tmp_path.glob(".embedkit/artifacts/*"))
    assert "file" in last_line(command, tiny_beir, "--store", "file/store")


def test_a_module_without_a_package_is_no_model(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with pytest.raises(RecipeError, match="--model __main__: no such folder and no such package"):
        model_source("__main__")
