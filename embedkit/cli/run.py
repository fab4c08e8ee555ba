"""The command `run`: a recipe, in this process or in several."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedkit.cli.options import DEFAULT_STORE, AsJson, RecipeFile, Settings, StoreDir, Until
from embedkit.cli.push import stage_to_push
from embedkit.core.errors import EmbedkitError

if TYPE_CHECKING:
    from embedkit.recipe import Recipe


def run(
    recipe: RecipeFile,
    store: StoreDir = DEFAULT_STORE,
    out: Annotated[
        Path | None, typer.Option("--out", help="The run folder.  [default: runs/<recipe name>]", metavar="DIR")
    ] = None,
    settings: Settings = None,
    until: Until = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--nproc",
            min=1,
            help="Train in so many processes of this machine, each with a GPU of its own.",
            metavar="N",
        ),
    ] = None,
    push_to_hub: Annotated[
        str | None,
        typer.Option("--push-to-hub", help="Push what the `package` stage made to the hub.", metavar="ORG/NAME"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a recipe: make what the store lacks, fill the run folder. Interrupted, the same command goes on.

    With --nproc, or started by torchrun or `accelerate launch`, on one machine or many, all processes train.
    """
    from embedkit.cli.console import Console
    from embedkit.processes import follows, join
    from embedkit.runner import run as run_recipe

    if processes is not None and processes > 1:
        _read(recipe, settings, push_to_hub, until)  # its mistakes are told once, before anything starts
        options = {"--store": store, "--out": out, "--until": until, "--push-to-hub": push_to_hub}
        words = [str(word) for name, value in options.items() if value is not None for word in (name, value)]
        words += [word for setting in settings or () for word in ("--set", setting)]
        sys.exit(_launched(["run", str(recipe), *words, *(["--json"] if as_json else [])], processes))
    with Console(as_json=as_json, silent=follows()) as console, join() as team:
        loaded, released = _read(recipe, settings, push_to_hub, until)
        result = run_recipe(
            loaded, store=store, out=out, until=until, progress=console.progress, emit=console.emit, team=team
        )
    if not team.is_main:
        return
    if not as_json:
        from embedkit.cli.tables import print_result

        print_result(result)
    if push_to_hub is not None and released is not None:
        from embedkit.report.push import push

        address = push(push_to_hub, result.artifacts[released].path)
        print(f"pushed to {address}", file=sys.stderr if as_json else sys.stdout)


def _read(
    recipe: Path, settings: list[str] | None, push_to_hub: str | None, until: str | None
) -> "tuple[Recipe, str | None]":
    """The recipe, and the stage whose model is to be pushed; mistakes are told before hours are spent."""
    from embedkit.recipe import load_recipe

    loaded = load_recipe(recipe, settings or ())
    return loaded, None if push_to_hub is None else stage_to_push(loaded, push_to_hub, until=until)


def _launched(words: list[str], processes: int) -> int:
    """Run these words in so many processes; the exit code."""
    from embedkit.launching import launch
    from embedkit.processes import launched

    if launched():
        raise EmbedkitError("--nproc: this process was started by a launcher, which says how many there are")
    return launch(words, processes)
