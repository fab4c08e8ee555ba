"""The formats of sentence-transformers' trainers: equal to what its own miner returns, and trained on for a step."""

import random
from collections import Counter

import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives, resolve_ids

from embedkit.core.pairs import Pair, Pairs, write_pairs
from embedkit.core.records import Corpus, Queries
from embedkit.exports import LabeledList, LabeledPair, NTuple, Triplet, export
from tests.exports.cases import load, read
from tests.tiny import WORDS

FORMATS = (Triplet, NTuple, LabeledPair, LabeledList)
SECOND = {"triplet": "positive", "n-tuple": "positive", "labeled-pair": "document", "labeled-list": "documents"}
NEGATIVES = 3


def texts(count: int, words: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return list(dict.fromkeys(" ".join(rng.sample(WORDS, words)) for _ in range(count)))


@pytest.fixture(scope="module")
def mined(tiny_model):
    """What sentence-transformers' miner returns, by format and by whether it has scores."""
    model, documents, questions = SentenceTransformer(str(tiny_model), device="cpu"), texts(40, 6, 0), texts(9, 3, 1)
    rng = random.Random(2)
    positives = [(query, text) for query in questions for text in rng.sample(documents, rng.choice((1, 1, 2, 3)))]

    def mine(form: str, scores: bool, limit: float) -> Dataset:
        columns = {"query": [q for q, _ in positives], SECOND[form]: [d for _, d in positives]}
        return mine_hard_negatives(
            Dataset.from_dict(columns),
            model,
            corpus=documents,
            max_score=limit,
            range_max=12,
            num_negatives=NEGATIVES,
            output_format=form,
            output_scores=scores,
            verbose=False,
        )

    limit = next(x for x in (i / 100 for i in range(98, 50, -1)) if uneven(mine("labeled-pair", False, x), questions))
    return {(form, scores): mine(form, scores, limit) for form in SECOND for scores in (False, True)}


def uneven(labels: Dataset, questions: list[str]) -> bool:
    """Whether some queries have no negative, some too few, some enough, and some with negatives several positives."""
    negatives = Counter(row["query"] for row in labels if not row["label"])
    positives = Counter(row["query"] for row in labels if row["label"])
    widths = {negatives[question] for question in questions}
    several = any(positives[question] > 1 for question in negatives)
    return several and {0, NEGATIVES} < widths


@pytest.fixture(scope="module")
def folder(mined, tmp_path_factory):
    """The same negatives as pairs, rebuilt from the labeled pairs."""
    labels, scores = mined["labeled-pair", False], mined["labeled-pair", True]
    documents = list(dict.fromkeys(labels["document"]))
    questions = list(dict.fromkeys(labels["query"]))
    found = {q: ([], [], [], []) for q in questions}
    for row, score in zip(labels, scores["score"], strict=True):
        ids, values = (found[row["query"]][i + 2 * (1 - row["label"])] for i in (0, 1))
        ids.append(f"d{documents.index(row['document'])}")
        values.append(score)
    rows = [
        Pair(f"q{i}", tuple(p), known=tuple(p), negatives=tuple(n), positive_scores=tuple(s), negative_scores=tuple(t))
        for i, (p, s, n, t) in enumerate(found[q] for q in questions)
    ]
    out = tmp_path_factory.mktemp("pairs-of-st")
    ids = [f"d{i}" for i in range(len(documents))]
    query_ids = [f"q{i}" for i in range(len(questions))]
    write_pairs(out, Pairs(Corpus(ids, [""] * len(ids), documents), Queries(query_ids, questions), rows))
    return out


@pytest.mark.parametrize("scores", [None, "miner"])
@pytest.mark.parametrize("form", FORMATS)
def test_equals_what_sentence_transformers_returns(form, scores, mined, folder, tmp_path):
    export(folder, tmp_path / "train.parquet", format=form(scores=scores))
    ours, theirs = load(tmp_path / "train.parquet", tmp_path), mined[form().kind, scores is not None]
    assert ours.column_names == theirs.column_names
    assert ours.features == theirs.features
    assert len(ours) > 3
    assert ours.to_list() == theirs.to_list()


@pytest.mark.parametrize("scores", [None, "teacher"])
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".arrow"])
@pytest.mark.parametrize("form", FORMATS)
def test_resolve_ids_makes_the_same_of_ids(form, suffix, scores, pairs, tmp_path):
    export(pairs, tmp_path / f"texts{suffix}", format=form(scores=scores))
    done = export(pairs, tmp_path / f"ids{suffix}", format=form(scores=scores, ids=True))
    tables = {name: load(path, tmp_path) for name, path in done.files.items()}
    train = tables["train"]
    lookups = {
        name: tables["queries" if name == "query_id" else "documents"]
        for name in train.column_names
        if name.endswith(("_id", "_ids"))
    }
    train.set_transform(resolve_ids(lookups, output_format="lists" if form is LabeledList else "columns"))
    resolved = train[:]
    expected = read(tmp_path / f"texts{suffix}")
    assert list(resolved) == list(expected[0])
    assert [dict(zip(resolved, row, strict=True)) for row in zip(*resolved.values(), strict=True)] == expected


