"""The stage: tasks as of an `evaluate` stage, an artifact without surprises, figures for the model card."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from embedkit.core.errors import DataError
from embedkit.core.estimate import Size
from embedkit.core.spec import Reference, marked
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.evaluation.contamination.stage import Contamination
from embedkit.report.stage import Package
from tests.evaluation.contamination.planted import QUERIES, TASK, text, write_task, write_train
from tests.report.fake import build_run

STAGE = TypeAdapter(Contamination)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "mined": Artifact("1" * 64, write_train(folder / "mined")),
        "pages": Artifact("2" * 64, write_task(folder / "pages")),
        "base": Artifact("3" * 64, tiny_model),
    }


def run(stage: Contamination, inputs, folder):
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir()
    stage.run(inputs, folder / "out", Context(work=folder / "work", embeddings=folder / "embeddings"))
    return folder / "out"


def spec(**fields) -> Contamination:
    return STAGE.validate_python({"kind": "contamination", "train": "mined", **fields})


PAGES = {"pages": {"data": "pages"}}


def test_it_writes_what_it_found(inputs, tmp_path):
    out = run(spec(tasks=PAGES), inputs, tmp_path)
    found = json.loads((out / "contamination.json").read_text(encoding="utf-8"))
    assert found["tasks"][0]["touched_query_ids"] == ["q0", "q1", "q2", "q5", "q30"]
    stats = read_stats(out)
    assert stats["summary"] == found["summary"]
    assert stats["warnings"] == found["warnings"]
    one = stats["tasks"][0]
    assert (one["seen"], one["touched"]) == (5, {"query": 5, "judged_pair": 3, "relevant_document": 4})
    assert not [word for word in (*QUERIES, *TASK.corpus.texts[:60]) if word[:30] in json.dumps(stats)]  # figures only


def test_the_same_inputs_give_the_same_bytes(inputs, tmp_path):
    stage = spec(tasks=PAGES, model="base", similarity=0.9)
    assert digests(run(stage, inputs, tmp_path / "a")) == digests(run(stage, inputs, tmp_path / "b"))


def test_a_model_finds_more(inputs, tmp_path):
    without, found = (
        json.loads((run(stage, inputs, tmp_path / name) / "contamination.json").read_text(encoding="utf-8"))
        for name, stage in (("a", spec(tasks=PAGES)), ("b", spec(tasks=PAGES, model="base", similarity=0.9)))
    )
    assert found["rules"]["similarity"] == 0.9
    assert len(found["tasks"][0]["touched_query_ids"]) > len(without["tasks"][0]["touched_query_ids"])
    assert "alike in meaning" in found["summary"][0]


def test_references_are_found_in_tasks_too():
    stage = spec(tasks=PAGES, model="base", similarity=0.9)
    assert [(where, value) for where, value, _ in marked(stage, Reference)] == [
        (("train",), "mined"),
        (("tasks", "pages", "data"), "pages"),
        (("model",), "base"),
    ]


def test_what_cannot_work_is_refused(inputs, tmp_path):
    for fields, message in (
        ({"model": "base"}, "go together"),
        ({"similarity": 0.9}, "go together"),
        ({"near": 0}, "greater than 0"),
        ({"contained": 1.5}, "less than or equal to 1"),
    ):
        with pytest.raises(ValidationError, match=message):
            spec(tasks=PAGES, **fields)
    with pytest.raises(ValidationError, match="at least 1"):
        spec(tasks={})
    problems = list(spec(tasks={"x": {"kind": "mteb", "name": "SciFacts"}}).conflicts({}))
    assert problems[0].where == ("tasks", "x", "name")
    with pytest.raises(DataError, match="has no judged queries of dev"):
        run(spec(tasks={"pages": {"data": "pages", "split": "dev"}}), inputs, tmp_path)


def test_versions_of_mteb_matter_only_where_its_data_does():
    assert spec(tasks=PAGES).facts() == {}
    assert set(spec(tasks={"x": {"kind": "mteb", "name": "SciFact"}}).facts()) == {"mteb"}


def test_an_estimate_grows_with_the_texts():
    small, large = ({"mined": Size(documents=n), "pages": Size(documents=n)} for n in (10, 10**6))
    assert spec(tasks=PAGES).estimate(small).overhead < spec(tasks=PAGES).estimate(large).overhead


def test_sentences_of_a_table_are_held_too(inputs, tmp_path):
    rows = [(QUERIES[2], text(8), 3), (text(8), text(8), 1), (text(8), QUERIES[0].upper(), 5)]
    lines = ["sentence1,sentence2,score", *(f"{a},{b},{score}" for a, b, score in rows)]
    (tmp_path / "sts.csv").write_text("\n".join(lines) + "\n")
    out = run(spec(tasks={"sts": {"kind": "sts", "path": str(tmp_path / "sts.csv")}}), inputs, tmp_path / "run")
    one = json.loads((out / "contamination.json").read_text(encoding="utf-8"))["tasks"][0]
    assert one["touched_query_ids"] == ["0", "2"]  # rows, as items are named in scores
    assert (one["queries"], one["relevant"], one["documents"]) == (3, 0, 0)


def packaged(inputs, tmp_path, train: str):
    """A package that cites the comparison of a fake run's stage `train` with the task tldr."""
    found = run(spec(tasks={"tldr": {"data": "pages"}}), inputs, tmp_path)
    fake = build_run(tmp_path / "store")
    stats = json.loads((found / "stats.json").read_text())
    fake.add(
        "shared", "contamination", "contamination", inputs={"train": train, "tasks.tldr.data": "tldr"}, stats=stats
    )
    out = tmp_path / "package"
    out.mkdir()
    stage = Package(model="soup", scores="scores", name="m", license="mit", samples=50, contamination=("shared",))
    stage.run(fake.artifacts, out, fake.context(tmp_path / "context"))
    return (out / "README.md").read_text(encoding="utf-8"), read_stats(out)["warnings"]


def test_the_model_card_tells_what_training_has_seen(inputs, tmp_path):
    card, warnings = packaged(inputs, tmp_path, "mined")
    data = card.partition("## Training data")[2].partition("## Methods")[0]
    assert "### What the tasks share with mined (8 training pairs)" in data
    assert "| tldr | 5 of 32 | 4 of 33 | 3 of 33 |" in data
    assert "Looked for: the same text; Jaccard similarity" in data
    assert "not trained on" not in data
    assert warnings == ["training has seen 5 of 32 queries of tldr, which is scored"]


def test_a_comparison_of_other_pairs_is_no_witness(inputs, tmp_path):
    card, warnings = packaged(inputs, tmp_path, "plain")
    assert "The model was not trained on these pairs." in card
    assert warnings[0] == "shared compares plain, which the model was not trained on, with the tasks"
