import json
import re

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter, ValidationError

from embedkit.core.errors import DataError
from embedkit.core.progress import silent
from embedkit.data.sources import AnySource
from tests.tiny import build_tiny_beir, write_jsonl


class ProxyError(Exception):
    """An HTTP client's own error, which is no OSError."""


SOURCE = TypeAdapter(AnySource)
HEADER = "query-id\tcorpus-id\tscore\n"


def load(tmp_path, **fields):
    tables, rejects = SOURCE.validate_python(fields).load(tmp_path / "unpacked", silent)
    return tables.dataset(), rejects


def problems(tmp_path, **fields) -> list[str]:
    with pytest.raises(DataError) as error:
        load(tmp_path, **fields)
    return list(error.value.problems)


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": f"text {i}"} for i in range(3)])
    write_jsonl(folder / "queries.jsonl", [{"_id": f"q{i}", "text": f"query {i}"} for i in range(3)])
    (folder / "qrels" / "train.tsv").write_text(HEADER + "q0\td0\t1\nq1\td1\t2\n")
    (folder / "qrels" / "test.tsv").write_text(HEADER + "q2\td2\t1\n")
    return folder


def append(path, line: str) -> None:
    with path.open("a", encoding="utf-8", errors="surrogatepass") as file:
        file.write(line + "\n")


def test_a_beir_folder_is_read_in_its_order(tmp_path, beir):
    dataset, rejects = load(tmp_path, kind="beir", path=beir)
    assert list(dataset.corpus.ids) == ["d0", "d1", "d2"]
    assert list(dataset.queries.texts) == ["query 0", "query 1", "query 2"]
    assert dataset.qrels == {"train": {"q0": {"d0": 1}, "q1": {"d1": 2}}, "test": {"q2": {"d2": 1}}}
    assert not rejects.rows


BAD_ROWS = {
    "malformed JSON": ("corpus.jsonl", '{"_id": "x", ', "corpus.jsonl:4: malformed JSON: .*column"),
    "nested beyond reason": ("corpus.jsonl", "[" * 100_000, "corpus.jsonl:4: malformed JSON: too deep"),
    "not an object": ("corpus.jsonl", "[1]", "corpus.jsonl:4: found a JSON list; expected one object a line"),
    "no id": ("corpus.jsonl", '{"text": "x"}', r"corpus.jsonl:4: has no '_id'; it has \['text'\]"),
    "id of a wrong type": (
        "corpus.jsonl",
        '{"_id": 1.5, "text": "x"}',
        "corpus.jsonl:4: _id is 1.5; expected a string",
    ),
    "empty id": ("corpus.jsonl", '{"_id": " ", "text": "x"}', "corpus.jsonl:4: _id is empty"),
    "duplicate id": (
        "corpus.jsonl",
        '{"_id": "d1", "text": "x"}',
        "corpus.jsonl:4: id 'd1' .* corpus.jsonl:2; .*unique",
    ),
    "text of a wrong type": ("corpus.jsonl", '{"_id": "x", "text": 5}', "corpus.jsonl:4: text is 5; expected a string"),
    "empty document": (
        "corpus.jsonl",
        '{"_id": "x", "title": "", "text": " "}',
        "corpus.jsonl:4: text is empty; a docum",
    ),
    "missing document text": (
        "corpus.jsonl",
        '{"_id": "x"}',
        "corpus.jsonl:4: text is missing; a document needs title",
    ),
    "half a surrogate pair": (
        "corpus.jsonl",
        r'{"_id": "x", "text": "\ud800"}',
        "corpus.jsonl:4: text holds half a surr",
    ),
    "empty query": ("queries.jsonl", '{"_id": "x", "text": "\\t"}', "queries.jsonl:4: text is empty; expected a text"),
    "query without text": ("queries.jsonl", '{"_id": "x"}', "queries.jsonl:4: has no 'text'"),
    "query text of a wrong type": ("queries.jsonl", '{"_id": "x", "text": null}', "queries.jsonl:4: text is None; exp"),
    "duplicate query id": ("queries.jsonl", '{"_id": "q0", "text": "x"}', "queries.jsonl:4: id 'q0' .*queries.jsonl:1"),
    "missing document": ("qrels/train.tsv", "q0\tnone\t1", "train.tsv:4: document 'none' is not in the corpus"),
    "missing query": ("qrels/train.tsv", "none\td0\t1", "train.tsv:4: query 'none' is not in the queries"),
    "relevance not whole": ("qrels/train.tsv", "q2\td0\t0.5", "train.tsv:4: the relevance is '0.5'; expected a whole"),
    "relevance not a number": ("qrels/train.tsv", "q2\td0\thigh", "train.tsv:4: the relevance is 'high'"),
    "relevance infinite": ("qrels/train.tsv", "q2\td0\tinf", "train.tsv:4: the relevance is 'inf'"),
    "too few columns": (
        "qrels/train.tsv",
        "q2 d0 1",
        r"train.tsv:4: found 1 column\(s\); expected 3, separated by tabs",
    ),
    "judged otherwise before": (
        "qrels/train.tsv",
        "q0\td0\t0",
        "train.tsv:4: query 'q0' .* judged 0 here and 1 before",
    ),
}


@pytest.mark.parametrize(("name", "line", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_named_by_file_and_line(tmp_path, beir, name, line, message):
    append(beir / name, line)
    (problem,) = problems(tmp_path, kind="beir", path=beir)
    assert re.search(message, problem), problem
    assert problem.startswith(f"{beir}/")
    assert "\n" not in problem


@pytest.mark.parametrize(("name", "line", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_may_be_dropped(tmp_path, beir, name, line, message):
    good, _ = load(tmp_path, kind="beir", path=beir)
    append(beir / name, line)
    dataset, rejects = load(tmp_path, kind="beir", path=beir, on_bad_row="drop")
    assert dataset == good
    (reject,) = rejects.rows
    assert re.search(message, f"{reject['where']}: {reject['problem']}")


def test_bytes_that_are_not_utf8_are_a_bad_row(tmp_path, beir):
    with (beir / "corpus.jsonl").open("ab") as file:
        file.write(b'{"_id": "x", "text": "caf\xe9"}\n')
    (problem,) = problems(tmp_path, kind="beir", path=beir)
    assert "corpus.jsonl:4: byte 26 of the line (0xe9) is not UTF-8" in problem


def test_all_that_is_wrong_is_told_at_once(tmp_path, beir):
    append(beir / "corpus.jsonl", "{")
    append(beir / "queries.jsonl", '{"_id": "q9", "text": ""}')
    append(beir / "qrels" / "train.tsv", "q9\td7\t1")
    append(beir / "qrels" / "test.tsv", "q2\td7\t1")
    found = problems(tmp_path, kind="beir", path=beir)
    places = ["corpus.jsonl:4", "queries.jsonl:4", "qrels/train.tsv:4", "qrels/test.tsv:3"]
    assert [place in problem for place, problem in zip(places, found, strict=True)] == [True] * 4
    assert "query 'q9' was rejected (queries.jsonl:4)" in found[2]


def test_a_long_list_of_problems_is_cut_and_counted(tmp_path, beir):
    for _ in range(30):
        append(beir / "corpus.jsonl", "{")
    found = problems(tmp_path, kind="beir", path=beir)
    assert len(found) == 21
    assert found[-1] == "... and 10 more"


@pytest.mark.parametrize("on_bad_row", ["fail", "drop"])
def test_what_is_wrong_with_a_file_is_never_dropped(tmp_path, beir, on_bad_row):
    (beir / "qrels" / "train.tsv").write_text("q0 0 d0 1\n")
    found = problems(tmp_path, kind="beir", path=beir, on_bad_row=on_bad_row)
    expected = "qrels/train.tsv:1: the header is 'q0 0 d0 1'; expected query-id<TAB>corpus-id<TAB>score"
    assert found == [f"{beir}/{expected}"]
    (beir / "queries.jsonl").unlink()
    (beir / "qrels" / "train.tsv").unlink()
    (beir / "qrels" / "test.tsv").unlink()
    first, second = problems(tmp_path, kind="beir", path=beir, on_bad_row=on_bad_row)
    assert "queries.jsonl: no such file" in first
    assert "qrels: holds none of train.tsv, dev.tsv, test.tsv" in second


def test_blank_lines_a_byte_order_mark_and_whole_numbers_in_other_dress_are_fine(tmp_path, beir):
    rows = [{"id": 7, "text": "seven"}, {"_id": "d0", "text": "zero"}]
    text = "\ufeff" + "\n\n".join(json.dumps(row) for row in rows) + "\r\n\n"
    (beir / "corpus.jsonl").write_bytes(text.encode())
    (beir / "qrels" / "train.tsv").write_bytes(HEADER.replace("\n", "\r\n").encode() + b"q0\t7\t1.0\r\nq0\t7\t1\r\n")
    (beir / "qrels" / "test.tsv").unlink()
    tables, _ = SOURCE.validate_python({"kind": "beir", "path": beir}).load(tmp_path, silent)
    assert tables.dataset().qrels == {"train": {"q0": {"7": 1}}}
    assert tables.repeated == 1


def test_a_beir_folder_of_parquet_files_equals_that_of_text_files(tmp_path):
    texts = build_tiny_beir(tmp_path / "texts", documents=10)
    (tmp_path / "parquet" / "qrels").mkdir(parents=True)
    for name in ("corpus", "queries"):
        rows = [json.loads(line) for line in (texts / f"{name}.jsonl").read_text().splitlines()]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "parquet" / f"{name}.parquet")
    for path in (texts / "qrels").iterdir():
        header, *lines = [line.split("\t") for line in path.read_text().splitlines()]
        rows = [dict(zip(header, (q, d, float(s)), strict=True)) for q, d, s in lines]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "parquet" / "qrels" / f"{path.stem}.parquet")
    expected, _ = load(tmp_path, kind="beir", path=texts)
    found, _ = load(tmp_path, kind="beir", path=tmp_path / "parquet")
    assert found == expected


PAIRS = [
    {"q": "first", "yes": "a document", "no": ["another", "third"], "part": "train"},
    {"q": "second", "yes": ["another", "fourth"], "no": [], "part": "validation"},
    {"q": "first", "yes": "fifth", "no": None, "part": "train"},
]
COLUMNS = {"query": "q", "positive": "yes", "negative": "no", "split": "part"}


def test_pairs_become_a_dataset_whose_equal_texts_are_one(tmp_path):
    write_jsonl(tmp_path / "pairs.jsonl", PAIRS)
    dataset, _ = load(tmp_path, kind="jsonl", path=tmp_path / "pairs.jsonl", columns=COLUMNS)
    texts = dict(zip(dataset.corpus.ids, dataset.corpus.texts, strict=True))
    queries = dict(zip(dataset.queries.ids, dataset.queries.texts, strict=True))
    judged = {
        split: {queries[q]: {texts[d]: r for d, r in docs.items()} for q, docs in qrels.items()}
        for split, qrels in dataset.qrels.items()
    }
    assert judged == {
        "train": {"first": {"a document": 1, "another": 0, "third": 0, "fifth": 1}},
        "dev": {"second": {"another": 1, "fourth": 1}},
    }
    assert sorted(texts.values()) == ["a document", "another", "fifth", "fourth", "third"]


def test_parquet_pairs_equal_jsonl_pairs(tmp_path):
    rows = [{**row, "yes": row["yes"] if isinstance(row["yes"], list) else [row["yes"]]} for row in PAIRS]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    expected, _ = load(tmp_path, kind="jsonl", path=tmp_path / "pairs.jsonl", columns=COLUMNS)
    found, _ = load(tmp_path, kind="parquet", path=tmp_path / "pairs.parquet", columns=COLUMNS)
    assert found == expected


def test_a_folder_of_pair_files_is_split_by_file_name(tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name in ("train-00", "train-01", "validation", "test"):
        row = {"query": f"q {name}", "positive": f"d {name}", "id": name, "title": "a title"}
        write_jsonl(folder / f"{name}.jsonl", [row])
    columns = {"query_id": "id", "positive_id": "id", "title": "title"}
    dataset, _ = load(tmp_path, kind="jsonl", path=folder, columns=columns)
    assert {s: list(q) for s, q in dataset.qrels.items()} == {
        "train": ["train-00", "train-01"], "dev": ["validation"], "test": ["test"],
    }  # fmt: skip
    assert set(dataset.corpus.titles) == {"a title"}
    (folder / "train-00.jsonl").rename(folder / "part-0.jsonl")
    (problem,) = problems(tmp_path, kind="jsonl", path=folder, columns=columns)
    assert "part-0.jsonl: its name does not start with a split (train, dev, test" in problem


BAD_PAIRS = {
    "no query": ({"positive": "d"}, r"has no 'query'; it has \['neg', 'nid'"),
    "empty query": ({"query": " ", "positive": "d"}, "query is empty; expected a text"),
    "no positive": ({"query": "q"}, "has no 'positive'"),
    "empty list of positives": ({"query": "q", "positive": [], "pid": []}, "positive is empty; a query needs"),
    "empty positive": ({"query": "q", "positive": [""]}, "positive is empty; expected a text"),
    "positive of a wrong type": ({"query": "q", "positive": [3]}, "positive is 3; expected a string"),
    "ids do not match": (
        {"query": "q", "positive": ["a", "b"], "pid": ["1"]}, "pid has 1 entries and positive 2; expected one for each",
    ),
    "one id, two documents": (
        {"query": "q", "positive": "other", "pid": "p0"}, "document id 'p0' has another text than in pairs.jsonl:1",
    ),
    "one id, two queries": (
        {"query": "other", "qid": "q0", "positive": "d", "pid": "p"}, "query id 'q0' has another text",
    ),
    "split unknown": ({"query": "q", "positive": "d", "part": "exam"}, "part is 'exam'; expected one of train, dev"),
    "positive and negative": (
        {"query": "q", "positive": "d", "pid": "p", "neg": "d", "nid": "p"}, "document 'p' is a positive and a neg",
    ),
    "negative of one row, positive of another": (
        {"query": "first", "qid": "q0", "positive": "x", "pid": "p1", "neg": "document", "nid": "p0"},
        "document 'p0' is a positive of this query in one row and a negative in another",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("row", "message"), BAD_PAIRS.values(), ids=BAD_PAIRS.keys())
def test_a_bad_pair_is_named_by_file_and_line(tmp_path, row, message):
    first = {"query": "first", "qid": "q0", "positive": "document", "pid": "p0", "neg": None, "part": "train"}
    filled = {"qid": "q9", "pid": "p9", "nid": None, "neg": None, "part": "train", **row}
    write_jsonl(tmp_path / "pairs.jsonl", [first, filled])
    columns = {"negative": "neg", "query_id": "qid", "positive_id": "pid", "negative_id": "nid", "split": "part"}
    source = {"kind": "jsonl", "path": tmp_path / "pairs.jsonl", "columns": columns}
    (problem,) = problems(tmp_path, **source)
    assert re.search(f"pairs.jsonl:2: .*{message}", problem), problem
    dataset, rejects = load(tmp_path, **source, on_bad_row="drop")
    assert [row["where"] for row in rejects.rows] == ["pairs.jsonl:2"]
    assert list(dataset.queries.ids) == ["q0"]
    assert list(dataset.corpus.ids) == ["p0"]


USUAL = [
    {"query": "a", "positive": "x", "title": "X", "split": "test", "query_id": "q7", "positive_id": "d7"},
    {"query": "b", "positive": "y", "negative": ["z"], "negative_id": ["n"], "positive_id": "d8"},
]


def test_columns_of_the_usual_names_are_read_where_a_row_has_them(tmp_path):
    write_jsonl(tmp_path / "pairs.jsonl", USUAL)
    dataset, _ = load(tmp_path, kind="jsonl", path=tmp_path / "pairs.jsonl")
    (other,) = dataset.qrels["train"]
    assert dataset.qrels == {"test": {"q7": {"d7": 1}}, "train": {other: {"d8": 1, "n": 0}}}
    assert dict(zip(dataset.corpus.ids, dataset.corpus.titles, strict=True)) == {"d7": "X", "d8": "", "n": ""}


def test_a_column_called_null_is_not_read_and_one_of_another_name_must_be_there(tmp_path):
    write_jsonl(tmp_path / "pairs.jsonl", USUAL)
    source = {"kind": "jsonl", "path": tmp_path / "pairs.jsonl"}
    dataset, _ = load(tmp_path, **source, columns={"split": None, "title": None, "negative": None})
    assert {split: len(qrels) for split, qrels in dataset.qrels.items()} == {"train": 2}
    assert list(dataset.corpus.titles) == ["", ""]
    for name in ("negative", "title", "query_id", "positive_id", "split"):
        found = problems(tmp_path, **source, columns={name: "other"})
        assert len(found) == 2
        assert "pairs.jsonl:1: has no 'other'; it has [" in found[0]


def test_a_title_that_is_the_query_is_no_title_of_the_positive(tmp_path):
    write_jsonl(tmp_path / "pairs.jsonl", [{"title": "what it is", "text": "a body"}])
    columns = {"query": "title", "positive": "text"}
    dataset, _ = load(tmp_path, kind="jsonl", path=tmp_path / "pairs.jsonl", columns=columns)
    assert list(dataset.queries.texts) == ["what it is"]
    assert list(dataset.corpus.titles) == [""]


@pytest.mark.parametrize("value", ["easy", None, 3, ["test"], "Test"])
def test_a_split_that_is_none_is_a_bad_row(tmp_path, value):
    write_jsonl(tmp_path / "pairs.jsonl", [{"query": "q", "positive": "d", "split": value}])
    (problem,) = problems(tmp_path, kind="jsonl", path=tmp_path / "pairs.jsonl")
    assert f"pairs.jsonl:1: split is {value!r}; expected one of train, dev, test" in problem


def test_a_row_of_a_test_file_is_no_training_row_whatever_it_says(tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    rows = [{"query": f"q{i}", "positive": f"d{i}", "split": split} for i, split in enumerate(("test", "train"))]
    write_jsonl(folder / "test.jsonl", rows)
    (problem,) = problems(tmp_path, kind="jsonl", path=folder)
    assert "test.jsonl:2: split is 'train' in rows of the test split; `columns: {split: null}` ignores it" in problem
    dataset, _ = load(tmp_path, kind="jsonl", path=folder, columns={"split": None})
    assert {split: len(qrels) for split, qrels in dataset.qrels.items()} == {"test": 2}


def test_a_problem_of_a_whole_folder_is_told_of_the_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    found = problems(tmp_path, kind="jsonl", path=tmp_path / "empty")
    assert found == [f"{tmp_path}/empty: the folder has no .jsonl files; expected train.jsonl and perhaps others"]


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "pairs.csv").write_text("query,positive\n")
    (problem,) = problems(tmp_path, kind="jsonl", path=tmp_path / "pairs.csv")
    assert "pairs.csv: is not one; expected a .jsonl file, or a folder of them" in problem
    (tmp_path / "pairs.parquet").write_text("no")
    (problem,) = problems(tmp_path, kind="parquet", path=tmp_path / "pairs.parquet")
    assert "pairs.parquet: not a readable Parquet file" in problem
    assert SOURCE.validate_python({"kind": "parquet", "path": tmp_path / "pairs.parquet"}).size().pairs == 0


def write_hub_layout(folder, texts) -> None:
    """The tables of a BEIR folder as the hub has them: three configs of Parquet files, named in README.md."""
    configs = {"corpus": {"corpus": "corpus"}, "queries": {"queries": "queries"}, "default": {}}
    for name in ("corpus", "queries"):
        (folder / name).mkdir(parents=True)
        rows = [json.loads(line) for line in (texts / f"{name}.jsonl").read_text().splitlines()]
        pq.write_table(pa.Table.from_pylist(rows), folder / name / f"{name}.parquet")
    (folder / "default").mkdir()
    for split, alias in (("train", "train"), ("dev", "validation"), ("test", "test")):
        lines = [line.split("\t") for line in (texts / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]]
        rows = [{"query-id": q, "corpus-id": d, "score": float(s)} for q, d, s in lines]
        pq.write_table(pa.Table.from_pylist(rows), folder / "default" / f"{alias}.parquet")
        configs["default"][alias] = alias
    card = ["---", "configs:"]
    for config, files in configs.items():
        card += [f"- config_name: {config}", "  data_files:"]
        card += [f"  - split: {split}\n    path: {config}/{file}.parquet" for split, file in files.items()]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))


def test_a_hub_data_set_equals_the_beir_folder_it_was_made_of(tmp_path):
    texts = build_tiny_beir(tmp_path / "texts", documents=10)
    write_hub_layout(tmp_path / "hub", texts)
    expected, _ = load(tmp_path, kind="beir", path=texts)
    found, _ = load(tmp_path, kind="hub", path=tmp_path / "hub")
    assert found == expected
    (problem,) = problems(tmp_path, kind="hub", path=tmp_path / "hub", layout={"kind": "beir", "corpus": "none"})
    assert "config 'none' cannot be loaded" in problem


def test_a_hub_data_set_of_pairs(tmp_path, monkeypatch):
    folder = tmp_path / "hub"
    folder.mkdir()
    rows = [{"anchor": f"q{i}", "positive": f"d{i}"} for i in range(3)]
    pq.write_table(pa.Table.from_pylist([*rows, {"anchor": "", "positive": "d"}]), folder / "train.parquet")
    pq.write_table(pa.Table.from_pylist([{"anchor": "t", "positive": "d1"}]), folder / "test.parquet")
    layout = {"kind": "pairs", "columns": {"query": "anchor"}}
    (problem,) = problems(tmp_path, kind="hub", path=folder, layout=layout)
    assert problem == f"{folder}: train row 4: anchor is empty; expected a text"
    dataset, _ = load(tmp_path, kind="hub", path=folder, layout=layout, on_bad_row="drop")
    assert {split: len(qrels) for split, qrels in dataset.qrels.items()} == {"train": 3, "test": 1}

    import datasets

    asked = {}
    local = datasets.load_dataset
    monkeypatch.setattr(
        datasets, "load_dataset",
        lambda name, config, *, revision, cache_dir: (
            asked.update(name=name, revision=revision) or local(str(folder), config, cache_dir=cache_dir)
        ),
    )  # fmt: skip
    same, _ = load(tmp_path, kind="hub", name="a/b", revision="0" * 40, layout=layout, on_bad_row="drop")
    assert same == dataset
    assert asked == {"name": "a/b", "revision": "0" * 40}


def test_splits_of_other_names_are_mapped_and_never_guessed(tmp_path):
    folder = tmp_path / "hub"
    folder.mkdir()
    rows = "".join(json.dumps({"query": f"q{i}", "positive": f"d{i}"}) + "\n" for i in range(2))
    splits = ("fit", "exam", "spare")
    card = "".join(f"  - split: {s}\n    path: {s}.jsonl\n" for s in splits)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{card}---\n")
    for split in splits:
        (folder / f"{split}.jsonl").write_text(rows)
    source = {"kind": "hub", "path": folder, "layout": {"kind": "pairs"}}
    found = problems(tmp_path, **source)
    assert found[0] == (
        f"{folder}: split 'fit' is none of train, dev, test, validation, valid, val; "
        "say which splits to read with `splits`"
    )
    assert len(found) == 3
    dataset, _ = load(tmp_path, **source, splits={"fit": "train", "exam": "test"})
    assert {split: len(qrels) for split, qrels in dataset.qrels.items()} == {"train": 2, "test": 2}
    (problem,) = problems(tmp_path, **source, splits={"exams": "test"})
    assert problem.endswith("has no split 'exams'; it has fit, exam, spare; did you mean 'exam'?")


@pytest.mark.parametrize("error", [RuntimeError("Dataset scripts are no longer\n"), ProxyError("403\n")])
def test_a_hub_data_set_that_cannot_be_loaded_is_one_line(tmp_path, monkeypatch, error):
    def load_dataset(*args, **options):
        raise error

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    (problem,) = problems(tmp_path, kind="hub", name="a/b", revision="0" * 40, layout={"kind": "pairs"})
    expected = f"a/b at {'0' * 40}: the data set cannot be loaded: {str(error).strip()}. A machine without the hub"
    assert problem.startswith(expected)
    assert "\n" not in problem


@pytest.mark.parametrize("revision", [None, "main", "0123abc", "G" * 40])
def test_a_hub_data_set_is_pinned_to_a_commit(revision):
    with pytest.raises(ValidationError, match="expected a commit of 40 hex digits"):
        SOURCE.validate_python({"kind": "hub", "name": "a/b", "revision": revision})
    with pytest.raises(ValidationError, match="either `name` and `revision`"):
        SOURCE.validate_python({"kind": "hub"})


def test_sizes_are_told_before_anything_is_read(tmp_path):
    texts = build_tiny_beir(tmp_path / "texts", documents=10)
    size = SOURCE.validate_python({"kind": "beir", "path": texts}).size()
    assert (size.documents, size.queries, size.pairs, size.held_out) == (10, 20, 12, {"dev": 4, "test": 4})
    assert 5 < size.document_tokens < 25
    write_jsonl(tmp_path / "pairs.jsonl", PAIRS)
    size = SOURCE.validate_python({"kind": "jsonl", "path": tmp_path / "pairs.jsonl", "columns": COLUMNS}).size()
    assert (size.queries, size.pairs) == (3, 3)


STS = {"query": "sentence1", "positive": "sentence2", "score": "score"}


def test_a_score_column_makes_scored_pairs(tmp_path):
    rows = [
        {"sentence1": "a", "sentence2": ["x", "y"], "score": [4.5, 0]},
        {"sentence1": "b", "sentence2": "x", "score": 0.4, "negative": ["not read"]},
        {"sentence1": "a", "sentence2": "y", "score": 0.0},
    ]
    write_jsonl(tmp_path / "train.jsonl", rows)
    source = SOURCE.validate_python({"kind": "jsonl", "path": tmp_path / "train.jsonl", "columns": STS})
    assert source.scored
    tables, _ = source.load(tmp_path / "unpacked", silent)
    name = dict(zip(tables.dataset().corpus.texts, tables.dataset().corpus.ids, strict=True))
    asked = dict(zip(tables.dataset().queries.texts, tables.dataset().queries.ids, strict=True))
    assert tables.scores == {
        "train": {asked["a"]: {name["x"]: 4.5, name["y"]: 0.0}, asked["b"]: {name["x"]: 0.4}}
    }  # fmt: skip
    assert tables.qrels["train"][asked["a"]] == {name["x"]: 5, name["y"]: 0}
    assert tables.qrels["train"][asked["b"]] == {name["x"]: 0}


BAD_SCORES = {
    "missing": ({"sentence2": "y"}, r"has no 'score'; it has \['sentence1', 'sentence2'\]"),
    "null": ({"sentence2": "y", "score": None}, "score is None; expected a number"),
    "text": ({"sentence2": "y", "score": "4.5"}, "score is '4.5'; expected a number"),
    "true": ({"sentence2": "y", "score": True}, "score is True; expected a number"),
    "not finite": ({"sentence2": "y", "score": float("nan")}, "score is nan; expected a number"),
    "too few": ({"sentence2": ["y", "z"], "score": [1]}, "score has 1 entries and sentence2 2; expected one for each"),
    "two for a pair": ({"sentence2": "x", "score": 2}, "scores 2.0 here and 1.0 before; a pair has one score"),
    "two in a row": ({"sentence2": ["y", "y"], "score": [1, 2]}, "in sentence2 twice, and not twice the same"),
}


@pytest.mark.parametrize(("row", "message"), BAD_SCORES.values(), ids=BAD_SCORES.keys())
def test_a_bad_score_is_named_by_file_and_line(tmp_path, row, message):
    first = {"sentence1": "a", "sentence2": "x", "score": 1}
    write_jsonl(tmp_path / "train.jsonl", [first, {"sentence1": "a", **row}])
    (problem,) = problems(tmp_path, kind="jsonl", path=tmp_path / "train.jsonl", columns=STS)
    assert re.search(rf"train\.jsonl:2: .*{message}", problem), problem
    tables, _ = SOURCE.validate_python(
        {"kind": "jsonl", "path": tmp_path / "train.jsonl", "columns": STS, "on_bad_row": "drop"}
    ).load(tmp_path, silent)
    assert [list(found.values()) for found in tables.scores["train"].values()] == [[1.0]]


def test_scores_and_negatives_exclude_each_other(tmp_path):
    with pytest.raises(ValidationError, match="both score and negative"):
        SOURCE.validate_python({"kind": "jsonl", "path": tmp_path, "columns": {**STS, "negative": "other"}})


def test_classes_of_pairs(tmp_path):
    rows = [
        {"query": "a", "positive": ["x", "y"], "negative": "z", "topic": 3, "topics": ["3", None], "others": "b"},
        {"query": "b", "positive": "w", "topic": None, "topics": None},
    ]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    columns = {"query_class": "topic", "positive_class": "topics", "negative_class": "others"}
    dataset, _ = load(tmp_path, kind="jsonl", path=tmp_path / "pairs.jsonl", columns=columns)
    assert dict(zip(dataset.queries.texts, dataset.queries.classes, strict=True)) == {"a": "3", "b": ""}
    classes = dict(zip(dataset.corpus.texts, dataset.corpus.classes, strict=True))
    assert classes == {"x": "3", "y": "", "z": "b", "w": ""}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"topic": 0.5}, "topic is 0.5; expected a string"),
        ({}, "has no 'topic'"),
        ({"topic": "other"}, "the class of query .* is 'other' here and 'one' before; a text has one"),
        ({"topic": "one", "query": "b"}, "the class of document .* is '2' here and '1' before"),
    ],
)
def test_a_bad_class_is_named_by_file_and_line(tmp_path, row, message):
    first = {"query": "a", "positive": "x", "topic": "one", "topics": 1}
    second = {"query": "a", "positive": "x", "topics": 2 if row.get("query") else 1, **row}
    write_jsonl(tmp_path / "pairs.jsonl", [first, second])
    columns = {"query_class": "topic", "positive_class": "topics"}
    (problem,) = problems(tmp_path, kind="jsonl", path=tmp_path / "pairs.jsonl", columns=columns)
    assert re.search(rf"pairs\.jsonl:2: .*{message}", problem), problem


