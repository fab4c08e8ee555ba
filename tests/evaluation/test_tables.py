# ruff: noqa: E501
"""Tables in all formats give the same cells; what is wrong with one is a line with file, row and column."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedkit.core.errors import DataError
from embedkit.evaluation import tables
from embedkit.evaluation.tables import read_columns

ROWS = [
    {"text": 'a "quoted" text, with a comma', "label": "x", "score": 1.5},
    {"text": "zwei Wörter", "label": "y", "score": -2.0},
]


def write(path, rows):
    names = list(rows[0])
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".tsv":
        lines = ["\t".join(names), *("\t".join(str(row[n]) for n in names) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        quoted = [",".join('"' + str(row[n]).replace('"', '""') + '"' for n in names) for row in rows]
        path.write_text("\n".join([",".join(names), *quoted]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_cells(tmp_path, suffix):
    found = read_columns(write(tmp_path / f"t{suffix}", ROWS), {"text": tables.text, "score": tables.number})
    assert found == {"text": [row["text"] for row in ROWS], "score": [1.5, -2.0]}


def test_labels_of_csv_are_texts_whatever_they_look_like(tmp_path):
    path = write(tmp_path / "t.csv", [{"label": label} for label in ("01", "1", "true", "1e3")])
    assert read_columns(path, {"label": tables.label}) == {"label": ["01", "1", "true", "1e3"]}


def test_a_quoted_cell_may_hold_lines_and_a_file_a_byte_order_mark(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbftext,n\n"two\nlines",1\n')
    assert read_columns(tmp_path / "t.csv", {"text": tables.text, "n": tables.whole}) == {
        "text": ["two\nlines"],
        "n": [1],
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "txt,label\na,b\n", "t.csv: has no column 'text'; it has ['txt', 'label']; did you mean 'txt'?"),
        ("t.csv", "text,label\na,b\n ,c\n", "t.csv row 2: text is ' '; expected a text"),
        ("t.csv", "text,label\na,b\nc\n", "t.csv: not a readable .csv table (CSV parse error: "),
        ("t.csv", "text,label\n", "t.csv: has no rows"),
        ("t.csv", "text,label,text\na,b,c\n", "t.csv: has several columns 'text'; expected one"),
        ("t.tsv", "label\tlabel\ttext\na\tb\tc\n", "t.tsv: has several columns 'label'; expected one"),
        ("t.csv", "", "t.csv: not a readable .csv table (Empty CSV file)"),
        ("t.csv", b"text,label\n\xff\xfe,b\n", "t.csv: not a readable .csv table ("),
        ("t.jsonl", '{"text": "a", "label": "b"}\n{"text": "a"\n', "t.jsonl:2: not JSON ("),
        ("t.jsonl", "[1]\n", "t.jsonl:1: found a JSON list; expected one object a line"),
        ("t.jsonl", '{"text": "a", "label": "b"}\n{"text": 7, "label": "b"}', "t.jsonl row 2: text is 7; expected a text"),
        ("t.jsonl", '{"text": "a", "label": "b"}\n{"text": "a"}', "t.jsonl row 2: label is None; expected a label"),
        ("t.parquet", "no", "t.parquet: not a readable .parquet table ("),
        ("t.xlsx", "", "t.xlsx: not a table that is read; expected a file that ends in .csv, .tsv, .jsonl, .parquet"),
        ("absent.csv", None, "absent.csv: no such file; expected a table"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        read_columns(tmp_path / name, {"text": tables.text, "label": tables.label})
    (line,) = error.value.problems
    assert line.removeprefix(f"{tmp_path}/").startswith(message)
    assert "\n" not in line


def test_all_bad_cells_are_told_and_long_ones_are_cut(tmp_path):
    path = write(tmp_path / "t.jsonl", [{"n": "x" * 100}, {"n": 1}, {"n": True}, {"n": None}])
    with pytest.raises(DataError) as error:
        read_columns(path, {"n": tables.number})
    assert [line.removeprefix(f"{path} ") for line in error.value.problems] == [
        f"row 1: n is {'x' * 100!r:.60}...; expected a number",
        "row 3: n is True; expected a number",
        "row 4: n is None; expected a number",
    ]


@pytest.mark.parametrize(
    ("cell", "good", "bad"),
    [
        (tables.binary, {0: 0, "1": 1, True: 1, "false": 0, "1.0": 1}, [2, "yes", None, -1]),
        (tables.whole, {3: 3, "4": 4, 5.0: 5}, [1.5, "x", None, float("nan"), True]),
        (tables.identifier, {"a": "a", 7: "7"}, [None, "", " ", True, 1.5]),
        (tables.label, {"a": "a", 7: "7", False: "False"}, [None, "", 1.5]),
        (tables.between(0, 5), {"0": 0.0, 5: 5.0}, [5.1, -0.1, "inf", None]),
    ],
)
def test_cells(cell, good, bad):
    assert {found: cell(found) for found in good} == good
    for found in bad:
        with pytest.raises(ValueError, match="expected"):
            cell(found)


def test_lists():
    assert tables.texts(None) == []
    assert tables.texts("a") == ["a"]
    assert tables.texts(["a", "b"]) == ["a", "b"]
    assert tables.identifiers([1, "b"]) == ["1", "b"]
    assert tables.wholes([1, 0.0]) == [1, 0]
    for cell, found in ((tables.texts, 5), (tables.texts, ["a", ""]), (tables.identifiers, "ab"), (tables.wholes, 1)):
        with pytest.raises(ValueError, match="expected"):
            cell(found)
