"""The engine, with stages that do nothing but write what they were given."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from filelock import FileLock

from embedkit import maintenance
from embedkit.core.errors import DataError, EmbedkitError, RecipeError
from embedkit.core.spec import LocalPath, ModelRef
from embedkit.core.stage import Stage
from embedkit.core.stats import write_stats
from embedkit.core.store import Store
from embedkit.difference import difference
from embedkit.plan import plan
from embedkit.recipe import Recipe
from embedkit.runner import PartsFailed, run

RAN: list[str] = []


class Source(Stage):
    kind: Literal["source"] = "source"
    produces: ClassVar = "model"
    text: str = "x"

    def run(self, inputs, out, context):
        RAN.append("source")
        if self.text == "bad":
            raise DataError("text: found 'bad'; expected anything else")
        (out / "text.txt").write_text(self.text)
        write_stats(out, {"summary": [f"wrote {self.text}"]})


class Reads(Stage):
    kind: Literal["reads"] = "reads"
    produces: ClassVar = "model"
    path: LocalPath

    def run(self, inputs, out, context):
        (out / "text.txt").write_text(self.path.read_text())
        self.path.write_text("another")


class Join(Stage):
    kind: Literal["join"] = "join"
    produces: ClassVar = "model"
    models: tuple[ModelRef, ...]
    between: str = ""

    def parts(self):
        return {f"{m}/upper": Upper(model=m) for m in self.models}

    def run(self, inputs, out, context):
        RAN.append("join")
        texts = [(inputs[f"{m}/upper"].path / "text.txt").read_text() for m in self.models]
        (out / "text.txt").write_text(self.between.join(texts))


class Upper(Stage):
    kind: Literal["upper"] = "upper"
    produces: ClassVar = "text"
    model: ModelRef

    def run(self, inputs, out, context):
        RAN.append("upper")
        (out / "text.txt").write_text((inputs[self.model].path / "text.txt").read_text().upper())


def recipe(between="", text="a"):
    stages = {"a": Source(text=text), "b": Source(text="b"), "ab": Join(models=("a", "b"), between=between)}
    return Recipe("toy", stages)


@pytest.fixture
def place(tmp_path):
    RAN.clear()
    return {"store": tmp_path / "store", "out": tmp_path / "out"}


def test_a_run_makes_every_stage_and_links_it_by_name(place):
    events = []
    result = run(recipe(), **place, emit=lambda event, facts: events.append((event, facts.get("stage"))))
    assert (place["out"] / "ab" / "text.txt").read_text() == "AB"
    assert sorted(RAN) == ["join", "source", "source", "upper", "upper"]
    assert result.made == ["a", "b", "ab/a/upper", "ab/b/upper", "ab"]
    assert ("stage_finished", "ab") in events
    provenance = json.loads((place["out"] / "provenance.json").read_text())
    assert provenance["stages"]["ab"]["made"]["seconds"] >= 0
    assert provenance["stages"]["ab"]["made"]["peak_memory"] > 0
    assert provenance["versions"]["torch"]


def test_a_second_run_makes_nothing(place):
    run(recipe(), **place)
    RAN.clear()
    assert run(recipe(), **place).made == []
    assert RAN == []


def test_where_a_part_fails_the_others_are_made_and_kept(place, monkeypatch):
    def refuse(stage, inputs, out, context):
        if stage.model in refused:
            raise DataError(f"model: found {stage.model!r}")
        (out / "text.txt").write_text(stage.model)

    refused, events = {"a"}, []
    monkeypatch.setattr(Upper, "run", refuse)
    with pytest.raises(PartsFailed) as caught:
        run(recipe(), **place, emit=lambda event, facts: events.append((event, facts.get("stage"))))
    assert caught.value.problems == ("stages.ab/a/upper: model: found 'a'",)
    assert set(caught.value.artifacts) == {"a", "b", "ab/b/upper"}
    assert ("stage_failed", "ab/a/upper") in events
    assert RAN == ["source", "source"]
    refused.clear()
    assert run(recipe(), **place).made == ["ab/a/upper", "ab"]
    assert (place["out"] / "ab" / "text.txt").read_text() == "ab"


def test_every_part_that_fails_is_told(place, monkeypatch):
    def refuse(stage, inputs, out, context):
        raise DataError(f"model: found {stage.model!r}")

    monkeypatch.setattr(Upper, "run", refuse)
    with pytest.raises(PartsFailed) as caught:
        run(recipe(), **place)
    assert caught.value.problems == tuple(f"stages.ab/{m}/upper: model: found {m!r}" for m in "ab")


def test_parts_that_another_process_makes_are_left_for_last(place, monkeypatch):
    """The other process holds the first part's lock until this one has made the second."""
    keys = {step.name: step.key for step in plan(recipe().stages)}
    store = Store(place["store"].resolve())
    store.work.mkdir(parents=True)
    lock = FileLock(store.work / f"{keys['ab/a/upper']}.lock", thread_local=False)
    lock.acquire()
    upper, order = Upper.run, []

    def released(stage, inputs, out, context):
        order.append(stage.model)
        if stage.model == "b":
            lock.release()
        upper(stage, inputs, out, context)

    monkeypatch.setattr(Upper, "run", released)
    result = run(recipe(), **place)
    assert order == ["b", "a"]
    assert result.made == ["a", "b", "ab/b/upper", "ab/a/upper", "ab"]


