"""The commands.

Exit codes: 0 done; 1 a check found something (`store verify`, `poisoning`); 2 a mistake the user can mend, told in one
line each; 3 a gate of `compare` failed; 130 stopped by Ctrl-C or SIGTERM, the same command goes on. Anything else is a
bug and shows its traceback.
"""

import errno
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from embedkit._version import __version__
from embedkit.cli.audit import audit
from embedkit.cli.calibration import calibrate
from embedkit.cli.compare import compare
from embedkit.cli.compression import compress
from embedkit.cli.contamination import contamination
from embedkit.cli.eval import evaluate
from embedkit.cli.exports import export
from embedkit.cli.leaderboard import leaderboard
from embedkit.cli.losses import losses
from embedkit.cli.mine import mine
from embedkit.cli.mirror import mirror
from embedkit.cli.options import DEFAULT_STORE, AsJson, RecipeFile, Settings, StoreDir, Until, print_json
from embedkit.cli.poisoning import poisoning
from embedkit.cli.push import push
from embedkit.cli.run import run
from embedkit.cli.score import score
from embedkit.cli.store import store_app
from embedkit.core.errors import EmbedkitError

app = typer.Typer(
    help="Train, mine for and benchmark text-embedding retrievers from one recipe file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(store_app, name="store")

_STOPPED = 130
_USERS = {  # what a user can mend: no permission, no space, a file where a folder goes
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
}


def main() -> None:
    """Entry point of the `embedkit` command."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)  # also where a parent shell told its children to ignore it
    try:
        code = app(standalone_mode=False)  # the exit code, where a command gave one or Ctrl-C was pressed
    except EmbedkitError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _USERS:
            raise
        print(f"error: {error.filename or 'writing'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        code = _STOPPED
    except Exception as error:
        if not hasattr(error, "show"):  # not a mistake in the command's words: a bug keeps its traceback
            raise
        error.show()
        sys.exit(2)
    if code == _STOPPED:
        print("stopped; the same command goes on where it was", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


app.command()(run)


@app.command()
def plan(
    recipe: RecipeFile,
    store: StoreDir = DEFAULT_STORE,
    settings: Settings = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Print the stages in order with their keys, what is already made, and what the rest will take."""
    from embedkit.core.store import Store
    from embedkit.estimate import forecast
    from embedkit.pins import pin
    from embedkit.plan import needed_for
    from embedkit.plan import plan as make_plan
    from embedkit.recipe import load_recipe

    loaded, place = load_recipe(recipe, settings or ()), Store(store.resolve())
    steps = make_plan(loaded.stages, pin(loaded.stages, place))
    forecasts = forecast(needed_for(steps, until) if until else steps, place)
    from embedkit.cli.tables import plan_json, print_plan

    if as_json:
        print_json(plan_json(loaded.name, forecasts))
    else:
        print_plan(loaded.name, forecasts)


@app.command()
def diff(
    run_a: Annotated[Path, typer.Argument(help="An earlier run folder.", show_default=False)],
    run_b: Annotated[Path, typer.Argument(help="A later run folder.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Say why a stage ran again: what changed between two run folders."""
    from dataclasses import asdict

    from embedkit.difference import difference, version_changes

    found, changes = difference(run_a, run_b), version_changes(run_a, run_b)
    if as_json:
        print_json({"stages": [asdict(d) for d in found], "versions": changes})
        return
    for d in found:
        upstream = f"reads {', '.join(d.because_of)}, which differs" if d.because_of else ""
        print(f"{d.stage}: {'; '.join([*d.reasons, *([upstream] if upstream else [])]) or 'its version was raised'}")
    print(f"{len(found)} stages differ" if found else "the same artifacts in both runs")
    for change in changes:
        print(f"library {change} (not part of any key)")


@app.command()
def doctor(store: StoreDir = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Tell what this machine has, and what to install for what it lacks."""
    from dataclasses import asdict

    from embedkit.doctor import examine

    findings = examine(store)
    if as_json:
        print_json([asdict(f) for f in findings])
        return
    from embedkit.cli.tables import print_findings

    print_findings(findings)


app.command("eval", rich_help_panel="Evaluation")(evaluate)
_PANELS: dict[str, tuple[Callable[..., None], ...]] = {  # of the help
    "Mining": (mine, audit, export),
    "Evaluation": (compare, score, calibrate, compress, leaderboard, mirror),
    "What is in the data": (contamination, poisoning),
}
for panel, commands in _PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.command()(losses)
app.command()(push)


@app.command()
def init(
    recipe: Annotated[Path, typer.Argument(help="The recipe to write, e.g. my-retriever.yaml.", show_default=False)],
    pairs: Annotated[
        str, typer.Option("--pairs", help="Your JSONL file of query and positive, relative to the recipe.")
    ] = "pairs.jsonl",
    quickstart: Annotated[
        bool, typer.Option("--quickstart", help="Write the quickstart recipe and its data instead.")
    ] = False,
) -> None:
    """Write a commented recipe for files of your own (or the quickstart's)."""
    from embedkit.starter import write_starter

    for path in write_starter(recipe, pairs=pairs, quickstart=quickstart):
        print(f"wrote {path}")


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from embedkit.recipe import schema as recipe_schema

    print_json(recipe_schema())


@app.command()
def version() -> None:
    """Print embedkit's version."""
    print(__version__)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt
