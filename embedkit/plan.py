"""Recipe -> plan: the stages in the order they run, each with the key of the artifact it makes. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from embedkit.core.errors import Problem, RecipeError, did_you_mean
from embedkit.core.spec import Reference, digest, identity, marked
from embedkit.core.stage import Stage


@dataclass(frozen=True)
class Pins:
    """What the outside world was when the plan was made: digests of external files, facts stages asked for."""

    digests: Mapping[Path, str] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # stage name -> facts


@dataclass(frozen=True)
class Step:
    """One stage ready to run: its artifact's key, and the keys of the artifacts it reads."""

    name: str  # as in the recipe; a part of a stage is `stage/part`
    stage: Stage
    key: str
    identity: Mapping[str, Any]  # what the key is the digest of
    inputs: Mapping[str, str]  # name used by the spec (or by `parts`) -> key
    sources: Mapping[str, str]  # where in the spec -> key
    labels: Mapping[str, str]  # key -> stage name of everything this step comes from
    part_of: str | None = None


def plan(stages: Mapping[str, Stage], pins: Pins | None = None) -> list[Step]:
    """Order the stages and give each the key its artifact will have. Reads and writes nothing.

    Raises `RecipeError` with every bad reference and cycle. The order depends on the references alone and, among
    stages that do not need each other, on the recipe.
    """
    if problems := list(check(stages)):
        raise RecipeError(*map(str, problems))
    pins = pins or Pins()
    steps: dict[str, Step] = {}
    for name in _order(stages):
        for part_name, part in stages[name].parts().items():
            steps[f"{name}/{part_name}"] = _step(f"{name}/{part_name}", part, pins, steps, part_of=name)
        steps[name] = _step(name, stages[name], pins, steps)
    return list(steps.values())


def check(stages: Mapping[str, Stage], types: Mapping[str, str] | None = None) -> Iterator[Problem]:
    """Every bad reference, and the first cycle.

    `types` gives the artifact types of all stages the recipe names, those that could not be read included, so that a
    mistake inside one stage is not reported again by the stages that refer to it.
    """
    types = types or {name: stage.produces for name, stage in stages.items()}
    graph: dict[str, list[str]] = {}
    for name, stage in stages.items():
        graph[name] = []
        for where, wanted, mark in marked(stage, Reference):
            if wanted not in types:
                hint = did_you_mean(wanted, types)
                yield Problem(
                    ("stages", name, *where), f"no stage is named {wanted!r}; there are {sorted(types)}{hint}"
                )
                continue
            graph[name].append(wanted)
            if types[wanted] not in mark.types and types[wanted] != "?":
                needs = " or ".join(mark.types)
                yield Problem(("stages", name, *where), f"needs a {needs}, but {wanted!r} makes a {types[wanted]}")
        for problem in stage.conflicts(stages):
            yield Problem(("stages", name, *problem.where), problem.message)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1]
        yield Problem(("stages", circle[0]), f"stages need each other in a circle: {' -> '.join(circle)}")


def needed_for(steps: list[Step], name: str) -> list[Step]:
    """The steps that `name` needs, itself included, in order. Raises `RecipeError` if there is no such stage."""
    by_key = {step.key: step for step in steps}
    chosen = [step for step in steps if step.name == name]
    if not chosen:
        names = [step.name for step in steps if step.part_of is None]
        raise RecipeError(f"--until {name}: no stage is named {name!r}; there are {names}{did_you_mean(name, names)}")
    wanted, keys = list(chosen), {chosen[0].key}
    while wanted:
        for key in wanted.pop().inputs.values():
            if key not in keys:
                keys.add(key)
                wanted.append(by_key[key])
    return [step for step in steps if step.key in keys]


def _order(stages: Mapping[str, Stage]) -> list[str]:
    """Stage names, each after those it needs, otherwise in the order of the recipe."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in done:
            for _, needed, _ in marked(stages[name], Reference):
                visit(needed)
            done[name] = None

    for name in stages:
        visit(name)
    return list(done)


def _step(name: str, stage: Stage, pins: Pins, steps: Mapping[str, Step], part_of: str | None = None) -> Step:
    sources = {".".join(map(str, where)): steps[ref].key for where, ref, _ in marked(stage, Reference)}
    inputs = {ref: steps[ref].key for _, ref, _ in marked(stage, Reference)}
    parts = {part: steps[f"{name}/{part}"].key for part in stage.parts()}
    about: dict[str, Any] = {
        "spec": identity(stage, keys=inputs, digests=pins.digests),
        "version": stage.version,
        "parts": sorted(parts.values()),
        "facts": dict(pins.facts.get(name, {})),
    }
    labels = _labels([*inputs.values(), *parts.values()], steps)
    if stage.labelled:
        about["labels"] = labels
    return Step(name, stage, digest(about), about, {**inputs, **parts}, sources, labels, part_of)


def _labels(keys: list[str], steps: Mapping[str, Step]) -> dict[str, str]:
    """key -> stage name of these artifacts and all they come from. Two names for one key: the first in the recipe."""
    by_key: dict[str, Step] = {}
    for step in steps.values():
        by_key.setdefault(step.key, step)
    labels: dict[str, str] = {}
    for key in keys:
        step = by_key[key]
        labels |= {k: v for k, v in step.labels.items() if k not in labels}
        if step.part_of is None:
            labels.setdefault(key, step.name)
    return labels
