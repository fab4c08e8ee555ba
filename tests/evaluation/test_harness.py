"""mteb on our data and vectors: equal to mteb on its own, and free of its identity trap."""

import json
import random
import shutil

import datasets
import numpy as np
import pytest
import torch

from embedkit.core.dataset import Dataset, read_dataset
from embedkit.core.errors import StageError
from embedkit.core.records import Corpus, Queries
from embedkit.evaluation.containment import contained
from embedkit.measures.ranking import mean_scores, per_query
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.identity import read_config
from embedkit.retrieval.loading import load_model

with contained():
    import mteb
    from mteb._create_dataloaders import _corpus_to_dict

    from embedkit.evaluation.harness import DatasetTask, check_agreement, evaluate, our_name
    from embedkit.evaluation.model import StoredModel, column, document_texts


@pytest.fixture
def dataset(tiny_dataset):
    return read_dataset(tiny_dataset.path)


@pytest.fixture(autouse=True)
def _contained():
    with contained():
        yield


def model_of(model, context, prompts=None):
    return StoredModel(open_encoder(model, context), read_config(model).named_prompts, prompts or {})


def result_of(model, task, context, prompts=None):
    """Our result on a task of one part: mteb's scores, and the part."""
    (part,) = evaluate(model_of(model, context, prompts), task, context.work).parts
    return part.mteb, part


def mteb_alone(model, task, cache=None):
    """The main score as mteb finds it for a plainly loaded model."""
    result = mteb.evaluate(load_model(model, device="cpu"), task, cache=cache, show_progress_bar=False)
    return result.task_results[0].get_score()


def with_prompts(model, folder, prompts, **config):
    """A copy of the model with prompts."""
    copied = shutil.copytree(model, folder)
    path = copied / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": prompts, **config}))
    return copied


def test_scores_are_those_of_mteb_with_a_plainly_loaded_model(tiny_model, dataset, context):
    task = DatasetTask(dataset, "test", "r")
    scores, part = result_of(tiny_model, task, context)
    assert scores["main_score"] == scores["ndcg_at_10"] == mteb_alone(tiny_model, task)
    assert 0.05 < scores["main_score"] < 1
    assert part.run.keys() == dataset.qrels["test"].keys() == part.texts.keys()
    assert all(len(documents) == len(dataset.corpus) for documents in part.run.values())
    assert part.qrels == dataset.qrels["test"]


def test_prompts_and_similarity_are_the_models_own(tiny_model, dataset, tmp_path, context):
    model = with_prompts(
        tiny_model, tmp_path / "m", {"query": "list log ", "document": "memory "}, similarity_fn_name="dot"
    )
    task = DatasetTask(dataset, "test", "r")
    scores, _ = result_of(model, task, context)
    assert scores["main_score"] == mteb_alone(model, task) != mteb_alone(tiny_model, task)


@pytest.mark.parametrize("name", ["LocalRetrieval-query", "LocalRetrieval", "Retrieval-query", "Retrieval"])
def test_prompts_for_a_task_or_a_type_of_task_are_found_as_mteb_finds_them(
    tiny_model, dataset, tmp_path, context, name, monkeypatch
):
    from mteb.models import abs_encoder  # a task of ours is none that mteb knows: it would drop its prompt

    monkeypatch.setattr(abs_encoder.AbsEncoder, "validate_task_to_prompt_name", lambda prompts, **_: (prompts, []))
    model = with_prompts(tiny_model, tmp_path / "m", {name: "list log ", "query": "disk "})
    task = DatasetTask(dataset, "test", "r")
    scores, _ = result_of(model, task, context)
    assert scores["main_score"] == mteb_alone(model, task) != mteb_alone(tiny_model, task)


def test_prompts_of_the_task_take_the_place_of_all_others(tiny_model, dataset, tmp_path, context):
    task = DatasetTask(dataset, "test", "r")
    prompted = with_prompts(tiny_model, tmp_path / "m", {"query": "list log ", "document": "memory "})
    other = with_prompts(tiny_model, tmp_path / "n", {"query": "disk "})
    scores, _ = result_of(other, task, context, {"query": "list log ", "document": "memory "})
    assert scores == result_of(prompted, task, context)[0]
    assert scores["main_score"] != mteb_alone(other, task)