def test_two_runs_at_once_share_the_parts(place, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from tests.test_runner import Join, Source, Upper
        from embedkit.recipe import Recipe
        from embedkit.runner import run

        upper, mine = Upper.run, []
        def slow(stage, inputs, out, context):
            mine.append(stage.model)
            time.sleep(0.3)
            upper(stage, inputs, out, context)
        Upper.run = slow
        sources = {f"s{i}": Source(text=str(i)) for i in range(8)}
        recipe = Recipe("toy", {**sources, "all": Join(models=tuple(sources))})
        run(recipe, store=Path(sys.argv[1]), out=Path(sys.argv[2]))
        print(len(mine))
    """)
    )
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, str(script), str(place["store"])]
    both = [
        subprocess.Popen([*command, str(tmp_path / name)], stdout=subprocess.PIPE, text=True, env=environment)
        for name in ("one", "two")
    ]
    counts = [int(process.communicate(timeout=120)[0]) for process in both]
    assert sum(counts) == 8
    assert [(tmp_path / name / "all" / "text.txt").read_text() for name in ("one", "two")] == ["01234567"] * 2


def test_a_parts_facts_are_part_of_its_key(place, monkeypatch):
    run(recipe(), **place)
    monkeypatch.setattr(Upper, "facts", lambda stage: {"version": 2} if stage.model == "a" else {})
    assert run(recipe(), **place).made == ["ab/a/upper", "ab"]


def test_a_change_makes_again_only_what_follows(place):
    run(recipe(), **place)
    assert run(recipe(between="-"), **place).made == ["ab"]
    assert run(recipe(between="-", text="c"), **place).made == ["a", "ab/a/upper", "ab"]
    assert (place["out"] / "ab" / "text.txt").read_text() == "C-B"


def test_until_stops_there(place):
    result = run(recipe(), **place, until="a")
    assert RAN == ["source"]
    assert [p.name for p in place["out"].iterdir() if p.is_symlink()] == ["a"]
    assert list(result.artifacts) == ["a"]


def test_links_of_stages_that_are_gone_are_removed_and_other_files_left(place):
    run(recipe(), **place)
    (place["out"] / "notes.txt").write_text("mine")
    run(Recipe("toy", {"z": Source(text="a")}), **place)
    assert sorted(p.name for p in place["out"].iterdir()) == ["notes.txt", "provenance.json", "scores.json", "z"]


def test_files_of_the_users_own_are_never_replaced(place):
    place["out"].mkdir()
    (place["out"] / "mine").symlink_to("/tmp")
    (place["out"] / "a").write_text("my notes")
    with pytest.raises(EmbedkitError, match="a: stands where a link to a stage's artifact goes"):
        run(recipe(), **place)
    assert RAN == []
    (place["out"] / "a").unlink()
    run(recipe(), **place)
    assert (place["out"] / "mine").is_symlink()


def test_what_a_running_run_has_made_is_not_garbage(place):
    seen = []

    def emit(event, facts):
        if event == "published":
            seen.append(maintenance.garbage(Store(place["store"])))

    run(recipe(), **place, emit=emit)
    assert len(seen) == 5
    assert all(e.sort == "work" for found in seen for e in found)


def test_a_folder_left_without_its_manifest_is_made_again(place):
    artifact = run(recipe(), **place).artifacts["a"]
    (artifact.path / "manifest.json").unlink()
    assert "a" in run(recipe(), **place).made


def test_artifacts_are_read_only(place):
    path = run(recipe(), **place).artifacts["a"].path / "text.txt"
    assert path.stat().st_mode & 0o222 == 0


def test_a_file_that_changes_while_it_is_read_is_not_published(place, tmp_path):
    (tmp_path / "data.txt").write_text("one")
    changing = Recipe("toy", {"r": Reads(path=tmp_path / "data.txt")})
    with pytest.raises(DataError, match="changed while it was being read"):
        run(changing, **place)
    assert list(Store(place["store"]).finished()) == []


def test_provenance_of_the_run_that_made_things_stays(place):
    run(recipe(), **place)
    before = (place["out"] / "provenance.json").read_text()
    run(recipe(), **place)
    assert (place["out"] / "provenance.json").read_text() == before


def test_settings_need_a_file(place):
    with pytest.raises(RecipeError, match="already loaded"):
        run(recipe(), **place, settings=["a.text=b"])


def test_a_stage_error_names_the_stage_and_leaves_nothing(place):
    with pytest.raises(DataError, match=r"^stages\.a: text: found 'bad'"):
        run(recipe(text="bad"), **place)
    assert list(Store(place["store"]).finished()) == []
    assert [p.name for p in place["out"].iterdir()] == []


def test_difference_says_why_a_stage_ran_again(place, tmp_path):
    run(recipe(), store=place["store"], out=tmp_path / "one")
    run(recipe(between="-", text="c"), store=place["store"], out=tmp_path / "two")
    found = {d.stage: d for d in difference(tmp_path / "one", tmp_path / "two")}
    assert found["a"].reasons == ('text: "a" -> "c"',)
    assert found["ab"].reasons == ('between: "" -> "-"',)
    assert found["ab"].because_of == ("a", "a/upper")
    assert "b" not in found
    assert difference(tmp_path / "one", tmp_path / "one") == []


def test_garbage_is_what_no_run_folder_uses(place, tmp_path):
    run(recipe(), store=place["store"], out=tmp_path / "one")
    run(recipe(text="c"), store=place["store"], out=tmp_path / "two")
    store = Store(place["store"])
    assert maintenance.garbage(store) == []
    before = set(store.finished())
    for link in (tmp_path / "two").iterdir():
        link.unlink()
    (tmp_path / "two").rmdir()
    gone = maintenance.garbage(store)
    assert {e.kind for e in gone} == {"source", "upper", "join"}
    assert maintenance.collect(store, gone) > 0
    assert set(store.finished()) == before - {e.name for e in gone}
    assert run(recipe(), store=place["store"], out=tmp_path / "one").made == []


def test_work_of_a_dead_process_is_garbage_of_a_living_one_not(place):
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from embedkit.core.store import Store

        def make(draft, work):
            (work / "checkpoint").write_text("x")
            print("ready", flush=True)
            time.sleep(60)

        Store(Path(sys.argv[1])).get_or_make("key", make, about={})
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(place["store"])], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert maintenance.garbage(Store(place["store"])) == []
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert [e.sort for e in maintenance.garbage(Store(place["store"]))] == ["work"]


def test_verify_names_what_is_damaged(place):
    run(recipe(), **place)
    store = Store(place["store"])
    assert list(maintenance.verify(store)) == []
    (place["out"] / "a" / "text.txt").write_text("tampered")
    assert "text.txt" in next(iter(maintenance.verify(store)))
