import itertools

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router, StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from embedkit.core.estimate import Size
from embedkit.losses import InfoNCE
from embedkit.training import chunks as module
from embedkit.training.chunks import Chunking, divided, merged, passes
from embedkit.training.objective import Objective
from embedkit.training.stage import Train
from tests.tiny import WORDS
from tests.training.test_objective import structure

QUERIES = [" ".join(WORDS[i : i + n]) for i, n in enumerate([1, 3, 2, 9])]
DOCUMENTS = [" ".join(WORDS[i : i + n]) for i, n in enumerate([25, 2, 11, 5, 3, 28, 4])]
HOWS = [
    Chunking(),
    Chunking(size=3),
    Chunking(size=1),
    Chunking(tokens=40),
    Chunking(tokens=1),
    Chunking(size=2, tokens=64),
    Chunking(size=4, tokens=None),
]


@pytest.fixture
def cheap(monkeypatch):
    """Passes cost so little that texts of other lengths go apart."""
    monkeypatch.setattr(module, "PASS_COST", {"cpu": 4, "cuda": 4})


@pytest.fixture
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu").double().eval()  # no dropout


def columns(model) -> list[dict]:
    return [model.preprocess(QUERIES, task="query"), model.preprocess(DOCUMENTS, task="document")]


def value_and_gradients(model, how: Chunking, features) -> list[torch.Tensor]:
    objective = Objective(model, InfoNCE(), chunk_size=how.size, chunk_tokens=how.tokens)
    model.zero_grad()
    value = objective([dict(column) for column in features], structure())
    value.backward()
    return [value.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("how", HOWS, ids=repr)
def test_any_division_gives_the_loss_and_gradients_of_the_whole(how, model, cheap):
    whole = value_and_gradients(model, Chunking(tokens=None), columns(model))
    assert any(gradient.abs().sum() > 0 for gradient in whole[1:])
    found = value_and_gradients(model, how, columns(model))
    torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("how", [Chunking(size=1), Chunking(tokens=1)], ids=repr)
def test_padding_before_texts_is_cut_off_as_well(how, model):
    whole = value_and_gradients(model, Chunking(tokens=None), columns(model))
    model.tokenizer.padding_side = "left"  # this model counts positions from the first token, so none may be left
    assert not columns(model)[0]["attention_mask"][:, 0].all()
    torch.testing.assert_close(value_and_gradients(model, how, columns(model)), whole, rtol=1e-6, atol=1e-9)


def test_embeddings_come_back_in_order(model, cheap):
    objective = Objective(model, InfoNCE())
    found = objective._embed(columns(model))
    for texts, rows in zip((QUERIES, DOCUMENTS), found, strict=True):
        expected = model.encode(texts, convert_to_tensor=True, normalize_embeddings=True)
        torch.testing.assert_close(rows.detach(), expected, rtol=1e-6, atol=1e-9)


def _rows(features):
    return zip(features["input_ids"], features["attention_mask"], strict=True)


def test_passes_are_as_long_as_their_longest_text_and_the_features_are_left_alone(model, cheap):
    features = merged(columns(model))
    before = {name: value.clone() for name, value in features.items() if isinstance(value, torch.Tensor)}
    parts, places = passes(features, Chunking())
    assert len(parts) > 2
    for part in parts:
        assert part["attention_mask"].any(dim=0).all()
        assert part["modality"] == "text"
        assert part["input_ids"].shape == part["attention_mask"].shape == part["token_type_ids"].shape
    widths = [part["input_ids"].shape[1] for part in parts]
    assert widths == sorted(widths, reverse=True)
    texts = [ids[mask.bool()] for part in parts for ids, mask in _rows(part)]
    expected = [ids[mask.bool()] for ids, mask in _rows(before)]
    assert all(torch.equal(texts[place], ids) for place, ids in zip(places.tolist(), expected, strict=True))
    assert all(torch.equal(features[name], value) for name, value in before.items())


def cost(lengths, parts, per_pass):
    bounds = np.cumsum([0, *parts])
    return sum(per_pass + (b - a) * lengths[a] for a, b in itertools.pairwise(bounds))


@pytest.mark.parametrize("per_pass", [1, 7, 40, 10_000])
def test_no_division_of_the_sorted_texts_costs_less(per_pass, monkeypatch):
    monkeypatch.setattr(module, "PASS_COST", {"cpu": per_pass, "cuda": 0})
    generator = np.random.default_rng(per_pass)
    for _ in range(5):
        lengths = generator.integers(1, 20, size=9)
        order, parts = divided(lengths, Chunking())
        ordered = lengths[order]
        assert (np.diff(ordered) <= 0).all()
        assert sorted(order.tolist()) == list(range(9))
        every = (
            np.diff([0, *cuts, 9]).tolist() for count in range(9) for cuts in itertools.combinations(range(1, 9), count)
        )
        assert cost(ordered, parts, per_pass) == min(cost(ordered, some, per_pass) for some in every)


def test_one_pass_is_never_worse_by_what_it_counts():
    lengths = np.full(64, 30)
    assert divided(lengths, Chunking())[1] == [64]
    assert divided(np.array([30] * 63 + [31]), Chunking())[1] == [64]
    assert len(divided(np.array([30] * 63 + [300]), Chunking())[1]) == 2


@pytest.mark.parametrize(("size", "tokens"), [(5, "auto"), (None, 100), (5, 100), (1, 1), (1000, 10_000)])
def test_bounds_hold(size, tokens):
    lengths = np.random.default_rng(0).integers(1, 60, size=64)
    order, parts = divided(lengths, Chunking(size, tokens))
    assert sum(parts) == 64
    for rows in np.split(order, np.cumsum(parts)[:-1]):
        assert len(rows) <= (size or 64)
        assert len(rows) == 1 or tokens == "auto" or len(rows) * lengths[rows].max() <= tokens


def test_halves_down_to_one_text(model):
    objective = Objective(model, InfoNCE(), chunk_tokens=64)
    objective(columns(model), structure())
    assert objective._largest > 1
    seen = []
    while (size := objective.shrink()) is not None:
        seen.append((size, objective.chunking.tokens))
        objective(columns(model), structure())
        assert objective._largest <= size
    assert seen[-1][0] == 1
    assert all(a[0] >= 2 * b[0] and a[1] == 2 * b[1] for a, b in itertools.pairwise(seen))


def test_shrinking_runs_passes_again(model):
    objective = Objective(model, InfoNCE())
    objective(columns(model), structure())
    assert not objective.chunking.rerun
    assert objective.shrink() == objective._largest // 2
    assert objective.chunking.rerun


def test_columns_of_another_route_or_another_prompt_stay_apart(model):
    queries, documents = columns(model)
    assert merged([queries, documents]) is not None
    assert merged([{**queries, "task": "query"}, {**documents, "task": "document"}]) is None
    assert merged([{**queries, "prompt_length": 3}, {**documents, "prompt_length": 4}]) is None
    assert merged([{**queries, "prompt_length": 3}, documents]) is None


def test_a_router_is_asked_for_each_side_with_its_own_model(tiny_model, other_tiny_model, cheap):
    sides = [SentenceTransformer(str(folder), device="cpu") for folder in (tiny_model, other_tiny_model)]
    router = Router.for_query_document(query_modules=list(sides[0]), document_modules=list(sides[1]))
    model = SentenceTransformer(modules=[router], device="cpu").double().eval()
    features = columns(model)
    for rows, side, texts in zip(
        Objective(model, InfoNCE())._embed(features), sides, (QUERIES, DOCUMENTS), strict=True
    ):
        torch.testing.assert_close(rows.detach(), side.encode(texts, convert_to_tensor=True), rtol=1e-6, atol=1e-9)


def test_static_embeddings_are_never_divided():
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, **{word: i + 1 for i, word in enumerate(WORDS)}}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu").double()
    whole = value_and_gradients(model, Chunking(tokens=None), columns(model))
    for how in HOWS:
        torch.testing.assert_close(value_and_gradients(model, how, columns(model)), whole)


