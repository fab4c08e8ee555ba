"""Where a model comes from, as its card and its lineage tell."""

import pytest

from embedkit.core.store import Store
from embedkit.evaluation.origin import About, about

HUB = {"kind": "hub", "name": "org/base", "revision": "0" * 40}


def artifact(store, key, kind, *, spec=None, inputs=None):
    described = {"kind": kind, "type": "model", "spec": {"spec": spec or {}}, "inputs": inputs or {}}
    return store.get_or_make(key, lambda draft, work: {}, about=described).path


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def chain(store, *sources):
    """A model trained from a hub's on these data sets."""
    artifact(store, "base", "pretrained", spec={"source": HUB})
    inputs = {"model": "base"}
    for row, source in enumerate(sources):
        artifact(store, f"data{row}", "data", spec={"source": source})
        artifact(store, f"mined{row}", "mine", inputs={"data": f"data{row}", "model": "base"})
        inputs[f"pairs.{row}"] = f"mined{row}"
    return artifact(store, "tuned", "train", inputs=inputs)


def test_a_card_says_what_the_hub_reads(tmp_path):
    (tmp_path / "README.md").write_text(
        "---\nlicense: mit\nlanguage: [en, de]\nbase_model: org/base\ndatasets:\n- mteb/scifact\n---\n# A model\n"
    )
    assert about(tmp_path) == About("mit", ["en", "de"], base_model="org/base", trained_on=["mteb/scifact"])


def test_a_lineage_says_what_a_model_was_made_of(store):
    hub = [{"kind": "hub", "name": name, "revision": "0" * 40} for name in ("mteb/nq", "mteb/msmarco")]
    assert about(chain(store, *hub)) == About(base_model="org/base", trained_on=["mteb/msmarco", "mteb/nq"])


def test_data_without_a_name_leaves_it_unknown(store):
    found = about(chain(store, {"kind": "hub", "name": "mteb/nq"}, {"kind": "jsonl", "path": {"sha256": "0"}}))
    assert found == About(base_model="org/base")


def test_a_model_of_the_hub_is_not_its_own_base(store):
    assert about(artifact(store, "base", "pretrained", spec={"source": HUB})) == About()


@pytest.mark.parametrize(
    "text", ["", "# no front matter", "---\n[1, 2]\n---\n", "---\n: : {\n---\n", "---\nlicense: 7\n---\n"]
)
def test_a_card_that_says_nothing_is_no_mistake(tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    assert about(tmp_path) == About()


def test_a_manifest_of_another_tool_is_passed_over(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    assert about(tmp_path) == About()