def test_classes_of_a_beir_folder(tmp_path, beir):
    write_jsonl(beir / "queries.jsonl", [{"_id": f"q{i}", "text": f"query {i}", "topic": i or None} for i in range(3)])
    dataset, _ = load(tmp_path, kind="beir", path=beir, class_field="topic")
    assert list(dataset.queries.classes) == ["", "1", "2"]
    assert not dataset.corpus.classes
    (problem,) = problems(tmp_path, kind="beir", path=beir, class_field="theme")
    assert "no row has a 'theme'" in problem


def write_arrow(path, rows, *, how="file") -> None:
    table = pa.Table.from_pylist(rows)
    if how == "feather":
        feather.write_feather(table, path)
        return
    make = pa.ipc.new_file if how == "file" else pa.ipc.new_stream
    with pa.OSFile(str(path), "wb") as sink, make(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


@pytest.mark.parametrize(("name", "how"), [("p.arrow", "file"), ("p.arrow", "stream"), ("p.feather", "feather")])
def test_arrow_pairs_equal_jsonl_pairs(tmp_path, name, how):
    rows = [{**row, "yes": row["yes"] if isinstance(row["yes"], list) else [row["yes"]]} for row in PAIRS]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    write_arrow(tmp_path / name, rows, how=how)
    expected, _ = load(tmp_path / "a", kind="jsonl", path=tmp_path / "pairs.jsonl", columns=COLUMNS)
    source = SOURCE.validate_python({"kind": "arrow", "path": tmp_path / name, "columns": COLUMNS})
    found = source.load(tmp_path / "b", silent)[0].dataset()
    assert found == expected
    assert source.size().pairs == len(rows)


def test_arrow_rows_have_places_and_a_damaged_file_is_told(tmp_path):
    write_arrow(tmp_path / "train.arrow", [{"query": f"q{i}", "positive": "d" if i < 4 else ""} for i in range(5)])
    assert problems(tmp_path, kind="arrow", path=tmp_path / "train.arrow") == [
        f"{tmp_path}/train.arrow row 5: positive is empty; expected a text"
    ]
    whole = (tmp_path / "train.arrow").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"ARROW1", b"nothing of the kind", b""):
        (tmp_path / "train.arrow").write_bytes(damaged)
        (problem,) = problems(tmp_path, kind="arrow", path=tmp_path)
        assert "train.arrow: not a readable Arrow file" in problem
        assert "\n" not in problem
        assert SOURCE.validate_python({"kind": "arrow", "path": tmp_path}).size().pairs == 0


