# ruff: noqa: E501
"""Every kind of task gives what plain mteb gives on the same data with a plainly loaded model."""

import json
import math
import random

import pytest

from embedkit.core.errors import DataError
from embedkit.core.stage import Artifact
from embedkit.evaluation.containment import contained
from embedkit.evaluation.results import read_result
from embedkit.evaluation.stage import EvaluateOne
from embedkit.evaluation.tasks import (
    ClassificationTask,
    ClusteringTask,
    PairClassificationTask,
    RerankingTask,
    StsTask,
)
from tests.tiny import WORDS, write_jsonl

CLASSES = {"3": WORDS[:12], "20": WORDS[10:24], "100": WORDS[22:36]}  # as numbers they sort otherwise than as texts


def sentence(rng, words=WORDS, length=6):
    return " ".join(rng.sample(list(words), length))


def csv(path, rows):
    path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]) + "\n")
    return path


def labelled(rng, number, classes=CLASSES):
    names = [list(classes)[i % len(classes)] for i in range(number)]
    return [{"text": sentence(rng, classes[name]), "label": name} for name in names]


def plainly(base, kind, main, data, **settings):
    """A task of mteb's class, as its documentation says to write one."""
    import mteb

    class Plain(base):
        metadata = mteb.TaskMetadata(
            name=f"Plain{kind}",
            description="x",
            type=kind,
            main_score=main,
            eval_langs=["eng-Latn"],
            eval_splits=["test"],
            dataset={"path": "x/y", "revision": "1"},
        )

        def load_data(self, num_proc=None, **kwargs):
            self.dataset, self.data_loaded = data(), True

    for name, value in settings.items():
        setattr(Plain, name, value)
    return Plain()


def plain_scores(model, task):
    """What `mteb.evaluate` says of a model that nothing of ours has touched."""
    import mteb
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(str(model), device="cpu")
    result = mteb.evaluate(loaded, task, cache=None, co2_tracker=False, show_progress_bar=False)
    return result.task_results[0].scores["test"][0]


def our_result(model, task, tmp_path, context):
    out = tmp_path / "result"
    out.mkdir()
    EvaluateOne(model="m", task=task).run({"m": Artifact("a" * 64, model)}, out, context)
    return read_result(out)


def same(ours, theirs):
    """Every number that mteb gives; at least a few of them."""
    numbers = {name: value for name, value in theirs.items() if isinstance(value, int | float)}
    assert len(numbers) >= 4
    for name, value in numbers.items():
        assert ours.get(name) == (None if math.isnan(value) else pytest.approx(value, abs=1e-6)), name


def sts(tmp_path):
    rng = random.Random(1)
    rows = [
        {"sentence1": sentence(rng), "sentence2": sentence(rng), "score": rng.randint(0, 10) / 2} for _ in range(40)
    ]
    path = csv(tmp_path / "sts.csv", rows)

    def plain():
        from datasets import Dataset, DatasetDict
        from mteb.abstasks import AbsTaskSTS

        return plainly(AbsTaskSTS, "STS", "cosine_spearman", lambda: DatasetDict(test=Dataset.from_list(rows)))

    return StsTask(path=path), plain


def pair_classification(tmp_path):
    rng = random.Random(2)
    rows = []
    for i in range(40):
        first = rng.sample(list(WORDS), 6)
        second = [*first[: rng.randint(3, 5)], sentence(rng, length=2)] if i % 3 else rng.sample(list(WORDS), 6)
        rows.append({"sentence1": " ".join(first), "sentence2": " ".join(second), "label": int(bool(i % 3))})
    path = csv(tmp_path / "pairs.csv", rows)

    def plain():
        from datasets import Dataset, DatasetDict
        from mteb.abstasks import AbsTaskPairClassification

        data = Dataset.from_list(rows).rename_column("label", "labels")
        return plainly(AbsTaskPairClassification, "PairClassification", "max_ap", lambda: DatasetDict(test=data))

    return PairClassificationTask(path=path), plain


def classification(tmp_path, classes=CLASSES):
    rng = random.Random(3)
    train, test = labelled(rng, 45, classes), labelled(rng, 30, classes)
    task = ClassificationTask(
        train=csv(tmp_path / "train.csv", train),
        test=csv(tmp_path / "test.csv", test),
        samples_per_label=4,
        experiments=3,
    )

    def plain():
        from datasets import Dataset, DatasetDict
        from mteb.abstasks import AbsTaskClassification

        names = sorted(classes, key=int)

        def data():
            parts = {"train": train, "test": test}
            coded = {n: [{**row, "label": names.index(row["label"])} for row in rows] for n, rows in parts.items()}
            return DatasetDict({n: Dataset.from_list(rows) for n, rows in coded.items()})

        return plainly(AbsTaskClassification, "Classification", "accuracy", data, samples_per_label=4, n_experiments=3)

    return task, plain


def two_classes(tmp_path):
    return classification(tmp_path, {name: CLASSES[name] for name in ("3", "20")})


