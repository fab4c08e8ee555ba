"""Cross-encoders as teachers, on a random tiny one."""

from pathlib import Path

import numpy as np
import pytest

from embedkit.core.errors import ModelError
from embedkit.core.progress import silent
from embedkit.core.spec import External, marked
from embedkit.mining.cross_encoder import load, score_lists
from embedkit.mining.teacher import CrossEncoder, Folder, Hub
from tests.tiny import WORDS

QUERIES = ["list file", "stop", "show page table"]
DOCUMENTS = ["list file folder", "stop service", "page", " ".join(WORDS[:12])]
LISTS = [np.array([3, 0]), np.array([], dtype=np.int64), np.array([1, 2, 0])]


def build(folder: Path, *, labels: int = 1, safe: bool = True) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    state = torch.get_rng_state()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
        num_labels=labels,
    )
    model = BertForSequenceClassification(config)
    torch.set_rng_state(state)
    model.save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}, model_max_length=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("cross-encoder"))


def test_scores_are_the_raw_logits_of_each_pair_alone(folder):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    found = score_lists(load(Folder(path=folder), max_length=None), QUERIES, DOCUMENTS, LISTS, 2, silent)
    assert [len(scores) for scores in found] == [2, 0, 3]
    for query, rows, scores in zip(QUERIES, LISTS, found, strict=True):
        for row, score in zip(rows, scores, strict=True):
            with torch.no_grad():
                logit = model(**tokenizer(query, DOCUMENTS[row], return_tensors="pt")).logits.item()
            assert score == pytest.approx(logit, abs=1e-4)
    assert len({round(float(s), 4) for scores in found for s in scores}) == 5


def test_a_shorter_limit_reads_less(folder):
    whole = score_lists(load(Folder(path=folder), max_length=None), QUERIES[:1], DOCUMENTS, [np.array([3])], 2, silent)
    short = score_lists(load(Folder(path=folder), max_length=6), QUERIES[:1], DOCUMENTS, [np.array([3])], 2, silent)
    assert whole[0][0] != pytest.approx(short[0][0], abs=1e-4)


class Counting:
    """A cross-encoder that counts what it is asked; scores are of no importance."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def predict(self, pairs, **options):
        self.asked += pairs
        return np.array([len(query) + 100 * len(document) for query, document in pairs], dtype=np.float32)


def test_a_pair_of_texts_is_scored_once():
    model, documents = Counting(), ["one", "two", "one", "three"]
    lists = [np.array([0, 2, 1, 0]), np.array([3, 2]), np.array([0])]
    found = score_lists(model, ["a", "b", "a"], documents, lists, 2, silent)
    assert [scores.tolist() for scores in found] == [[301, 301, 301, 301], [501, 301], [301]]
    assert sorted(model.asked) == [("a", "one"), ("a", "two"), ("b", "one"), ("b", "three")]


@pytest.mark.parametrize("size", [64, 128, 640])
def test_scores_do_not_depend_on_how_many_lists_are_asked_for_at_a_time(folder, size):
    """To the last bit, if they are asked for in multiples of 64."""
    rng = np.random.default_rng(0)
    documents = [" ".join(rng.choice(WORDS, rng.integers(1, 12))) for _ in range(50)]
    queries = [" ".join(rng.choice(WORDS, rng.integers(1, 6))) for _ in range(200)]
    lists = [rng.choice(50, rng.integers(0, 6), replace=False) for _ in queries]
    model = load(Folder(path=folder), max_length=None)
    whole = score_lists(model, queries, documents, lists, 8, silent)
    starts = range(0, len(queries), size)
    parts = [score_lists(model, queries[i : i + size], documents, lists[i : i + size], 8, silent) for i in starts]
    assert [s.tolist() for part in parts for s in part] == [s.tolist() for s in whole]


def test_half_precision_is_close(folder):
    exact, half = (
        score_lists(load(Folder(path=folder), max_length=None, precision=p), QUERIES, DOCUMENTS, LISTS, 2, silent)
        for p in ("float32", "bfloat16")
    )
    for one, two in zip(exact, half, strict=True):
        np.testing.assert_allclose(two, one, atol=0.1)
    assert any(one.tolist() != two.tolist() for one, two in zip(exact, half, strict=True))


def test_scores_that_are_no_numbers_are_one_line(tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(build(tmp_path) / "model.safetensors")
    weights["classifier.weight"][:] = float("nan")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = load(Folder(path=tmp_path), max_length=None)
    with pytest.raises(ModelError, match=r"gives scores that are not finite for 5 of 5 pairs, the first 'l") as error:
        score_lists(model, QUERIES, DOCUMENTS, LISTS, 2, silent)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


def test_the_stage_opens_it(folder, context):
    score = CrossEncoder(source=Folder(path=folder)).open(DOCUMENTS, {}, context)
    assert [len(scores) for scores in score(QUERIES, LISTS)] == [2, 0, 3]


def test_its_folder_enters_the_key(folder):
    assert [value for _, value, _ in marked(CrossEncoder(source=Folder(path=folder)), External)] == [folder]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": 3}, "gives 3 scores a pair; a teacher gives one"),
        ({"safe": False}, "pickle format, which can run code"),
    ],
)
def test_what_cannot_teach_is_refused(tmp_path, change, message):
    with pytest.raises(ModelError, match=message):
        load(Folder(path=build(tmp_path, **change)), max_length=None)


def test_weights_of_other_runtimes_are_no_pickles(tmp_path):
    build(tmp_path)
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "openvino_model.bin").write_bytes(b"weights")
    assert load(Folder(path=tmp_path), max_length=None).num_labels == 1


def test_damaged_weights_are_one_line(tmp_path):
    build(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"not a cross-encoder that can be loaded safely: \w") as error:
        load(Folder(path=tmp_path), max_length=None)
    assert "\n" not in str(error.value)


def test_an_error_without_words_is_named(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError

    monkeypatch.setattr("embedkit.mining.cross_encoder.CrossEncoder", fail)
    with pytest.raises(ModelError, match="RuntimeError"):
        load(Folder(path=tmp_path), max_length=None)


def test_a_hub_model_that_cannot_be_had_is_one_line():
    with pytest.raises(ModelError, match=r"no/such at 0{40}: cannot be fetched .*kind: folder") as error:
        load(Hub(name="no/such", revision="0" * 40), max_length=None)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="not a cross-encoder that can be loaded safely"):
        load(Folder(path=tmp_path), max_length=None)