def lines_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def judged_in(path) -> list[dict]:
    lines = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    return [{"query_id": q, "doc_id": d, "relevance": int(s)} for q, d, s in lines]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".arrow", ".feather"])
def test_tables_of_any_format_equal_the_beir_folder_they_were_made_of(tmp_path, suffix):
    texts = build_tiny_beir(tmp_path / "texts", documents=10)

    def write(name, rows):
        path = tmp_path / f"{name}{suffix}"
        if suffix == ".jsonl":
            write_jsonl(path, rows)
        elif suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            write_arrow(path, rows, how="stream")
        return path

    corpus = write("docs", [{"doc_id": d["_id"], **d} for d in lines_of(texts / "corpus.jsonl")])
    asked = [{"key": q["_id"], "question": q["text"]} for q in lines_of(texts / "queries.jsonl")]
    source = {
        "kind": "tables",
        "corpus": corpus,
        "queries": write("asked", asked),
        "qrels": {s: write(s, judged_in(texts / "qrels" / f"{s}.tsv")) for s in ("train", "dev", "test")},
        "columns": {"doc_id": "doc_id", "query_id": "key", "query": "question"},
        "metadata": False,
    }
    expected, _ = load(tmp_path / "a", kind="beir", path=texts)
    found, _ = load(tmp_path / "b", **source)
    assert found == expected
    sizes = [SOURCE.validate_python(fields).size() for fields in (source, {"kind": "beir", "path": texts})]
    assert sizes[0] == sizes[1]


