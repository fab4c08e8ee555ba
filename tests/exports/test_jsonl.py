"""FlagEmbedding's and Tevatron's lines, field by field."""

import pytest

from embedkit.core.errors import RecipeError
from embedkit.exports import FlagEmbedding, Tevatron, export
from tests.exports.cases import load, read


def texts(*numbers: int) -> list[str]:
    return [f"{f'title {i} ' if i % 2 else ''}text of {i}, «é»" for i in numbers]


def test_flagembedding_has_a_line_a_query_with_all_its_documents(pairs, tmp_path):
    done = export(pairs, tmp_path / "out.jsonl", format=FlagEmbedding())
    assert read(tmp_path / "out.jsonl") == [
        {"query": "question 0?", "pos": texts(0, 1), "neg": texts(2, 3, 4)},
        {"query": "question 1?", "pos": texts(5), "neg": texts(6, 7)},
        {"query": "question 3?", "pos": texts(10), "neg": texts(0, 2, 11)},
    ]
    assert done.left_out == {"queries without a negative": 1}


def test_flagembedding_has_scores_prompt_type_and_metadata_where_asked(pairs, tmp_path):
    form = FlagEmbedding(scores="teacher", prompt="Find: ", type="normal", metadata=True, negatives=2)
    export(pairs, tmp_path / "out.jsonl", format=form)
    assert read(tmp_path / "out.jsonl")[0] == {
        "query": "question 0?",
        "pos": texts(0, 1),
        "neg": texts(2, 3),
        "pos_scores": [9.0, 8.0],
        "neg_scores": [1.0, 2.0],
        "prompt": "Find: ",
        "type": "normal",
        "query_metadata": '{"user": 0}',
        "pos_metadata": ["", '{"year": 1}'],
        "neg_metadata": ['{"year": 2}', ""],
    }
    assert len(load(tmp_path / "out.jsonl", tmp_path)) == 3


def test_flagembedding_is_jsonl_alone(pairs, tmp_path):
    with pytest.raises(RecipeError, match=r"out.parquet: flagembedding is written to files that end in .jsonl"):
        export(pairs, tmp_path / "out.parquet", format=FlagEmbedding())


def passages(*numbers: int) -> list[dict]:
    return [{"docid": f"d{i}", "title": f"title {i}" if i % 2 else "", "text": f"text of {i}, «é»"} for i in numbers]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".arrow"])
def test_tevatron_has_passages_with_ids_and_titles(suffix, pairs, tmp_path):
    path = tmp_path / f"out{suffix}"
    export(pairs, path, format=Tevatron())
    first, second, _ = read(path)
    assert list(first) == ["query_id", "query", "positive_passages", "negative_passages"]
    assert (first["query_id"], first["query"]) == ("q0", "question 0?")
    assert first["positive_passages"] == passages(0, 1)
    assert first["negative_passages"] == passages(2, 3, 4)
    assert second["negative_passages"] == passages(6, 7)
    assert load(path, tmp_path).to_list() == read(path)


def test_tevatron_has_scores_and_metadata_in_its_passages(pairs, tmp_path):
    export(pairs, tmp_path / "out.jsonl", format=Tevatron(scores="miner", metadata=True))
    row = read(tmp_path / "out.jsonl")[1]
    assert row["query_metadata"] == '{"user": 1}'
    assert row["positive_passages"] == [{**passages(5)[0], "score": 0.5, "metadata": '{"year": 5}'}]
    assert [p["score"] for p in row["negative_passages"]] == [0.375, 0.25]


def test_tevatron_by_ids_has_a_corpus_of_joined_texts_beside(pairs, tmp_path):
    done = export(pairs, tmp_path / "out.jsonl", format=Tevatron(ids=True))
    assert read(done.files["train"])[1] == {
        "query_id": "q1",
        "query_text": "question 1?",
        "positive_document_ids": ["d5"],
        "negative_document_ids": ["d6", "d7"],
    }
    assert list(done.files) == ["train", "documents"]
    corpus = read(done.files["documents"])
    assert [row["docid"] for row in corpus] == [f"d{i}" for i in (0, 1, 2, 3, 4, 5, 6, 7, 10, 11)]
    assert [row["text"] for row in corpus] == texts(0, 1, 2, 3, 4, 5, 6, 7, 10, 11)