def test_per_query_scores_average_to_those_of_mteb(tiny_model, dataset, context):
    metrics = ("ndcg@10", "mrr@10", "recall@100", "map@100", "ndcg@3", "recall@5")
    scores, part = result_of(tiny_model, DatasetTask(dataset, "dev", "r"), context)
    means = mean_scores(per_query(part.run, dataset.qrels["dev"], metrics))
    for metric in metrics:
        assert means[metric] == pytest.approx(scores[metric.replace("@", "_at_")], abs=1e-5)
    check_agreement(means, scores)


def test_judged_pairs_are_scored_whether_retrieved_or_not(tiny_model, dataset, context):
    _, part = result_of(tiny_model, DatasetTask(dataset, "test", "r"), context)
    assert {query: set(docs) for query, docs in part.judged.items()} == {q: set(d) for q, d in part.qrels.items()}
    for query, docs in part.judged.items():
        assert docs == {doc: part.run[query][doc] for doc in docs}


@pytest.mark.parametrize(
    ("metric", "ours"), [("ndcg_at_10", "ndcg@10"), ("map_at_1000", "map@1000"), ("hit_rate_at_5", "hit_rate_at_5"),
                         ("cosine_spearman", "cosine_spearman"), ("ndcg_at_", "ndcg_at_")],
)  # fmt: skip
def test_metrics_have_our_names_where_they_are_ours(metric, ours):
    assert our_name(metric) == ours


def test_disagreement_is_an_error():
    check_agreement({"ndcg@10": 0.50004, "ndcg@7": 0.1}, {"ndcg_at_10": 0.5, "ndcg_at_100": 0.9})
    with pytest.raises(StageError, match=r"ndcg@10 is 0\.500200 from per-query scores but 0\.500000 by mteb"):
        check_agreement({"ndcg@10": 0.5002}, {"ndcg_at_10": 0.5})


def test_the_identity_trap_is_mtebs_and_not_ours(tiny_model, other_tiny_model, dataset, tmp_path, context):
    """With a result cache, mteb gives a second local model the score of the first; not if it is ours."""
    task = DatasetTask(dataset, "test", "r")
    true = [mteb_alone(model, task) for model in (tiny_model, other_tiny_model)]
    assert true[0] != true[1]
    cache = mteb.ResultCache(tmp_path / "plain")
    assert [mteb_alone(model, task, cache) for model in (tiny_model, other_tiny_model)] == [true[0], true[0]]
    cache = mteb.ResultCache(tmp_path / "ours")
    ours = [model_of(model, context) for model in (tiny_model, other_tiny_model)]
    found = [mteb.evaluate(e, task, cache=cache, show_progress_bar=False).task_results[0].get_score() for e in ours]
    assert found == true
    assert len({model.mteb_model_meta.revision for model in ours}) == 2


def test_another_prompt_is_another_identity(tiny_model, tmp_path, context):
    plain, asked = model_of(tiny_model, context), model_of(tiny_model, context, {"query": "disk "})
    named = model_of(with_prompts(tiny_model, tmp_path / "m", {"Retrieval": "disk "}), context)
    assert len({model.identity for model in (plain, asked, named)}) == 3
    assert model_of(shutil.copytree(tiny_model, tmp_path / "n"), context).identity == plain.identity


def test_graded_queries_without_qrels_and_empty_titles(tiny_model, tmp_path, context):
    """Only judged queries are searched; documents are the texts that mining encodes, with and without a title."""
    dataset = Dataset(
        Corpus(["a", "b", "c"], ["list", "", "open "], ["file folder", " copy image ", "disk"]),
        Queries(["q0", "q1", "q2"], ["list file", "copy image", "open disk"]),
        {"test": {"q2": {"c": 2, "a": 1}, "q0": {"a": 1, "b": 0}}},
    )
    scores, part = result_of(tiny_model, DatasetTask(dataset, "test", "r"), context)
    assert sorted(part.run) == ["q0", "q2"]
    means = mean_scores(per_query(part.run, dataset.qrels["test"], ("ndcg@10",)))
    assert means["ndcg@10"] == pytest.approx(scores["ndcg_at_10"], abs=1e-5)