def test_one_file_of_judgements_is_of_train_and_may_list_positives(tmp_path):
    write_jsonl(tmp_path / "c.jsonl", [{"id": i, "text": f"text {i}"} for i in range(4)])
    write_jsonl(tmp_path / "q.jsonl", [{"query_id": f"q{i}", "text": f"query {i}"} for i in range(2)])
    write_jsonl(tmp_path / "j.jsonl", [{"query_id": "q0", "hits": [0, 2]}, {"query_id": "q1", "hits": 3}])
    source = {"kind": "tables", "corpus": tmp_path / "c.jsonl", "queries": tmp_path / "q.jsonl"}
    source |= {"qrels": tmp_path / "j.jsonl", "columns": {"judged_doc": "hits", "all_relevant": True}}
    dataset, _ = load(tmp_path / "a", **source)
    assert dataset.qrels == {"train": {"q0": {"0": 1, "2": 1}, "q1": {"3": 1}}}
    source["columns"] = {"judged_doc": "hits"}
    assert problems(tmp_path / "b", **source)[0] == f"{tmp_path}/j.jsonl:1: has no 'score'; it has ['hits', 'query_id']"
    source |= {"corpus": tmp_path / "c.csv", "queries": tmp_path}
    kinds = "expected a file that ends in .jsonl, .parquet, .arrow, .feather"
    assert problems(tmp_path / "c", **source) == [
        f"{tmp_path}/c.csv: does not exist; {kinds}", f"{tmp_path}: is not one; {kinds}",
    ]  # fmt: skip
    assert SOURCE.validate_python(source).size().documents == 0


