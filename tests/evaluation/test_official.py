"""Official task classes on mirrors: right scores, verified data, no network, no stale copies."""

import json
import math
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedkit.core.dataset import Dataset
from embedkit.core.errors import ArtifactError, DataError
from embedkit.core.records import Corpus, Queries
from embedkit.evaluation.containment import contained
from embedkit.evaluation.mirror.from_beir import mirror_from_beir
from embedkit.evaluation.mirror.from_hub import mirror_from_hub
from embedkit.evaluation.mirror.from_tables import mirror_from_tables
from embedkit.measures.ranking import per_query
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.loading import load_model
from tests.evaluation.mirror.facts import write_sts
from tests.tiny import WORDS, write_jsonl

with contained():
    import datasets
    import mteb

    from embedkit.evaluation.harness import evaluate
    from embedkit.evaluation.model import StoredModel
    from embedkit.evaluation.official import check_opens, facts_of, official_task


@pytest.fixture(autouse=True)
def _contained(monkeypatch, tmp_path):
    """Like a run, and on a machine that was not told to stay away from the network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "home")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with contained():
        yield


@pytest.fixture
def no_network(monkeypatch):
    """A socket that is opened fails the test."""

    def refuse(*_):
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def texts(count, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 6)) for _ in range(count)]


def collection(*, grades=(1,), queries_are_documents=False) -> Dataset:
    """40 documents and 12 queries with 4 judgements each, of these grades in turn."""
    documents, asked = texts(40), texts(12, seed=1)
    ids = [f"d{i}" for i in range(40)]
    names = ids[:12] if queries_are_documents else [f"q{i}" for i in range(12)]
    qrels = {q: {f"d{12 + (5 * i + j) % 28}": grades[j % len(grades)] for j in range(4)} for i, q in enumerate(names)}
    questions = documents[:12] if queries_are_documents else asked
    return Dataset(Corpus(ids, [""] * 40, documents), Queries(names, questions), {"test": qrels})


def mirrored(folder: Path, name: str, dataset: Dataset) -> Path:
    mirror_from_beir(folder, facts_of(name), dataset, check=check_opens)
    return folder / name


def ndcg_in_plain_loops(model: Path, dataset: Dataset, *, drop_own: bool) -> float:
    """nDCG@10 with gains as judged, documents searched one by one; the query itself left out where it is told to."""
    loaded = load_model(model, device="cpu")
    vectors = dict(zip(dataset.corpus.ids, loaded.encode(list(dataset.corpus.texts)), strict=True))
    values = []
    for query, text in zip(dataset.queries.ids, dataset.queries.texts, strict=True):
        asked, judged = loaded.encode([text])[0], dataset.qrels["test"][query]
        scores = {doc: float(asked @ vector) for doc, vector in vectors.items() if not (drop_own and doc == query)}
        found = sorted(scores, key=lambda doc: -scores[doc])[:10]
        gain = sum(judged.get(doc, 0) / math.log2(rank + 1) for rank, doc in enumerate(found, start=1))
        best = sorted(judged.values(), reverse=True)[:10]
        values.append(gain / sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, start=1)))
    return sum(values) / len(values)


def result_of(task, model, context):
    return evaluate(StoredModel(open_encoder(model, context), {}, {}), task, context.work)


@pytest.mark.parametrize(
    ("name", "made", "drop_own"),
    [
        ("ArguAna", {"queries_are_documents": True}, True),
        ("QuoraRetrieval", {"queries_are_documents": True}, True),
        ("NFCorpus", {"grades": (2, 1, 0, 3)}, False),
        ("SciFact", {}, False),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_retrieval_is_right(name, made, drop_own, tiny_model, tmp_path, context):
    dataset = collection(**made)
    entry = mirrored(tmp_path / "mirror", name, dataset)
    task = official_task(name, entry, work=context.work)
    ours = result_of(task, tiny_model, context)
    plain = mteb.evaluate(load_model(tiny_model, device="cpu"), task, cache=None, show_progress_bar=False)
    (part,) = ours.parts
    assert part.mteb["ndcg_at_10"] == plain.task_results[0].get_score()
    expected = ndcg_in_plain_loops(tiny_model, dataset, drop_own=drop_own)
    assert part.mteb["ndcg_at_10"] == pytest.approx(expected, abs=1e-5)
    assert part.qrels == dataset.qrels["test"]
    assert not any(query in found for query, found in part.run.items())
    if drop_own:  # it would have been every query's first document
        assert expected > ndcg_in_plain_loops(tiny_model, dataset, drop_own=False) + 0.01
    values = per_query(part.run, part.qrels, ["ndcg@10"]).values()
    assert sum(v["ndcg@10"] for v in values) / 12 == pytest.approx(part.mteb["ndcg_at_10"], abs=1e-5)
    assert (
        ours.revision
        == plain.task_results[0].dataset_revision
        == json.loads((entry / "manifest.json").read_text())["revision"]
    )
    assert ours.revision.startswith("beir-")
    assert not (tmp_path / "home").exists()


def download_of(folder: Path) -> Callable[..., None]:
    return lambda *, local_dir, **_: shutil.copytree(folder, local_dir, dirs_exist_ok=True)


def write_repository(folder: Path, configs: dict[str, tuple[str, list[dict]]]) -> Path:
    """A hub repository in JSON lines: config -> split and rows."""
    folder.mkdir(parents=True)
    lines = ["---", "configs:"]
    for config, (split, rows) in configs.items():
        write_jsonl(folder / f"{config}.jsonl", rows)
        lines += [f"- config_name: {config}", f"  data_files: [{{split: {split}, path: {config}.jsonl}}]"]
    (folder / "README.md").write_text("\n".join([*lines, "---"]) + "\n")
    return folder


@pytest.mark.usefixtures("no_network")
def test_subsets_of_a_copy_from_the_hub(tiny_model, tmp_path, context):
    facts = facts_of("CodeSearchNetRetrieval")
    configs = {}
    for number, subset in enumerate(("python", "ruby")):
        documents, queries = texts(20, seed=number), texts(5, seed=number + 10)
        configs |= {
            f"{subset}-corpus": ("test", [{"_id": f"d{i}", "title": "", "text": t} for i, t in enumerate(documents)]),
            f"{subset}-queries": ("test", [{"_id": f"q{i}", "text": t} for i, t in enumerate(queries)]),
            f"{subset}-qrels": ("test", [{"query-id": f"q{i}", "corpus-id": f"d{i}", "score": 1} for i in range(5)]),
        }
    repository = write_repository(tmp_path / "hub", configs)
    mirror_from_hub(tmp_path / "mirror", facts, download=download_of(repository))
    entry = tmp_path / "mirror" / "CodeSearchNetRetrieval"
    task = official_task(entry.name, entry, work=context.work, subsets=["python", "ruby"])
    result = result_of(task, tiny_model, context)
    assert [(part.name, part.subset) for part in result.parts] == [("python", "python"), ("ruby", "ruby")]
    assert result.revision == facts.revision
    with pytest.raises(DataError, match="CodeSearchNetRetrieval: mteb's class cannot read"):
        official_task(entry.name, entry, work=context.work, subsets=["go"])


def test_an_altered_mirror_is_not_evaluated_on(tmp_path, context):
    entry = mirrored(tmp_path / "mirror", "SciFact", collection())
    file = entry / "data" / "default" / "test.parquet"
    file.write_bytes(file.read_bytes().replace(b"d12", b"d13"))
    with pytest.raises(ArtifactError, match=r"default/test\.parquet: altered since the mirror was made"):
        official_task("SciFact", entry, work=context.work)


def test_a_copy_of_earlier_files_is_never_read(tmp_path, context):
    """The trap: `datasets` knows a local file by its path and time alone."""

    def scores(folder, **how):
        rows = datasets.load_dataset(str(folder), split="test", **how)
        return rows["score"][:]

    mirror, entry = tmp_path / "mirror", tmp_path / "mirror" / "STS13"
    seen, stale = [], []
    for rows in (12, 10):
        shutil.rmtree(entry, ignore_errors=True)
        mirror_from_tables(mirror, facts_of("STS13"), write_sts(tmp_path / "sts", rows))
        for path in (entry / "data").rglob("*.parquet"):
            os.utime(path, (1, 1))
        seen.append(len(official_task("STS13", entry, work=context.work).dataset["test"]))
        stale.append(len(scores(entry / "data", cache_dir=str(tmp_path / "shared"))))
    assert seen == [12, 10]
    assert stale == [12, 12]


@pytest.mark.usefixtures("no_network")
def test_what_mteb_rearranges_while_it_evaluates_stays_in_the_work_folder(tiny_model, tmp_path, context):
    folder = tmp_path / "banking"
    folder.mkdir()
    for split, seed in (("train", 0), ("test", 1)):
        lines = [f"{text},{'even' if i % 2 else 'odd'}" for i, text in enumerate(texts(40, seed=seed))]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    entry = tmp_path / "mirror" / "Banking77Classification"
    mirror_from_tables(tmp_path / "mirror", facts_of(entry.name), folder, check=check_opens)
    assert not (tmp_path / "home").exists()
    result = result_of(official_task(entry.name, entry, work=context.work), tiny_model, context)
    assert result.main == "accuracy"
    assert 0 < result.parts[0].mteb["accuracy"] < 1
    assert not (tmp_path / "home").exists()
    assert list(entry.rglob("*.arrow")) == []


def test_a_class_that_fetches_more_than_its_data_set_cannot_be_mirrored(tmp_path):
    facts = facts_of("SKQuadRetrieval")
    assert not facts.plain
    repository = write_repository(tmp_path / "hub", {"default": ("test", [{"query-id": "q", "corpus-id": "d"}])})
    with pytest.raises(DataError, match=r"SKQuadRetrieval: cannot be evaluated on .*asks for data that is not there"):
        mirror_from_hub(tmp_path / "mirror", facts, download=download_of(repository), check=check_opens)
    assert not (tmp_path / "mirror" / "SKQuadRetrieval").exists()


def test_a_copy_of_another_revision_than_mteb_wants_is_refused(tmp_path, context):
    repository = write_repository(tmp_path / "hub", {"default": ("test", [{"sentence1": "a"}])})
    old = replace(facts_of("STS13"), revision="0" * 40, mteb="2.0.0")
    mirror_from_hub(tmp_path / "mirror", old, download=download_of(repository))
    with pytest.raises(ArtifactError, match=r"holds mteb/sts13-sts at 0{40}, as mteb 2\.0\.0 wanted; mteb .* wants"):
        official_task("STS13", tmp_path / "mirror" / "STS13", work=context.work)


@pytest.mark.parametrize(
    ("name", "splits", "subsets", "said"),
    [
        ("SciFcat", None, None, "'SciFcat': mteb .* has no such task; did you mean 'SciFact'"),
        ("CIFAR10", None, None, "CIFAR10: needs image; embedkit evaluates models of text alone"),
        ("CQADupstackRetrieval", None, None, "is the mean of other tasks; name those: CQADupstackAndroidRetrieval, "),
        ("STS17", None, ["en-em"], r"STS17: mteb evaluates no subset 'en-em'; there are \[.*did you mean 'en-en'"),
        ("STS13", ["tests"], None, r"STS13: mteb evaluates no split 'tests'; there are \['test'\]; did you mean"),
        ("STSBenchmark.v2", ["validation"], None, r"STSBenchmark\.v2: .* has no split 'validation'; it has \['test'\]"),
        ("STS12", None, None, "is the mirror of STS13, not of STS12"),
    ],
)
def test_what_cannot_be_opened_is_one_line(name, splits, subsets, said, tmp_path, context):
    mirror_from_tables(tmp_path / "mirror", facts_of("STS13"), write_sts(tmp_path / "sts"))
    entry = tmp_path / "mirror" / "STS13"
    if name == "STSBenchmark.v2":
        lacking = replace(facts_of(name), splits=("test",))
        mirror_from_tables(tmp_path / "mirror", lacking, tmp_path / "sts")
        entry = tmp_path / "mirror" / name
    with pytest.raises((DataError, ArtifactError), match=said) as error:
        official_task(name, entry, work=context.work, splits=splits, subsets=subsets)
    assert len(error.value.problems) == 1


def test_another_number_of_rows_than_the_official_ones_is_told(tmp_path):
    mirror_from_tables(tmp_path, facts_of("STS13"), write_sts(tmp_path / "sts", 12))
    assert check_opens(tmp_path / "STS13") == ["STS13: split 'test' has 12 samples, the official one 1,500"]
    (first, second) = check_opens(mirrored(tmp_path, "SciFact", collection()))
    assert first == "SciFact: split 'test' has 40 documents, the official one 5,183"
    assert second == "SciFact: split 'test' has 12 queries, the official one 300"


@pytest.mark.parametrize(
    ("name", "columns", "splits", "plain"),
    [
        ("STSBenchmark", {"sentence1": "text", "sentence2": "text", "score": "number"}, ("test",), True),
        ("Banking77Classification", {"text": "text", "label": "class"}, ("train", "test"), True),
        ("TwentyNewsgroupsClustering", {"sentences": "texts", "labels": "classes"}, ("test",), True),
        ("SciFact", {}, ("test",), True),
        ("TwitterURLCorpus", {"sentence1": "text", "sentence2": "text", "labels": "binary"}, ("test",), False),
        ("MSMARCO", {}, ("dev",), True),
    ],
)
def test_facts_are_those_of_mteb(name, columns, splits, plain):
    facts, task = facts_of(name), mteb.get_task(name)
    assert (facts.columns, facts.splits, facts.plain) == (columns, splits, plain)
    assert (facts.path, facts.revision) == (task.metadata.dataset["path"], task.metadata.dataset["revision"])