def test_unpadded_texts_stay_whole_unless_memory_is_to_be_saved():
    bounds = torch.tensor([0, 3, 4, 8], dtype=torch.int32)
    features = {"input_ids": torch.arange(8)[None], "cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds}
    features |= {"max_length_q": 4, "max_length_k": 4, "position_ids": torch.tensor([[0, 1, 2, 0, 0, 1, 2, 3]])}
    assert passes(features, Chunking()) == ([features], None)
    for how, expected in (
        (Chunking(size=2), [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (Chunking(tokens=3), [[0, 1, 2], [3], [4, 5, 6, 7]]),
        (Chunking(size=1, tokens=4), [[0, 1, 2], [3], [4, 5, 6, 7]]),
    ):
        parts, places = passes(features, how)
        assert places is None
        assert [part["input_ids"][0].tolist() for part in parts] == expected


def test_features_with_images_go_whole():
    features = {"input_ids": torch.ones(3, 5), "attention_mask": torch.ones(3, 5), "pixel_values": torch.ones(7, 2)}
    features["attention_mask"][1:, 2:] = 0
    assert passes(features, Chunking()) == ([features], None)
    assert merged([features, features]) is None


def test_an_estimate_knows_that_a_bound_saves_memory_and_costs_a_pass():
    sizes = {
        "m": Size(parameters=10**7, active_parameters=10**7, dimensions=256, max_tokens=256),
        "p": Size(pairs=1000, query_tokens=10, documents_per_pair=1, document_tokens=200),
    }
    common = {"model": "m", "pairs": "p", "steps": 10}
    auto, tokens, size = (
        Train(**common, **bound).estimate(sizes) for bound in ({}, {"chunk_tokens": 800}, {"chunk_size": 4})
    )
    assert tokens.memory == size.memory < auto.memory
    assert tokens.flops == size.flops == pytest.approx(auto.flops * 4 / 3)