def test_queries_that_are_documents_do_not_find_themselves_where_the_task_says_so(tiny_model, context):
    texts = ["list file folder", "copy image disk", "open disk file", "memory log list"]
    dataset = Dataset(
        Corpus(["a", "b", "c", "d"], [""] * 4, texts),
        Queries(["a", "b"], texts[:2]),
        {"test": {"a": {"c": 1}, "b": {"d": 1}}},
    )

    class Own(DatasetTask):
        ignore_identical_ids = True

    task = Own(dataset, "test", "r")
    scores, part = result_of(tiny_model, task, context)
    assert scores["main_score"] == mteb_alone(tiny_model, task)
    assert all(query not in docs for query, docs in part.run.items())
    found, theirs = result_of(tiny_model, DatasetTask(dataset, "test", "r"), context)
    assert found["main_score"] < scores["main_score"]
    assert all(docs[query] == max(docs.values()) for query, docs in theirs.run.items())


def test_a_corpus_is_read_where_arrow_has_it_rows_chosen_and_missing_titles_too():
    corpus = datasets.Dataset.from_dict(
        {"id": ["a", "b", "c"], "title": ["list", None, ""], "text": ["file ", "copy", " disk"]}
    )
    assert list(document_texts(corpus)) == ["list file", "copy", "disk"]
    chosen = corpus.select([2, 0])
    assert list(document_texts(chosen)) == ["disk", "list file"]
    assert list(column(chosen, "id")) == ["c", "a"]
    assert list(document_texts(corpus.remove_columns("title"))) == ["file", "copy", "disk"]
    assert list(column(datasets.Dataset.from_dict({"id": [3, 4]}), "id")) == ["3", "4"]


def test_documents_are_joined_as_mteb_joins_them():
    rows = [("list", "file "), ("", " disk "), (" ", "copy"), ("  a", " b ")]
    corpus = datasets.Dataset.from_dict(
        {"id": [str(i) for i in range(4)], "title": [t for t, _ in rows], "text": [t for _, t in rows]}
    )
    assert list(document_texts(corpus)) == [_corpus_to_dict(row)["text"] for row in corpus]


def test_judgements_of_queries_that_are_not_there_count_for_nothing(tiny_model, dataset, context):
    task = DatasetTask(dataset, "test", "r")
    plain, _ = result_of(tiny_model, task, context)
    task = DatasetTask(dataset, "test", "r")
    task.dataset["default"]["test"]["relevant_docs"]["nobody"] = {dataset.corpus.ids[0]: 1}
    scores, part = result_of(tiny_model, task, context)
    assert scores["main_score"] == plain["main_score"]
    assert "nobody" not in part.qrels


def test_an_undefined_score_is_told(tiny_model, context):
    from embedkit.evaluation.local import sts_task

    task = sts_task(["list file"] * 3, ["copy image"] * 3, [0.0, 1.0, 2.0], min_score=0, max_score=5)
    with pytest.raises(StageError, match=r"^cosine_spearman is undefined: what the model says, or what is true, is"):
        evaluate(model_of(tiny_model, context), task, context.work)


def test_candidates_that_the_corpus_lacks_are_told(tiny_model, dataset, context):
    task = DatasetTask(dataset, "test", "r")
    data = task.dataset["default"]["test"]
    data["top_ranked"] = {query: list(dataset.corpus.ids[:5]) for query in data["relevant_docs"]}
    scores, part = result_of(tiny_model, task, context)
    assert scores["main_score"] == mteb_alone(tiny_model, task)
    assert all(set(docs) == set(dataset.corpus.ids[:5]) for docs in part.run.values())
    data["top_ranked"][next(iter(data["relevant_docs"]))] = ["nothing"]
    with pytest.raises(StageError, match="candidates name 1 documents that the corpus does not have"):
        result_of(tiny_model, task, context)


def test_a_task_that_fails_is_told_in_a_line(tiny_model, dataset, context):
    class Broken(DatasetTask):
        def load_data(self, num_proc=None, **kwargs):
            raise KeyError("no such\ncolumn")

    with pytest.raises(
        StageError, match=r"^mteb's task LocalRetrieval failed: KeyError: 'no such.ncolumn' \(.*traceback.txt\)$"
    ):
        evaluate(model_of(tiny_model, context), Broken(dataset, "test", "r"), context.work)
    assert "in load_data" in (context.work / "traceback.txt").read_text()


def test_global_generators_are_as_before(dataset):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    with contained():
        DatasetTask(dataset, "test", "r")
        assert torch.get_rng_state().tolist() != states[2]
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