def test_tables_beside_ids_have_what_rows_name_and_metadata_if_asked(pairs, tmp_path):
    done = export(pairs, tmp_path / "x.parquet", format=NTuple(negatives=2, ids=True, metadata=True))
    assert {k: p.name for k, p in done.files.items()} == {
        "train": "x.parquet",
        "queries": "x-queries.parquet",
        "documents": "x-documents.parquet",
    }
    assert [row["query_id"] for row in read(done.files["queries"])] == ["q0", "q1", "q3"]
    documents = read(done.files["documents"])
    assert [row["doc_id"] for row in documents] == ["d0", "d1", "d2", "d3", "d5", "d6", "d7", "d10"]
    assert documents[1] == {"doc_id": "d1", "text": "title 1 text of 1, «é»", "metadata": '{"year": 1}'}
    assert documents[0]["metadata"] == ""


LOSSES = {
    (Triplet, None): "MultipleNegativesRankingLoss",
    (Triplet, "teacher"): "MarginMSELoss",
    (NTuple, None): "MultipleNegativesRankingLoss",
    (NTuple, "teacher"): "DistillKLDivLoss",
    (LabeledPair, None): "ContrastiveLoss",
    (LabeledPair, "miner"): "CoSENTLoss",
}


@pytest.mark.parametrize(("form", "scores"), LOSSES)
def test_its_trainer_takes_a_step_on_it(form, scores, pairs, tiny_model, tmp_path):
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        sentence_transformer,
    )

    export(pairs, tmp_path / "train.parquet", format=form(scores=scores))
    model = SentenceTransformer(str(tiny_model), device="cpu")
    loss = getattr(sentence_transformer.losses, LOSSES[form, scores])(model)
    arguments = SentenceTransformerTrainingArguments(**options(tmp_path))
    data = load(tmp_path / "train.parquet", tmp_path)
    trained = SentenceTransformerTrainer(model, arguments, train_dataset=data, loss=loss).train()
    assert trained.global_step == 1
    assert trained.training_loss > 0


@pytest.mark.parametrize(("scores", "name"), [(None, "LambdaLoss"), ("teacher", "ListNetLoss")])
def test_the_trainer_of_cross_encoders_takes_a_step_on_lists(scores, name, pairs, tmp_path):
    from sentence_transformers import CrossEncoder, cross_encoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

    from tests.mining.test_cross_encoder import build

    export(pairs, tmp_path / "train.parquet", format=LabeledList(scores=scores))
    model = CrossEncoder(str(build(tmp_path / "model")), device="cpu", num_labels=1)
    loss = getattr(cross_encoder.losses, name)(model)
    arguments = CrossEncoderTrainingArguments(**options(tmp_path))
    data = load(tmp_path / "train.parquet", tmp_path)
    assert CrossEncoderTrainer(model, arguments, train_dataset=data, loss=loss).train().training_loss > 0


def options(folder) -> dict:
    return {
        "output_dir": str(folder / "trained"),
        "max_steps": 1,
        "per_device_train_batch_size": 3,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    }
