"""Tables as `datasets` reads them from a hub repository: with the types they were given."""

import hashlib
import json

import datasets
import pyarrow as pa
import pytest

from embedkit.evaluation.mirror.layout import HubLayout

SCHEMA = pa.schema([("_id", pa.string()), ("text", pa.string())])
ROWS = [("007", "2020-01-01"), ("1e5", "null"), ("ü", 'a "b"\n c')]


def test_configs_splits_and_strings_are_read_as_written(tmp_path):
    layout = HubLayout(tmp_path / "data")
    assert layout.write("corpus", "corpus", SCHEMA, ROWS) == 3
    layout.write("default", "test", SCHEMA, ROWS[:1])
    layout.write("default", "dev", SCHEMA, ROWS[1:])
    layout.finish("beir")
    place, cache = str(tmp_path / "data"), str(tmp_path / "cache")
    assert sorted(datasets.get_dataset_config_names(place)) == ["corpus", "default"]
    corpus = datasets.load_dataset(place, "corpus", split="corpus", cache_dir=cache)
    assert [(row["_id"], row["text"]) for row in corpus] == ROWS
    both = datasets.load_dataset(place, "default", cache_dir=cache)
    assert {split: table["_id"][:] for split, table in both.items()} == {"test": ["007"], "dev": ["1e5", "ü"]}


def test_the_revision_is_a_digest_of_the_content(tmp_path):
    def revision(name, rows, split="test"):
        layout = HubLayout(tmp_path / name)
        layout.write("default", split, SCHEMA, rows)
        return layout.finish("beir")

    lines = [["default", "test", ["_id", "text"]], *map(list, ROWS)]
    slow = hashlib.sha256("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode())
    assert revision("a", iter(ROWS)) == f"beir-{slow.hexdigest()[:16]}"
    assert len({revision("b", ROWS), revision("c", ROWS[::-1]), revision("d", ROWS, "dev"), revision("e", [])}) == 4


def test_large_tables_are_written_group_by_group(tmp_path, monkeypatch):
    monkeypatch.setattr("embedkit.evaluation.mirror.layout._GROUP", 4)
    layout, taken = HubLayout(tmp_path / "data"), []

    def rows():
        for number in range(10):
            taken.append(number)
            yield (str(number), "text")

    assert layout.write("default", "test", SCHEMA, rows()) == len(taken) == 10
    table = pa.parquet.ParquetFile(tmp_path / "data" / "default" / "test.parquet")
    assert table.metadata.num_row_groups == 3
    assert table.read().column("_id").to_pylist() == [str(n) for n in range(10)]


def test_a_value_of_another_type_is_refused(tmp_path):
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        HubLayout(tmp_path / "data").write("default", "test", SCHEMA, [(1.5, "x")])
