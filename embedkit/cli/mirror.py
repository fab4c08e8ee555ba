"""The command `mirror`: official data sets in a folder, for evaluation without a network."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedkit.core.errors import EmbedkitError, RecipeError

if TYPE_CHECKING:
    from embedkit.cli.console import Console
    from embedkit.core.dataset import Dataset
    from embedkit.evaluation.mirror.facts import TaskFacts
    from embedkit.evaluation.mirror.manifest import Manifest

Folder = Path | None
Many = list[str] | None


def mirror(
    names: Annotated[
        Many,
        typer.Argument(
            help="Tasks of mteb, its benchmarks, suites, or files of suites.", metavar="NAME...", show_default=False
        ),
    ] = None,
    to: Annotated[Folder, typer.Option("--to", help="The mirror; made, or added to.", metavar="DIR")] = None,
    from_beir: Annotated[
        Folder,
        typer.Option("--from-beir", help="Fill a retrieval task from a BEIR folder, with no network.", metavar="DIR"),
    ] = None,
    from_tables: Annotated[
        Folder,
        typer.Option("--from-tables", help="Fill another task from test.csv, train.csv ... there.", metavar="DIR"),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="The official task that the files are for.")] = None,
    columns: Annotated[
        Many,
        typer.Option(
            "--columns", help="A column of --from-tables by another name. May be repeated.", metavar="OFFICIAL=NAME"
        ),
    ] = None,
    splits: Annotated[
        Many,
        typer.Option(
            "--split", help="What an official split is made of. May be repeated.", metavar="OFFICIAL=NAME[+NAME]"
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Open each task once before it is kept; unpacks all its data.")
    ] = True,
    verify: Annotated[
        Folder, typer.Option("--verify", help="Hold every file of this mirror against its manifest.", metavar="DIR")
    ] = None,
) -> None:
    """Save official data sets for machines without a network, or build them from files that are at hand."""
    from embedkit.cli.console import Console

    if verify is not None:
        _verify(verify)
        return
    if to is None or sum(map(bool, (names, from_beir, from_tables))) != 1:
        raise RecipeError("mirror needs --to DIR and one of: names of tasks, --from-beir DIR, --from-tables DIR")
    if bool(task) != bool(from_beir or from_tables):
        raise RecipeError("--task goes with --from-beir and --from-tables: the official task that the files are for")
    if (columns and not from_tables) or (splits and names):
        raise RecipeError("--columns goes with --from-tables, --split with that or --from-beir")
    with Console(as_json=False) as console:
        if task and from_beir:
            _make(task, check=check, build=lambda facts, opens: _of_beir(to, facts, from_beir, splits, opens, console))
        elif task and from_tables:
            _make(
                task, check=check, build=lambda facts, opens: _of_tables(to, facts, from_tables, columns, splits, opens)
            )
        else:
            _from_hub(names or [], to, console, check=check)


Check = Callable[[Path], object]


def _make(name: str, *, check: bool, build: "Callable[[TaskFacts, Check], Manifest]") -> None:
    """Build the entry of an official task, which mteb's class must open if `check`, and say what came of it."""
    from embedkit.evaluation.containment import contained

    remarks: list[str] = []
    with contained():
        from embedkit.evaluation.official import check_opens, facts_of

        found = build(facts_of(name), lambda entry: remarks.extend(check_opens(entry) if check else []))
    source = found.path if found.origin == "hub" else f"files for {found.path}"
    print(f"{found.task}: {source} at {found.revision}, {len(found.files)} files", flush=True)
    for remark in remarks:
        print(f"note: {remark}", file=sys.stderr)


def _from_hub(names: Sequence[str], to: Path, console: "Console", *, check: bool) -> None:
    """Every task; what is wrong with one does not keep the others from being mirrored."""
    from embedkit.evaluation.mirror.from_hub import mirror_from_hub
    from embedkit.evaluation.mirror.names import official_names

    problems: list[str] = []
    found = official_names(names)
    with console.progress("mirroring", len(found)) as advance:
        for name in found:
            try:
                _make(name, check=check, build=lambda facts, opens: mirror_from_hub(to, facts, check=opens))
            except EmbedkitError as error:
                problems += error.problems
            advance(1)
    if problems:
        raise EmbedkitError(*problems)


def _of_beir(to: Path, facts: "TaskFacts", folder: Path, splits: Many, check: Check, console: "Console") -> "Manifest":
    from embedkit.data.sources import BeirFolder
    from embedkit.evaluation.mirror.from_beir import mirror_from_beir

    with tempfile.TemporaryDirectory() as work:
        dataset: Dataset = BeirFolder(path=folder).load(Path(work), console.progress)[0].dataset()
        made_of = _made_of(splits)
        return mirror_from_beir(to, facts, dataset, splits=made_of, check=check, place=str(folder))


def _of_tables(to: Path, facts: "TaskFacts", folder: Path, columns: Many, splits: Many, check: Check) -> "Manifest":
    from embedkit.evaluation.mirror.from_tables import mirror_from_tables

    renamed = dict(_pair(word, "--columns") for word in columns or ())
    return mirror_from_tables(to, facts, folder, columns=renamed, splits=_made_of(splits), check=check)


def _made_of(splits: Many) -> dict[str, tuple[str, ...]]:
    return {official: tuple(parts.split("+")) for official, parts in (_pair(w, "--split") for w in splits or ())}


def _pair(word: str, option: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (name and equals and value):
        raise RecipeError(f"{option} {word}: expected OFFICIAL=NAME, with the official name first")
    return name, value


def _verify(folder: Path) -> None:
    from embedkit.core.errors import ArtifactError, DataError
    from embedkit.evaluation.mirror import manifest

    tasks = manifest.tasks_in(folder)
    if not tasks:
        raise DataError(f"{folder}: is no mirror: no folder in it has a manifest.json")
    problems: list[str] = []
    for task in tasks:
        try:
            manifest.verify(folder / task)
        except ArtifactError as error:
            problems += error.problems
    for problem in problems:
        print(problem)
    print(f"{len(tasks)} tasks, {len(problems)} problems" if problems else f"{len(tasks)} tasks, all as they were made")
    if problems:
        raise typer.Exit(1)
