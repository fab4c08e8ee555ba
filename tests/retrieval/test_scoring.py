import pytest

from embedkit.core.dataset import Dataset, read_dataset
from embedkit.core.errors import DataError, RecipeError
from embedkit.measures.ranking import per_query
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.index import Faiss
from embedkit.retrieval.loading import load_model
from embedkit.retrieval.scoring import score_split, search_split


@pytest.fixture(scope="module")
def dataset(tiny_dataset):
    return read_dataset(tiny_dataset.path)


def test_scores_are_those_of_a_plain_search(tiny_model, dataset, context):
    model = load_model(tiny_model, device="cpu")
    qrels = dataset.qrels["dev"]
    texts = dict(zip(dataset.queries.ids, dataset.queries.texts, strict=True))
    similarities = model.similarity(
        model.encode_query([texts[query] for query in qrels]), model.encode_document(dataset.corpus.full_texts())
    )
    run = {
        q: dict(zip(dataset.corpus.ids, row.tolist(), strict=True)) for q, row in zip(qrels, similarities, strict=True)
    }
    metrics = ("ndcg@10", "mrr@10", "recall@50")
    expected = per_query(run, qrels, metrics)
    for index in (None, Faiss()):
        found = score_split(open_encoder(tiny_model, context), dataset, "dev", metrics=metrics, index=index)
        assert list(found) == list(qrels)
        for query, values in expected.items():
            assert found[query] == pytest.approx(values)


def test_a_metric_deeper_than_top_k_is_honest(tiny_model, dataset, context):
    found = score_split(open_encoder(tiny_model, context), dataset, "test", metrics=("recall@60",), top_k=1)
    assert {values["recall@60"] for values in found.values()} == {1.0}


def test_a_run_holds_the_best_documents(tiny_model, dataset, context):
    run = search_split(open_encoder(tiny_model, context), dataset, "test", top_k=5)
    assert run.keys() == dataset.qrels["test"].keys()
    assert all(len(docs) == 5 and list(docs.values()) == sorted(docs.values(), reverse=True) for docs in run.values())


def test_what_cannot_be_scored_is_told(tiny_model, dataset, context):
    encoder = open_encoder(tiny_model, context)
    train_only = Dataset(dataset.corpus, dataset.queries, {"train": dataset.qrels["train"]})
    with pytest.raises(DataError, match="split 'dev' has no judged queries; this dataset has train"):
        score_split(encoder, train_only, "dev")
    with pytest.raises(RecipeError, match="did you mean 'ndcg@10'"):
        score_split(encoder, dataset, "dev", metrics=("ndgc@10",))
