"""The command `eval`: models on a suite of tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from embedkit.cli.options import File, Many, Words, option
from embedkit.core.errors import EmbedkitError, RecipeError

if TYPE_CHECKING:
    from embedkit.cli.console import Console
    from embedkit.core.stage import Artifact
    from embedkit.recipe import Recipe
    from embedkit.runner import Result

_SCORES: Final = "scores"  # the stage, and so its folder in the run folder
_TASKS, _MODEL, _RESULTS, _RUN = "Tasks", "Model", "Results", "Run"


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Folders, installed packages that hold a model, or ORG/NAME@REVISION of the hub.",
            metavar="MODEL...",
            show_default=False,
        ),
    ],
    suite: Annotated[
        Words, option("--suite", _TASKS, "A suite that ships with embedkit, or a suite's file.", metavar="NAME|FILE")
    ] = None,
    tasks: Annotated[
        Many,
        option(
            "--task",
            _TASKS,
            "Only this task of the suite; without --suite, one of mteb's. Repeatable.",
            metavar="NAME",
        ),
    ] = None,
    mirror: Annotated[
        File, option("--mirror", _TASKS, "Data of official tasks, as `embedkit mirror` saves it.", metavar="DIR")
    ] = None,
    metrics: Annotated[
        Many, option("--metrics", _TASKS, "Of tasks that rank, e.g. ndcg@10,recall@100.", metavar="METRIC,...")
    ] = None,
    prompt_query: Annotated[
        Words, option("--prompt-query", _MODEL, "Put before every query, in place of the models' own prompts.")
    ] = None,
    prompt_document: Annotated[Words, option("--prompt-document", _MODEL, "The same for documents.")] = None,
    prompt_text: Annotated[
        Words, option("--prompt-text", _MODEL, "The same for texts that are neither, as in STS and classification.")
    ] = None,
    out: Annotated[
        File, option("--out", _RESULTS, "The run folder; runs/eval-<suite> by default.", metavar="DIR")
    ] = None,
    trec: Annotated[
        File, option("--trec", _RESULTS, "Write runs and judgements in TREC's format there too.", metavar="DIR")
    ] = None,
    submit_dir: Annotated[
        File,
        option("--submit-dir", _RESULTS, "Write results there as mteb's leaderboard takes them.", metavar="DIR"),
    ] = None,
    name: Annotated[
        Words, option("--name", _RESULTS, "What the leaderboard is to call the model.", metavar="ORG/NAME")
    ] = None,
    recipe_out: Annotated[
        File, option("--recipe-out", _RUN, "Write the recipe that this comes to.", metavar="FILE")
    ] = None,
    settings: Annotated[
        Many,
        option("--set", _RUN, "Any other field of a stage, e.g. MODEL.max_length=256.", metavar="STAGE.FIELD=VALUE"),
    ] = None,
    store: Annotated[Path, typer.Option(help="Where artifacts are kept.", metavar="DIR", rich_help_panel=_RUN)] = Path(
        ".embedkit"
    ),
    as_json: Annotated[bool, option("--json", _RUN, "Print JSON for machines instead of text.")] = False,
) -> None:
    """Evaluate models by mteb's own tasks. A task that fails is told at the end, the others finish, and the exit code
    is 2. Interrupted, the same command goes on; what was evaluated before is not evaluated again."""
    from embedkit.cli.console import Console
    from embedkit.cli.eval_table import print_scores, scoreboard
    from embedkit.oneshot import eval_draft, in_options, write_recipe

    prompts = {"query": prompt_query, "document": prompt_document, "text": prompt_text}
    draft = eval_draft(
        models=models, suite=suite, tasks=tasks or (), mirror=mirror, metrics=metrics or (), prompts=prompts
    )
    recipe = draft.build(settings or ())
    _check_submission(recipe, submit_dir, name)
    if recipe_out is not None:
        write_recipe(recipe_out, draft.text(recipe, recipe_out))
    folder = out or Path("runs") / recipe.name
    try:
        with Console(as_json=as_json) as console:
            outcome = _run(recipe, store, folder, console)
            board = scoreboard(recipe, outcome.made, outcome.models, _scores_of(outcome.result))
            if not as_json:
                print_scores(board)
            wrote = _files(recipe, outcome, trec, submit_dir, name)
            if as_json:
                places = {"out": str(folder), "files": wrote, "recipe": str(recipe_out) if recipe_out else None}
                told = {"failed": outcome.failed, "notes": _notes(recipe)}
                console.emit("evaluated", {**board.as_json(), **told, **places})
    except EmbedkitError as error:
        raise in_options(error) from error
    for line in [] if as_json else [*_notes(recipe), *_lines(outcome, folder, wrote, recipe_out)]:
        print(line)
    if outcome.failed:
        raise EmbedkitError(*(f"{what}: {text}" for what, problems in outcome.failed.items() for text in problems))


@dataclass
class _Outcome:
    """What came of the run, and of those before it in which something failed."""

    made: dict[tuple[str, str], "Artifact"] = field(default_factory=dict)  # model, task -> its result
    models: dict[str, "Artifact"] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)  # what -> problems
    result: "Result | None" = None  # of what did not fail; None if all did


def _run(recipe: "Recipe", store: Path, out: Path, console: "Console") -> _Outcome:
    """Run the recipe; where something fails, run it again without that: what was made is kept."""
    from embedkit.oneshot.eval import without
    from embedkit.runner import PartsFailed, run

    outcome = _Outcome()
    left: Recipe | None = recipe
    while left is not None:
        try:
            outcome.result = run(left, store=store, out=out, progress=console.progress, emit=console.emit)
            _note(outcome, left, outcome.result.artifacts)
            return outcome
        except EmbedkitError as error:
            failed = _failures(error, left)
            if not failed:
                raise
            _note(outcome, left, error.artifacts if isinstance(error, PartsFailed) else {})
            outcome.failed |= _told(failed, left)
            left = without(left, failed)
    return outcome


def _failures(error: EmbedkitError, recipe: "Recipe") -> dict[str, list[str]]:
    """Step -> what is wrong with it, where all of the error is about steps that others may do without."""
    failed: dict[str, list[str]] = {}
    for problem in error.problems:
        place, colon, text = problem.removeprefix("stages.").partition(": ")
        stage = place.partition("/")[0]
        known = stage in recipe.stages and (stage != _SCORES or "/" in place)
        if not (colon and known and problem.startswith("stages.")):
            return {}
        failed.setdefault(place, []).append(text)
    return failed


def _told(failed: Mapping[str, list[str]], recipe: "Recipe") -> dict[str, list[str]]:
    """What failed in words -> what is wrong. What is wrong with a task for all models alike is told once."""
    models = [name for name, stage in recipe.stages.items() if stage.kind == "pretrained"]
    told: dict[str, list[str]] = {}
    for step, problems in failed.items():
        stage, *pair = step.split("/")
        if not pair:
            what = stage.removeprefix(f"{_SCORES}-")
        elif all(failed.get(f"{_SCORES}/{model}/{pair[1]}") == problems for model in models):
            what = pair[1]
        else:
            what = " on ".join(pair)
        known = f"{step.rpartition('/')[2]}: "  # errors may begin with what is named already
        told[what] = [problem.removeprefix(known) for problem in problems]
    return told


def _note(outcome: _Outcome, recipe: "Recipe", artifacts: Mapping[str, "Artifact"]) -> None:
    """Remember what was made."""
    for step, artifact in artifacts.items():
        stage, *pair = step.split("/")
        if len(pair) == 2:
            outcome.made[pair[0], pair[1]] = artifact
        elif recipe.stages[stage].kind == "pretrained":
            outcome.models[stage] = artifact


def _scores_of(result: "Result | None") -> "Artifact | None":
    return result.artifacts[_SCORES] if result is not None else None


def _check_submission(recipe: "Recipe", to: Path | None, name: str | None) -> None:
    models = [stage for stage in recipe.stages.values() if stage.kind == "pretrained"]
    if (to is None) != (name is None):
        missing, given = ("submit-dir", "name") if to is None else ("name", "submit-dir")
        raise RecipeError(f"--{missing}: is missing; it goes with --{given}")
    if to is not None and len(models) > 1:
        raise RecipeError(f"--submit-dir: takes one model at a time, which --name names; found {len(models)}")


def _files(
    recipe: "Recipe", outcome: _Outcome, trec: Path | None, submit_dir: Path | None, name: str | None
) -> dict[str, Any]:
    """Write what other tools read, and say what."""
    wrote: dict[str, Any] = {}
    if trec is not None:
        from embedkit.cli.eval_files import write_trec

        wrote["trec"] = [str(path) for path in write_trec(trec, outcome.made)]
    if submit_dir is not None and name is not None and outcome.made:
        from embedkit.cli.eval_files import submit

        model, artifact = next(iter(outcome.models.items()))
        results = {task: found.path for (_, task), found in outcome.made.items()}
        wrote["submission"] = submit(recipe.stages[model], artifact.path, results, submit_dir, name)
    return wrote


def _notes(recipe: "Recipe") -> list[str]:
    """What there is to tell of the suite."""
    return [str(note) for note in getattr(recipe.stages[_SCORES], "notes", ())]


def _lines(outcome: _Outcome, out: Path, wrote: Mapping[str, Any], recipe_out: Path | None) -> list[str]:
    """Where things are."""
    submission = wrote.get("submission")
    return [
        *([f"scores, query by query: {out / _SCORES}"] if outcome.result else []),
        *([f"runs and judgements: {len(wrote['trec'])} files"] if "trec" in wrote else []),
        *(submission["told"] if submission else []),
        *([f"recipe: {recipe_out}"] if recipe_out else []),
    ]
