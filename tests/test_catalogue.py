"""What is told of losses is true of them, and can be read."""

import json
import os
import re
import subprocess
import sys
from typing import get_args

import pytest
import yaml
from pydantic import TypeAdapter
from typer.testing import CliRunner

from embedkit.catalogue import Entry, losses, page, peers
from embedkit.cli.main import app
from embedkit.core.errors import RecipeError
from embedkit.losses import AnyLoss
from embedkit.training.peers import NOT_OFFERED, AnyPeer
from tests.test_public import HEAVY

OURS = get_args(get_args(AnyLoss)[0])
PEERS = get_args(get_args(AnyPeer)[0])
ENTRIES = [entry for group in losses().values() for entry in group]
PEER_ENTRIES = [entry for group in peers().values() for entry in group]
NAMES = [entry.name for entry in (*ENTRIES, *PEER_ENTRIES)]
each = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


def shown(*words: str, columns: int = 80) -> str:
    result = CliRunner().invoke(app, ["losses", *words], env={"COLUMNS": str(columns)}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_every_loss_is_listed_once():
    assert sorted(entry.name for entry in ENTRIES) == sorted(loss().kind for loss in OURS)
    assert sorted(entry.name for entry in PEER_ENTRIES) == sorted(peer.__name__ for peer in PEERS)


@each
def test_a_loss_is_told_in_a_sentence_a_formula_and_its_papers(entry: Entry):
    assert entry.summary.endswith(".")
    assert len(entry.summary) <= 100
    assert entry.formulas[0].startswith("L = ")
    assert re.match(r"(embedkit's own, after )?arXiv \d{4}\.\d{5}", entry.source)


@pytest.mark.parametrize("loss", OURS, ids=lambda loss: loss.__name__)
def test_every_field_is_explained(loss):
    for name in loss.model_fields.keys() - {"kind"}:
        assert re.search(rf"\b{name}\b", loss.__doc__), name


@pytest.mark.parametrize(
    ("name", "learns_from"),
    [
        ("infonce", "positives"),
        ("rank_kl", "target scores"),
        ("margin_mse", "target scores and mined negatives"),
        ("matryoshka", "what its loss does"),
        ("guided", "what its loss does, and a guide model"),
        ("progressive", "what its loss does"),
        ("GISTEmbedLoss", "a query, a positive and at most one negative"),
        ("MarginMSELoss", "a query, a positive, one or more negatives and the scores of both"),
        ("ContrastiveLoss", "a query and a document, relevant or not"),
        ("SoftmaxLoss", "a query and a document, and the pair's class"),
        ("BatchAllTripletLoss", "texts with classes"),
        ("MSELoss", "a query, a positive, any number of negatives and a teacher's embeddings of all"),
        ("MatryoshkaLoss", "what another loss does"),
    ],
)
def test_what_it_learns_from(name, learns_from):
    assert page(name).entry.learns_from == learns_from


def test_every_need_is_told_or_none_of_the_users_business():
    told = {"targets", "negatives", "guide"}
    assert {need for loss in OURS for need in loss().needs} == told | {"level"}


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_a_loss_with_its_defaults(name):
    example = yaml.safe_load(shown(name).partition("\nloss:\n")[2])
    ours = name in {entry.name for entry in ENTRIES}
    found = TypeAdapter(AnyLoss if ours else AnyPeer).validate_json(json.dumps(example), strict=True)
    assert example.keys() == type(found).model_fields.keys()
    required = {field for field, info in type(found).model_fields.items() if info.is_required()}
    assert found.model_dump(exclude_defaults=True).keys() <= required
    assert shown(name).count("; no default") == len(required)


@pytest.mark.parametrize("words", [[], ["--peers"], *([name] for name in NAMES)], ids=str)
def test_lines_fit_and_no_word_is_cut(words):
    narrow, wide = shown(*words), shown(*words, columns=1000)
    assert all(len(line) <= 80 or "https://" in line for line in narrow.splitlines())
    assert set(wide.split()) == set(narrow.split())
    assert "\x1b" not in narrow


def test_the_list_has_formulas_and_papers():
    text = shown(columns=200)
    for entry in ENTRIES:
        assert all(part in text for part in (entry.name, entry.summary, *entry.formulas, entry.source))
    assert "`embedkit losses --peers`" in text


def test_a_page_has_the_whole_docstring():
    for loss in OURS:
        text = " ".join(shown(loss().kind, columns=1000).split())
        for line in loss.__doc__.replace(" [R]\n", "\n").splitlines():
            assert " ".join(line.split()) in text


def test_a_loss_is_found_by_its_name_in_python():
    assert page("InfoNCE") == page("infonce")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("infonec", "no loss is named 'infonec'; did you mean 'infonce'?"),
        ("MarginMSELos", "did you mean 'MarginMSELoss'?"),
        ("zzz", "no loss is named 'zzz'; `embedkit losses`"),
        ("DenoisingAutoEncoderLoss", NOT_OFFERED["DenoisingAutoEncoderLoss"]),
    ],
)
def test_an_unknown_name_is_one_line(name, message):
    with pytest.raises(RecipeError, match=re.escape(message)) as error:
        page(name)
    assert "\n" not in str(error.value)


def test_the_command_is_light_and_a_wrong_name_ends_with_2():
    code = f"""
import sys
sys.argv = ["embedkit", "losses", "infonec"]
from embedkit.cli import main
try:
    main()
finally:
    print("HEAVY", [m for m in {HEAVY!r} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 2
    assert done.stdout == "HEAVY []\n"
    assert done.stderr.startswith("error: no loss is named 'infonec'; did you mean 'infonce'?")
    assert done.stderr.count("\n") == 1
