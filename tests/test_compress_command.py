"""The command `embedkit compress`: variants in words, its table and page, and mistakes in one line."""

import json
from pathlib import Path

import pytest
import typer
import yaml
from pydantic import TypeAdapter
from typer.testing import CliRunner

from embedkit.cli.compression import compress
from embedkit.core.errors import EmbedkitError, RecipeError
from embedkit.evaluation.compression.variants import (
    PCA,
    PQ,
    AnyVariant,
    Binary,
    Float16,
    Float32,
    Int8,
    Rescored,
    Truncate,
)
from embedkit.oneshot.compress import variant_of
from embedkit.recipe import load_recipe

FEW = ("--variant", "int8=int8", "--variant", "truncate=8+binary+rescore=int8", "--rounds", "1", "--split", "dev")


@pytest.fixture
def command(monkeypatch, tmp_path, tiny_model, tiny_beir):
    """Runs `embedkit compress` in a folder of its own with the tiny model; its output."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(compress)

    def run(*words: object, data: object = tiny_beir) -> str:
        found = CliRunner().invoke(app, [str(word) for word in (data, "--model", tiny_model, *words)])
        if found.exception is not None:
            raise found.exception
        return found.stdout

    return run


@pytest.mark.parametrize(
    ("words", "variant"),
    [
        ("float16", Float16()),
        ("int8=codes", Int8(queries="codes")),
        ("pq=48", PQ(parts=48)),
        ("truncate=64", Truncate(dimensions=64)),
        ("pca=64+int8=int8", PCA(dimensions=64, then=Int8(queries="int8"))),
        ("binary+rescore=binary", Rescored(first=Binary(), by=Binary())),
        ("truncate=64+rescore=float32", Rescored(first=Truncate(dimensions=64), by=Float32())),
        (
            "truncate=64+binary+rescore=truncate=64+int8",
            Rescored(first=Truncate(dimensions=64, then=Binary()), by=Truncate(dimensions=64, then=Int8())),
        ),
        ("{kind: rescored, first: {kind: binary}, factor: 9}", Rescored(first=Binary(), factor=9)),
    ],
)
def test_variants_in_words(words, variant):
    assert TypeAdapter(AnyVariant).validate_python(variant_of(words)) == variant


def test_a_factor_is_that_of_what_is_rescored():
    assert variant_of("binary+rescore=int8", 7)["factor"] == 7
    assert "factor" not in variant_of("binary", 7)


def test_a_table_and_a_page(command):
    shown = command(*FEW)
    assert "24 dev queries, 60 documents, 32 dimensions, ranked 60 deep" in shown
    for told in ("float32", "int8, int8 queries", "truncate 8 + binary, rescored x4 by int8", "nDCG@10", "1 thr."):
        assert told in shown
    page = Path("runs/compress/compression.html").read_text()
    assert "truncate 8 + binary, rescored x4 by int8" in page
    assert "<svg" in page
    assert Path("runs/compress/compressed/per_query.parquet").is_file()


def test_json_holds_all_figures(command):
    last = json.loads(command(*FEW, "--json").splitlines()[-1])
    assert last["event"] == "compressed"
    assert last["variants"][0]["name"] == "float32"
    assert last["speed"]["rounds"] == 1
    assert Path(last["page"]).is_file()


def test_the_recipe_comes_to_the_same(command):
    command(*FEW, "--recipe-out", "compress.yaml", "--rescore-factor", "2", "--metric", "mrr@5")
    stages = load_recipe("compress.yaml").stages
    assert stages["compressed"].variants[1].factor == 2
    assert stages["compressed"].metrics == ("mrr@5",)
    assert yaml.safe_load(Path("compress.yaml").read_text())["stages"]["data"]["exact_duplicates"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--variant", "int9"), r"--variant int9: .*no kind 'int9'; did you mean 'int8'\?"),
        (("--variant", "int8+binary"), r"found 'binary' after 'int8'; only truncate and pca come before something"),
        (("--variant", "truncate"), r"--variant truncate: says no dimensions; for instance truncate=64"),
        (("--variant", "pca=8+pq"), r"says no parts; for instance pq=64"),
        (("--variant", "float32"), r"no kind 'float32'"),
        (("--variant", "truncate=64"), r"truncate 64: the model's vectors have 32 dimensions"),
        (("--variant", "int8", "--metric", "ndcg"), r"--metric "),
        (("--variant", "int8", "--variant", "int8"), r"'int8' is there twice"),
        (("--split", "train", "--model", "nothing"), r"--model nothing: no such folder"),
    ],
)
def test_mistakes_are_one_line(command, words, message):
    with pytest.raises(EmbedkitError, match=message) as told:
        command(*words)
    assert len(told.value.problems) == 1
    assert "stages." not in str(told.value)


def test_data_that_is_not_there_is_one_line(command):
    with pytest.raises(RecipeError, match="DATA nowhere: no such file or folder"):
        command(data="nowhere")
