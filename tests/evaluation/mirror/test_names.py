"""Words that stand for official tasks."""

import pytest

from embedkit.core.errors import DataError
from embedkit.evaluation.mirror import names
from embedkit.evaluation.mirror.names import official_names
from embedkit.evaluation.registry import KnownTask, Registry, Selection


def known(*, modalities=("text",), parts=()):
    return KnownTask("Retrieval", ("test",), ("default",), modalities, "ndcg_at_10", parts)


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    """An mteb of five tasks and a benchmark."""
    tasks = {name: known() for name in ("SciFact", "STS13", "Android", "English")}
    tasks |= {"CQA": known(parts=("Android", "English")), "Pictures": known(modalities=("image",))}
    chosen = tuple(Selection(name, None, None) for name in ("STS13", "CQA", "Pictures"))
    found = Registry(tasks, {"MTEB(small)": chosen})
    monkeypatch.setattr(names, "registry", lambda: found)
    monkeypatch.setattr("embedkit.evaluation.suite.registry", lambda: found)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["SciFact"], ["SciFact"]),
        (["STS13", "SciFact", "STS13"], ["STS13", "SciFact"]),
        (["CQA", "English"], ["Android", "English"]),
        (["SciFact", "MTEB(small)"], ["SciFact", "STS13", "Android", "English"]),
        (["Pictures"], ["Pictures"]),  # named on its own it is an error of its own, later
    ],
)
def test_tasks_and_benchmarks(words, expected):
    assert official_names(words) == expected


def test_suites_give_their_official_tasks(tmp_path):
    tasks = "{a: {kind: mteb, name: CQA}, b: {kind: benchmark, name: MTEB(small)}, c: {kind: sts, path: x.csv}}"
    (tmp_path / "mine.yaml").write_text(f"name: mine\ntasks: {tasks}\n")
    assert official_names([str(tmp_path / "mine.yaml")]) == ["Android", "English", "STS13"]


def test_other_words_are_one_line():
    with pytest.raises(DataError, match=r"'MTEB\(smal\)': no task, .* did you mean 'MTEB\(small\)'"):
        official_names(["SciFact", "MTEB(smal)"])
