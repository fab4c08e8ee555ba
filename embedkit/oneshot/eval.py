"""The recipe of `embedkit eval`: a stage for each model, the suite's data, and the stage `scores`."""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from embedkit.core.errors import RecipeError
from embedkit.evaluation.stage import Evaluate
from embedkit.evaluation.suite import load_suite
from embedkit.evaluation.tasks import LocalTask
from embedkit.expansion import expand
from embedkit.oneshot.draft import Draft
from embedkit.oneshot.inputs import model_source
from embedkit.recipe import Recipe

SCORES: Final = "scores"
_VAGUE: Final = ("model", "final", "best")  # folders that say nothing of the model in them


def eval_draft(
    *,
    models: Sequence[str],
    suite: str | None,
    tasks: Sequence[str] = (),
    mirror: Path | None = None,
    metrics: Sequence[str] = (),
    prompts: Mapping[str, str | None] | None = None,
) -> Draft:
    """A draft from the command's words.

    `tasks` are those of the suite to evaluate on, all if there are none; without a suite, official tasks of mteb.
    `mirror` has the data of official tasks. `prompts` (query, document, text) go before the suite's. Raises an
    `EmbedkitError` that names the option.
    """
    name = Path(suite).stem if suite else tasks[0] if len(tasks) == 1 else "tasks"
    draft = Draft("eval", name=f"eval-{_plain(name)}")
    names = model_names(models)
    for word, stage in names.items():
        draft.stage(stage, "pretrained")
        draft.put(f"{stage}.source", model_source(word, "MODEL"), f"MODEL {word}")
    draft.stage(SCORES, "evaluate", models=list(names.values()))
    if suite is not None:
        expand(draft.document, SCORES, load_suite(suite), only=tasks or None, mirror=mirror)
    else:
        _official(draft, tasks, mirror)
    found = [part for text in metrics for part in text.split(",")]
    draft.put(f"{SCORES}.metrics", found or None, f"--metrics {','.join(found)}")
    given = {role: text for role, text in (prompts or {}).items() if text is not None}
    for task in draft.document.value["stages"][SCORES]["tasks"]:
        for role, text in given.items():
            place = ("stages", SCORES, "tasks", task, "prompts", role)
            draft.document.set(place, text, f"--prompt-{role} {text}")
        if given:  # asked for in so many words
            draft.document.set(("stages", SCORES, "tasks", task, "undeclared_prompts"), True, "--prompt")
    return draft


def model_names(models: Sequence[str]) -> dict[str, str]:
    """Word for a model -> a short name that is like no other's and can be a stage's."""
    if twice := [word for i, word in enumerate(models) if word in models[:i]]:
        raise RecipeError(f"MODEL {twice[0]}: is given twice")
    choices = {word: list(_choices(word)) for word in models}
    level = dict.fromkeys(models, 0)
    while clashing := _clashing({word: choices[word][level[word]] for word in models}):
        longer = [word for word in clashing if level[word] + 1 < len(choices[word])]
        if not longer:  # words for the same folder
            break
        for word in longer:
            level[word] += 1
    names: dict[str, str] = {}
    for word in models:
        name, number = choices[word][level[word]], 2
        while name in names.values():
            name, number = f"{choices[word][level[word]]}-{number}", number + 1
        names[word] = name
    return names


def without(recipe: Recipe, failed: Collection[str]) -> Recipe | None:
    """The recipe of `eval` without what cannot be made: models that failed on all tasks, then tasks that failed.

    `failed` are names of steps: a model's, a data set's or scores/MODEL/TASK. None if nothing is left.
    """
    scores = recipe.stages[SCORES]
    assert isinstance(scores, Evaluate)
    lost = {pair for step in failed for pair in _pairs(scores, step)}
    models = tuple(m for m in scores.models if any((m, task) not in lost for task in scores.tasks))
    tasks = {t: task for t, task in scores.tasks.items() if all((m, t) not in lost for m in models)}
    if not models or not tasks:
        return None
    data = {task.data for task in tasks.values() if isinstance(task, LocalTask)}
    stages = {name: stage for name, stage in recipe.stages.items() if name in models or name in data}
    groups = {task: group for task, group in scores.groups.items() if task in tasks}
    left = scores.model_copy(update={"models": models, "tasks": tasks, "groups": groups})
    return Recipe(recipe.name, {**stages, SCORES: left})


def _pairs(scores: Evaluate, step: str) -> Iterator[tuple[str, str]]:
    """The models and tasks that need a step."""
    for model in scores.models:
        for name, task in scores.tasks.items():
            data = task.data if isinstance(task, LocalTask) else None
            if step in (model, data, f"{SCORES}/{model}/{name}"):
                yield model, name


def _official(draft: Draft, tasks: Sequence[str], mirror: Path | None) -> None:
    if not tasks:
        raise RecipeError("--suite: is missing; name a suite or, with --task, tasks of mteb")
    for task in tasks:
        value: dict[str, Any] = {"kind": "mteb", "name": task}
        if mirror is not None:
            from embedkit.evaluation.mirror.manifest import entry_of

            value["mirror"] = str(entry_of(mirror, task))
        draft.document.set(("stages", SCORES, "tasks", task), value, f"--task {task}")


def _choices(word: str) -> Iterator[str]:
    """Names for a model, each longer than the one before."""
    path = Path(os.path.normpath(Path.cwd() / word))  # links keep their names
    if path.is_dir():
        parts = [part for part in path.parts[1:] if _plain(part)]
        first = 2 if len(parts) > 1 and parts[-1].lower() in _VAGUE else 1
        for length in range(first, len(parts) + 1):
            yield _plain("-".join(parts[-length:]))
        return
    name, _, revision = word.partition("@")
    organisation, _, last = name.rpartition("/")
    yield _plain(last)
    yield _plain("-".join(filter(None, (organisation, last))))
    yield _plain("-".join(filter(None, (organisation, last, revision[:8]))))


def _plain(text: str) -> str:
    """Only letters, digits, `-` and `_`, a letter first."""
    found = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")
    return found if found[:1].isalpha() or not found else f"m-{found}"


def _clashing(names: Mapping[str, str]) -> list[str]:
    """Words whose name another one has, or which stages of ours have."""
    taken = list(names.values())
    return [word for word, name in names.items() if taken.count(name) > 1 or re.match(rf"{SCORES}(-|$)", name)]
