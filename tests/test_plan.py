from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.core.errors import RecipeError
from embedkit.core.spec import Execution, LocalPath, ModelRef, PairsRef
from embedkit.core.stage import Stage
from embedkit.plan import Pins, needed_for, plan


class Base(Stage):
    kind: Literal["base"] = "base"
    produces: ClassVar = "model"
    name: str = "m"
    file: LocalPath | None = None

    def run(self, inputs, out, context): ...


class Rows(Stage):
    kind: Literal["rows"] = "rows"
    produces: ClassVar = "dataset"

    def run(self, inputs, out, context): ...


class Fit(Stage):
    kind: Literal["fit"] = "fit"
    produces: ClassVar = "model"
    model: ModelRef
    pairs: PairsRef
    rate: float = 0.1
    chunk: Annotated[int, Execution()] = 4

    def run(self, inputs, out, context): ...


class One(Stage):
    kind: Literal["one"] = "one"
    produces: ClassVar = "task_scores"
    model: ModelRef

    def run(self, inputs, out, context): ...


class Many(Stage):
    kind: Literal["many"] = "many"
    produces: ClassVar = "scores"
    models: tuple[ModelRef, ...]

    def parts(self):
        return {f"{m}/t": One(model=m) for m in self.models}

    def run(self, inputs, out, context): ...


class Show(Stage):
    kind: Literal["show"] = "show"
    produces: ClassVar = "report"
    labelled: ClassVar = True
    model: ModelRef

    def run(self, inputs, out, context): ...


RECIPE = {
    "base": Base(),
    "rows": Rows(),
    "first": Fit(model="base", pairs="rows"),
    "second": Fit(model="first", pairs="rows", rate=0.2),
    "scores": Many(models=("base", "second")),
    "show": Show(model="second"),
}


def keys(stages, pins=None):
    return {step.name: step.key for step in plan(stages, pins)}


def test_stages_come_after_what_they_need_and_parts_before_their_stage():
    names = [step.name for step in plan(RECIPE)]
    assert names == ["base", "rows", "first", "second", "scores/base/t", "scores/second/t", "scores", "show"]


@given(st.permutations(sorted(RECIPE)))
def test_keys_do_not_depend_on_the_order_of_stages(order):
    assert keys({name: RECIPE[name] for name in order}) == keys(RECIPE)


def test_renaming_a_stage_keeps_its_key_except_where_names_are_shown():
    renamed = {
        "b": Base(),
        "rows": Rows(),
        "f": Fit(model="b", pairs="rows"),
        "second": Fit(model="f", pairs="rows", rate=0.2),
        "scores": Many(models=("b", "second")),
        "show": Show(model="second"),
    }
    before, after = keys(RECIPE), keys(renamed)
    assert after["f"] == before["first"]
    assert after["second"] == before["second"]
    assert after["scores"] == before["scores"]
    assert after["show"] != before["show"]


@pytest.mark.parametrize(
    ("stage", "changed", "rerun"),
    [
        ("first", Fit(model="base", pairs="rows", rate=0.3), {"first", "second", "scores/second/t", "scores", "show"}),
        ("second", Fit(model="first", pairs="rows", rate=0.3), {"second", "scores/second/t", "scores", "show"}),
        ("first", Fit(model="base", pairs="rows", chunk=99), set()),
        ("scores", Many(models=("second",)), {"scores"}),
    ],
)
def test_a_change_reaches_what_follows_and_nothing_else(stage, changed, rerun):
    before, after = keys(RECIPE), keys({**RECIPE, stage: changed})
    assert {name for name in after if after[name] != before.get(name)} == rerun


def test_content_of_files_and_facts_enter_the_key():
    path = Path("/x")
    stages = {"base": Base(file=path)}
    first = keys(stages, Pins(digests={path: "1"}))
    assert first != keys(stages, Pins(digests={path: "2"}))
    assert first == keys({"base": Base(file=Path("/y"))}, Pins(digests={Path("/y"): "1"}))
    assert first != keys(stages, Pins(digests={path: "1"}, facts={"base": {"package": "abc"}}))


def test_every_bad_reference_is_told_at_once():
    stages = {"base": Base(), "first": Fit(model="bse", pairs="base"), "show": Show(model="first")}
    with pytest.raises(RecipeError) as error:
        plan(stages)
    assert error.value.problems == (
        "stages.first.model: no stage is named 'bse'; there are ['base', 'first', 'show']; did you mean 'base'?",
        "stages.first.pairs: needs a pairs or dataset, but 'base' makes a model",
    )


def test_a_circle_is_told():
    stages = {"rows": Rows(), "a": Fit(model="b", pairs="rows"), "b": Fit(model="a", pairs="rows")}
    with pytest.raises(RecipeError, match=r"need each other in a circle: (a -> b -> a|b -> a -> b)"):
        plan(stages)


def test_until_takes_what_is_needed_and_no_more():
    names = [step.name for step in needed_for(plan(RECIPE), "first")]
    assert names == ["base", "rows", "first"]
    assert "scores/base/t" in [step.name for step in needed_for(plan(RECIPE), "scores")]
    with pytest.raises(RecipeError, match=r"no stage is named 'frist'.*did you mean 'first'"):
        needed_for(plan(RECIPE), "frist")


def test_two_stages_may_have_parts_of_the_same_name():
    steps = plan({**RECIPE, "again": Many(models=("base",))})
    assert [s.name for s in steps if s.part_of == "again"] == ["again/base/t"]
    assert [s.name for s in steps if s.part_of == "scores"] == ["scores/base/t", "scores/second/t"]


def test_labels_name_everything_a_step_comes_from():
    step = next(s for s in plan(RECIPE) if s.name == "show")
    assert set(step.labels.values()) == {"base", "rows", "first", "second"}
