"""The command `embedkit export`."""

import sys

import pytest

from embedkit.cli.main import main
from tests.exports.cases import read


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["embedkit", "export", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return (stopped.value.code, *capsys.readouterr())

    return run


def test_it_writes_and_tells(command, pairs, tmp_path):
    to = tmp_path / "train.parquet"
    code, out, _ = command(pairs, "--format", "n-tuple", "--to", to, "--negatives", 2, "--scores", "teacher", "--ids")
    assert code == 0
    assert out.splitlines()[0] == "4 rows of 3 queries, n-tuple"
    assert out.splitlines()[-3:] == [
        f"wrote {to.with_stem(name)}" for name in ("train", "train-queries", "train-documents")
    ]
    assert read(to)[0] == {
        "query_id": "q0",
        "positive_id": "d0",
        "negative_ids": ["d2", "d3"],
        "scores": [9.0, 1.0, 2.0],
    }


def test_mistakes_are_one_line_and_code_2(command, pairs, tmp_path):
    to = tmp_path / "train.jsonl"
    for words, message in (
        (("--format", "triplets"), "error: format 'triplets': there is none of that name; did you mean 'triplet'?"),
        (("--format", "triplet", "--prompt", "x"), "error: format triplet: has no option 'prompt'"),
        (("--format", "triplet", "--private"), "error: --private: goes with --push-to-hub"),
        (("--format", "triplet", "--push-to-hub", "me/x"), "error: me/x: HF_HUB_OFFLINE is set"),
    ):
        code, _, err = command(pairs, "--to", to, *words)
        assert (code, err.startswith(message), err.count("\n")) == (2, True, 1), err
        assert not to.exists()


def test_fills_can_be_left_out_and_prompts_given(command, pairs, tmp_path):
    to = tmp_path / "train.jsonl"
    code, out, _ = command(pairs, "--format", "flagembedding", "--to", to, "--without-fills", "--prompt", "Find: ")
    assert code == 0
    assert "left out: 1 negatives that a fill policy put there" in out
    assert [len(row["neg"]) for row in read(to)] == [3, 1, 3]
    assert {row["prompt"] for row in read(to)} == {"Find: "}