def test_other_fields_of_documents_and_queries_are_carried(tmp_path, beir):
    write_jsonl(beir / "corpus.jsonl", [{"_id": f"d{i}", "text": f"t {i}", "metadata": {"n": i}} for i in range(3)])
    write_jsonl(beir / "queries.jsonl", [{"_id": f"q{i}", "text": f"query {i}", "lang": "en"} for i in range(3)])
    dataset, _ = load(tmp_path / "a", kind="beir", path=beir, class_field="lang")
    assert list(dataset.corpus.metadata) == ['{"n": 0}', '{"n": 1}', '{"n": 2}']
    assert dataset.queries.metadata == ()
    dataset, _ = load(tmp_path / "b", kind="beir", path=beir, metadata=["lang"])
    assert dataset.corpus.metadata == ()
    assert list(dataset.queries.metadata) == ['{"lang": "en"}'] * 3
    found = problems(tmp_path / "c", kind="beir", path=beir, metadata=["lang", "page"])
    assert found == [f"{beir}/metadata: no row has a 'page' to carry"]


def test_other_columns_of_pairs_are_the_querys_and_the_first_rows_stay(tmp_path):
    rows = [
        {"query": "a", "positive": "x", "source": "web", "split": "train"},
        {"query": "a", "positive": "y", "source": "web"},
        {"query": "a", "positive": "z", "source": "book"},
        {"query": "b", "positive": "x"},
    ]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    tables, _ = SOURCE.validate_python({"kind": "jsonl", "path": tmp_path / "pairs.jsonl"}).load(tmp_path, silent)
    dataset = tables.dataset()
    assert list(dataset.queries.metadata) == ['{"source": "web"}', ""]
    assert dataset.corpus.metadata == ()
    assert tables.other_metadata == 1


