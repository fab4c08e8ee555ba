import pytest
from transformers import AutoTokenizer, LlamaTokenizer

from embedkit.core.errors import ModelError
from embedkit.models.stage import Backbone
from embedkit.models.tokens import has_end, set_end, set_padding
from embedkit.retrieval.loading import load_model
from tests.tiny_backbones import build_tiny_decoder


@pytest.fixture
def tokenizer(tiny_decoder):
    return AutoTokenizer.from_pretrained(tiny_decoder)


def test_the_end_token_pads_where_nothing_else_does(tokenizer):
    set_padding(tokenizer)
    assert tokenizer.pad_token == "<pad>"
    tokenizer.pad_token = None
    set_padding(tokenizer)
    assert tokenizer.pad_token == "</s>"
    tokenizer.pad_token = tokenizer.eos_token = None
    with pytest.raises(ModelError, match="neither a padding token nor an end token"):
        set_padding(tokenizer)
    with pytest.raises(ModelError, match="end_token: the model's tokenizer has no end token"):
        set_end(tokenizer)


def test_a_text_ends_once_and_also_where_it_is_cut(tokenizer):
    set_end(tokenizer)  # it does already
    assert tokenizer("list file")["input_ids"].count(3) == 1
    tokenizer.backend_tokenizer.post_processor = None
    assert not has_end(tokenizer)
    before = tokenizer("list file show")["input_ids"]
    set_end(tokenizer)
    assert tokenizer("list file show")["input_ids"] == [*before, 3]
    assert tokenizer("list file show", truncation=True, max_length=3)["input_ids"] == [*before[:2], 3]


def test_what_begins_a_text_stays(tokenizer):
    from tokenizers import processors

    begin = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    tokenizer.backend_tokenizer.post_processor = begin
    set_end(tokenizer)
    ids = tokenizer("list")["input_ids"]
    assert (ids[0], ids[-1], len(ids)) == (2, 3, 3)


def test_a_tokenizer_that_makes_its_own_template(tmp_path):
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "a": 4, "▁a": 5}
    llama = LlamaTokenizer(vocab=words, merges=[("▁", "a")], bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    assert not has_end(llama)
    set_end(llama)
    assert llama("a")["input_ids"] == [*([1] if llama("a")["input_ids"][0] == 1 else []), 5, 2]
    llama.save_pretrained(tmp_path)
    assert has_end(AutoTokenizer.from_pretrained(tmp_path))


def test_a_backbone_keeps_both(make, tmp_path, tiny_decoder):
    base = build_tiny_decoder(tmp_path / "base")
    model = load_model(base, device="cpu")
    model.tokenizer.pad_token = None
    model.tokenizer.backend_tokenizer.post_processor = None
    model.save(str(tmp_path / "bare"), create_model_card=False)
    out = make(Backbone(model="base", pooling="lasttoken", end_token=True), base=tmp_path / "bare")
    found = load_model(out, device="cpu")
    assert found.tokenizer.pad_token == "</s>"
    assert has_end(found.tokenizer)
    texts = ["list file", "show", "copy move find sort"]
    expected = load_model(tiny_decoder, device="cpu").encode(texts)  # whose tokenizer had both, beside the same weights
    assert abs(found.encode(texts) - expected).max() < 1e-5
    plain = make(Backbone(model="base", pooling="lasttoken"), base=tmp_path / "bare")
    assert abs(load_model(plain, device="cpu").encode(texts) - expected).max() > 1e-2