def clustering(tmp_path):
    rows = labelled(random.Random(4), 60)
    task = ClusteringTask(path=csv(tmp_path / "texts.csv", rows), samples=48, experiments=4, documents=50)

    def plain():
        from datasets import Dataset, DatasetDict
        from mteb.abstasks import AbsTaskClustering

        columns = {"sentences": [r["text"] for r in rows], "labels": [r["label"] for r in rows]}
        return plainly(
            AbsTaskClustering,
            "Clustering",
            "v_measure",
            lambda: DatasetDict(test=Dataset.from_dict(columns)),
            max_fraction_of_documents_to_embed=None,
            max_document_to_embed=50,
            max_documents_per_cluster=48,
            n_clusters=4,
        )

    return task, plain


def reranking_rows():
    rng = random.Random(5)
    rows = []
    for _ in range(12):
        words = rng.sample(list(WORDS), 8)
        near = [" ".join(rng.sample(words, 5)) for _ in range(2)]
        rows.append({"query": " ".join(words[:4]), "positives": near, "negatives": [sentence(rng) for _ in range(6)]})
    return rows


def plain_reranking(rows):
    """Documents and queries of rows with ids of their own."""
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval

    documents = {f"{i}:{text}": text for i, r in enumerate(rows) for text in [*r["positives"], *r["negatives"]]}
    split = {
        "corpus": Dataset.from_dict({"id": list(documents), "title": [""] * len(documents), "text": list(documents.values())}),
        "queries": Dataset.from_dict({"id": [str(i) for i in range(len(rows))], "text": [r["query"] for r in rows]}),
        "relevant_docs": {
            str(i): {f"{i}:{t}": int(t in r["positives"]) for t in [*r["positives"], *r["negatives"]]}
            for i, r in enumerate(rows)
        },
        "top_ranked": {str(i): [f"{i}:{t}" for t in [*r["positives"], *r["negatives"]]] for i, r in enumerate(rows)},
    }  # fmt: skip
    return plainly(AbsTaskRetrieval, "Reranking", "map_at_1000", lambda: {"default": {"test": split}})


def reranking(tmp_path):
    rows = reranking_rows()
    write_jsonl(tmp_path / "lists.jsonl", rows)
    return RerankingTask(path=tmp_path / "lists.jsonl"), lambda: plain_reranking(rows)


def reranking_candidates(tmp_path):
    rows = reranking_rows()
    lists = [
        {"query": r["query"], "candidates": [*r["positives"], *r["negatives"]], "relevance": [1, 1, *[0] * 6]}
        for r in rows
    ]
    write_jsonl(tmp_path / "lists.jsonl", lists)
    return RerankingTask(path=tmp_path / "lists.jsonl"), lambda: plain_reranking(rows)


