"""Names that mteb knows: asked for once, then read from a file; a damaged file costs time only."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from embedkit.core.errors import DataError
from embedkit.evaluation import registry as module
from embedkit.evaluation.registry import KnownTask, Registry, Selection, registry


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and the number of times that mteb was asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []
    task = KnownTask("STS", ("test",), ("default",), ("text",), "cosine_spearman", ())
    small = Registry({"A": task}, {"B": (Selection("A", None, ("default",)),)})
    monkeypatch.setattr(module, "_ask", lambda: asked.append(1) or small)
    registry.cache_clear()
    yield tmp_path / "embedkit" / f"mteb-{version('mteb')}.json", asked, small
    registry.cache_clear()


def test_mteb_is_asked_once(cache):
    path, asked, small = cache
    for _ in range(2):
        assert registry() == small
        registry.cache_clear()
    assert path.is_file()
    assert len(asked) == 1


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": 1}', '{"format": 2, "tasks": {"A": {"x": 1}}}'])
def test_a_damaged_file_is_made_anew(cache, content):
    path, asked, small = cache
    path.parent.mkdir()
    path.write_text(content)
    assert registry() == small
    assert json.loads(path.read_text())["format"] == 2
    assert len(asked) == 1


def test_a_cache_that_cannot_be_written_does_not_matter(cache):
    path, _, small = cache
    path.parent.write_text("a file where the folder goes")
    assert registry() == small


def test_what_is_read_is_what_mteb_says():
    import mteb

    known = registry()
    for name in ("SciFact", "STSBenchmark", "STS22", "ArguAna", "MIRACLRetrieval"):
        about = mteb.get_task(name).metadata
        found = known.tasks[name]
        assert (found.type, found.main) == (about.type, about.main_score)
        assert (list(found.splits), list(found.subsets)) == (list(about.eval_splits), list(about.hf_subsets))
    benchmark = mteb.get_benchmark("MTEB(eng, v2)")
    chosen = known.text_tasks("MTEB(eng, v2)")
    assert [one.name for one in chosen] == [task.metadata.name for task in benchmark.tasks]
    for one, task in zip(chosen, benchmark.tasks, strict=True):
        assert set(one.subsets or known.tasks[one.name].subsets) == set(task.hf_subsets)
        assert set(one.splits or known.tasks[one.name].splits) == set(task.eval_splits)


def test_a_mean_of_tasks_stands_for_them_and_images_are_left_out():
    known = registry()
    names = [one.name for one in known.text_tasks("BEIR")]
    assert "CQADupstackGamingRetrieval" in names
    assert "CQADupstackRetrieval" not in names
    assert len(set(names)) == len(names)
    pictured = known.benchmarks["MIEB(lite)"]
    assert any("image" in known.tasks[one.name].modalities for one in pictured)
    assert all(known.tasks[one.name].modalities == ("text",) for one in known.text_tasks("MIEB(lite)"))


@pytest.mark.parametrize("name", ["BEIR", "MTEB(eng, v1)", "MTEB(eng, v2)", "RTEB(beta)", "MIEB(lite)"])
def test_every_task_of_a_benchmark_is_evaluated_or_left_out(name):
    """As many groups of tasks as mteb's mean has tasks, but for those that are told to be left out."""
    import mteb

    known = registry()
    tasks = {task.metadata.name: task.metadata for task in mteb.get_benchmark(name).tasks}
    left = known.left_out(name)
    assert {one.group or one.name for one in known.text_tasks(name)} | set(left) == set(tasks)
    assert set(left) == {n for n, about in tasks.items() if set(about.modalities) != {"text"} or not about.is_public}


def test_what_is_left_out_is_told_in_a_line():
    def task(*modalities, parts=(), public=True):
        return KnownTask("STS", ("test",), ("default",), modalities, "cosine_spearman", parts, public)

    tasks = {"A": task("text"), "B": task("text", public=False), "C": task("text", "image")}
    tasks |= {"AA": task("text", parts=("A", "D")), "D": task("text"), "AB": task("text", parts=("A", "B"))}
    tasks |= {f"P{i}": task("text", public=False) for i in range(16)}
    chosen = [Selection(name, None, None) for name in ("A", "C", "B", "AB", "AA")]
    many = [Selection(f"P{i}", None, None) for i in range(16)]
    known = Registry(tasks, {"X": tuple(chosen), "Y": tuple(chosen[:1]), "Z": tuple(many)})
    assert known.text_tasks("X") == [chosen[0], Selection("D", None, None, group="AA")]
    assert known.told_left_out("X") == (
        "X: 3 of its 5 tasks are left out. C: needs image and text; B, AB: its data are not public"
    )
    assert known.told_left_out("Y") is None
    assert ", P14, 1 more: its data are not public" in str(known.told_left_out("Z"))


def test_an_unknown_benchmark_is_one_line():
    with pytest.raises(DataError, match=r"^mteb has no benchmark 'MTEB\(eng, v3\)'; did you mean 'MTEB\(eng, v2\)'\?$"):
        registry().text_tasks("MTEB(eng, v3)")


def test_a_second_look_imports_no_mteb():
    registry()
    code = "import sys; from embedkit.evaluation.registry import registry; registry(); print('mteb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