def test_ids_of_a_pairs_table_stay_and_made_ones_are_those_of_the_text(tmp_path):
    rows = [
        {"query": "a", "positive": ["x", "y"], "query_id": 7, "positive_id": ["d1", "d2"]},
        {"query": "b", "positive": "x"},
    ]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    dataset, _ = load(tmp_path / "a", kind="jsonl", path=tmp_path / "pairs.jsonl")
    (made,) = dataset.qrels["train"].keys() - {"7"}
    assert dataset.qrels["train"]["7"] == {"d1": 1, "d2": 1}
    write_jsonl(tmp_path / "pairs.jsonl", [{"query": "z", "positive": "w"}, {"query": "b", "positive": "x"}])
    other, _ = load(tmp_path / "b", kind="jsonl", path=tmp_path / "pairs.jsonl")
    assert made in other.qrels["train"]


def test_folders_that_datasets_saved_are_read(tmp_path):
    import datasets

    texts = build_tiny_beir(tmp_path / "texts", documents=10)
    saved = tmp_path / "saved"
    for name in ("corpus", "queries"):
        datasets.Dataset.from_list(lines_of(texts / f"{name}.jsonl")).save_to_disk(saved / name)
    splits = {s: datasets.Dataset.from_list(judged_in(texts / "qrels" / f"{s}.tsv")) for s in ("train", "dev", "test")}
    datasets.DatasetDict(splits).save_to_disk(saved / "default")
    expected, _ = load(tmp_path / "a", kind="beir", path=texts)
    found, _ = load(tmp_path / "b", kind="hub", path=saved)
    assert found == expected
    datasets.Dataset.from_list([{"query": "q", "positive": "d"}]).save_to_disk(tmp_path / "pairs")
    pairs, _ = load(tmp_path / "c", kind="hub", path=tmp_path / "pairs", layout={"kind": "pairs"})
    assert list(pairs.qrels) == ["train"]