def reranking_folder(tmp_path):
    rows, folder = reranking_rows(), tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    listed = [[*r["positives"], *r["negatives"]] for r in rows]
    texts = {f"d{i}-{j}": text for i, row in enumerate(listed) for j, text in enumerate(row)}
    write_jsonl(folder / "corpus.jsonl", [{"_id": key, "text": text} for key, text in texts.items()])
    write_jsonl(folder / "queries.jsonl", [{"_id": f"q{i}", "text": r["query"]} for i, r in enumerate(rows)])
    judged = [f"q{i}\td{i}-{j}\t1" for i in range(len(rows)) for j in range(2)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    ranked = [{"query-id": f"q{i}", "corpus-ids": [f"d{i}-{j}" for j in range(8)]} for i in range(len(rows))]
    write_jsonl(folder / "top_ranked.jsonl", ranked)
    return RerankingTask(path=folder), lambda: plain_reranking(rows)


KINDS = {
    "sts": (sts, "cosine_spearman", "items"),
    "pair_classification": (pair_classification, "max_ap", "items"),
    "classification": (classification, "accuracy", "units"),
    "classification of two": (two_classes, "accuracy", "units"),
    "clustering": (clustering, "v_measure", "units"),
    "reranking": (reranking, "map@1000", "run"),
    "reranking, candidates": (reranking_candidates, "map@1000", "run"),
    "reranking, folder": (reranking_folder, "map@1000", "run"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_plain_mteb(kind, tiny_model, tmp_path, context):
    make, main, kept = KINDS[kind]
    task, plain = make(tmp_path)
    ours = our_result(tiny_model, task, tmp_path, context)
    (part,) = ours.parts
    with contained():
        plain_task = plain()
        theirs = plain_scores(tiny_model, plain_task)
    same(part.mteb, theirs)
    assert ours.main == main
    assert getattr(part, kept)
    assert ours.type == plain_task.metadata.type


def test_a_prompt_of_the_task_changes_its_scores(tiny_model, tmp_path, context):
    task, _ = sts(tmp_path)
    prompted = task.model_copy(update={"prompts": {"text": "list show copy "}})
    scores = []
    for number, one in enumerate((task, prompted)):
        (tmp_path / str(number)).mkdir()
        scores.append(our_result(tiny_model, one, tmp_path / str(number), context).parts[0].mteb["main_score"])
    assert scores[0] != scores[1]


def test_the_revision_is_that_of_the_content_not_of_the_file(tmp_path):
    rows = [json.loads(json.dumps(row)) for row in labelled(random.Random(6), 12)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    csv(tmp_path / "b.csv", [{"label": r["label"], "text": r["text"], "more": 1} for r in rows])
    write_jsonl(tmp_path / "c.jsonl", [{**rows[0], "text": "other"}, *rows[1:]])
    with contained():
        tasks = [ClusteringTask(path=tmp_path / name) for name in ("a.jsonl", "b.csv", "c.jsonl")]
        same_a, same_b, other = (task.open({}, tmp_path).metadata.revision for task in tasks)
        fewer = tasks[0].model_copy(update={"experiments": 3}).open({}, tmp_path).metadata.revision
    assert same_a == same_b
    assert len({same_a, other, fewer}) == 3


GOOD_PAIR = {"query": "list", "positives": ["copy"], "negatives": ["move"]}
WRONG = [
    (StsTask, {}, [{"sentence1": "a", "sentence2": "b", "score": 7}], "row 1: score is 7; expected a number from 0 to 5"),
    (StsTask, {"score": "gold"}, [{"sentence1": "a", "sentence2": "b", "score": 1}], "has no column 'gold'; it has ['sentence1', 'sentence2', 'score']"),
    (PairClassificationTask, {}, [{"sentence1": "a", "sentence2": "b", "label": 2}], "row 1: label is 2; expected 0 or 1"),
    (PairClassificationTask, {}, [{"sentence1": "a", "sentence2": "b", "label": 1}], "every label is 1; there must be pairs with 0 and with 1"),
    (ClusteringTask, {}, [{"text": "a", "label": "x"}], "every label is 'x'; there must be two at least"),
    (RerankingTask, {}, [{"query": "a"}], "has neither 'positives' and 'negatives' nor 'candidates' and 'relevance'"),
    (RerankingTask, {}, [{**GOOD_PAIR, "negatives": []}], "no query has candidates of which some are relevant and some are not"),
    (RerankingTask, {}, [GOOD_PAIR, {**GOOD_PAIR, "negatives": ["copy"]}], "row 2: 'copy' is both relevant and not"),
    (RerankingTask, {}, [{"query": "a", "candidates": ["b", "c"], "relevance": [1]}], "row 1: 2 candidates but 1 numbers in relevance; expected one for each"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "rows", "message"), WRONG)
def test_wrong_data_is_one_line(kind, fields, rows, message, tmp_path):
    write_jsonl(tmp_path / "t.jsonl", rows)
    with pytest.raises(DataError) as error:
        kind(path=tmp_path / "t.jsonl", **fields).open({}, tmp_path)
    (line,) = error.value.problems
    assert line.startswith(f"{tmp_path}/t.jsonl")
    assert message in line


def test_a_label_that_training_does_not_have_is_one_line(tmp_path):
    task, _ = classification(tmp_path)
    csv(tmp_path / "test.csv", [{"text": "list", "label": "3"}, {"text": "copy", "label": "4"}])
    with pytest.raises(DataError, match=r"test\.csv: label '4' is not among the labels of .*train\.csv$"):
        task.open({}, tmp_path)
    csv(tmp_path / "train.csv", [{"text": "list", "label": "3"}])
    with pytest.raises(DataError, match=r"train\.csv: every label is '3'; there must be two at least$"):
        task.open({}, tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("corpus.jsonl", None, "has no corpus.jsonl (nor .tsv, .parquet); expected a BEIR folder"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nnone\td0-0\t1\n", "query 'none' is judged in qrels/test but is not"),
        ("top_ranked.jsonl", '{"query-id": "q0", "corpus-ids": ["d9-9-9"]}\n', "candidate 'd9-9-9' of query 'q0' is not among"),
        ("top_ranked.jsonl", '{"query-id": "q1", "corpus-ids": ["d1-0"]}\n', "query 'q0' has no candidates in top_ranked"),
    ],
)  # fmt: skip
def test_a_wrong_folder_is_one_line(file, content, message, tmp_path):
    task, _ = reranking_folder(tmp_path)
    (task.path / file).unlink() if content is None else (task.path / file).write_text(content)
    with pytest.raises(DataError) as error:
        task.open({}, tmp_path)
    (line,) = error.value.problems
    assert message in line


def test_without_a_table_of_candidates_those_judged_are_ranked(tmp_path):
    task, _ = reranking_folder(tmp_path)
    (task.path / "top_ranked.jsonl").unlink()
    qrels = task.path / "qrels" / "test.tsv"
    qrels.write_text(qrels.read_text() + "q0\td0-5\t0\n")
    with contained():
        split = task.open({}, tmp_path).dataset["default"]["test"]
    assert split["top_ranked"]["q0"] == ["d0-0", "d0-1", "d0-5"]
    assert split["top_ranked"]["q1"] == ["d1-0", "d1-1"]
