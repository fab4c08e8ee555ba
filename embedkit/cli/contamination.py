"""The command `contamination`: what training pairs share with the tasks that models are measured by."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from embedkit.core.errors import DataError, RecipeError

if TYPE_CHECKING:
    from embedkit.cli.console import Console
    from embedkit.evaluation.contamination.check import Similar
    from embedkit.evaluation.contamination.finder import Rules
    from embedkit.evaluation.contamination.held import Held

_DEFAULT_STORE = Path(".embedkit")


def contamination(
    train: Annotated[
        Path | None,
        typer.Option("--train", help="A folder of training pairs, e.g. runs/quickstart/mined.", metavar="PAIRS"),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            help="A BEIR folder, a dataset, or a task of a mirror. May be repeated.",
            metavar="[NAME=]DIR",
        ),
    ] = None,
    suite: Annotated[
        str | None, typer.Option("--suite", help="A suite, by its name or file: all its tasks.", metavar="SUITE")
    ] = None,
    mirror: Annotated[
        Path | None, typer.Option("--mirror", help="Where the suite's official tasks have their data.", metavar="DIR")
    ] = None,
    near: Annotated[
        float,
        typer.Option("--near", help="Jaccard similarity of runs of 3 words from which texts are nearly the same."),
    ] = 0.9,
    contained: Annotated[
        float,
        typer.Option("--contained", help="Share of a text's runs of 13 words that another has, if it is inside it."),
    ] = 0.8,
    near_by: Annotated[
        str, typer.Option("--near-by", help="auto, exact, or minhash, which takes less memory.")
    ] = "auto",
    embed: Annotated[
        Path | None,
        typer.Option("--embed", help="A model's folder: look for texts in other words too.", metavar="MODEL"),
    ] = None,
    similarity: Annotated[
        float | None, typer.Option("--similarity", help="The cosine from which --embed takes texts for the same.")
    ] = None,
    remove_to: Annotated[
        Path | None,
        typer.Option("--remove-to", help="Write the pairs without contaminated texts there.", metavar="DIR"),
    ] = None,
    whole_corpus: Annotated[
        bool,
        typer.Option("--remove-whole-corpus", help="Of documents, remove not only those that are relevant there."),
    ] = False,
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores", help="Scores of an evaluate stage: give them without touched queries too.", metavar="DIR"
        ),
    ] = None,
    examples: Annotated[bool, typer.Option("--examples", help="Show texts that were found.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write contamination.json there.", metavar="DIR")] = None,
    store: Annotated[
        Path, typer.Option("--store", help="Where --embed keeps vectors.", metavar="DIR")
    ] = _DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")] = False,
) -> None:
    """Tell which training texts are in the sets that models are evaluated on, and which test queries that touches."""
    if train is None or not (against or suite):
        raise RecipeError("contamination needs --train PAIRS, and --suite SUITE or --against DIR")
    if (embed is None) != (similarity is None):
        raise RecipeError("--embed and --similarity go together: whose vectors, and from which cosine texts match")
    from embedkit.cli.console import Console
    from embedkit.evaluation.contamination.check import check, findings
    from embedkit.evaluation.contamination.rescoring import rescore
    from embedkit.evaluation.contamination.training import Training

    rules = _rules(near, contained, near_by, similarity)
    with Console(as_json=False) as console, tempfile.TemporaryDirectory() as work:
        training = Training(train, Path(work, "train"))
        held = _held(against or (), suite, mirror, Path(work), console)
        similar = _similar(embed, similarity, store, Path(work), console)
        checked = check(training, held, rules, similar=similar, progress=console.progress)
        found = findings(checked, rules, similarity)
        if scores is not None:
            touched = {task["name"]: task["touched_query_ids"] for task in found["tasks"]}
            found["scores"] = [vars(row) for row in rescore(scores, touched)]
        if remove_to is not None:
            from embedkit.evaluation.contamination.removal import write_clean

            removed = write_clean(checked, remove_to, whole_corpus=whole_corpus)
            found["removed"] = {"to": str(remove_to), "rows": removed.rows, "counts": dict(removed.counts)}
    _tell(found, out, examples=examples, as_json=as_json)


def _rules(near: float, contained: float, near_by: str, similarity: float | None) -> "Rules":
    from typing import get_args

    from embedkit.evaluation.contamination.finder import NearBy, Rules

    for option, value in (("--near", near), ("--contained", contained), ("--similarity", similarity)):
        if value is not None and not 0 < value <= 1:
            raise RecipeError(f"{option} {value:g}: expected a number above 0 and up to 1")
    known: tuple[Literal["auto", "exact", "minhash"], ...] = get_args(NearBy)
    chosen = next((name for name in known if name == near_by), None)
    if chosen is None:
        raise RecipeError(f"--near-by {near_by}: expected one of {', '.join(known)}")
    return Rules(near, contained, chosen)


def _held(
    against: Sequence[str], suite: str | None, mirror: Path | None, work: Path, console: "Console"
) -> "list[Held]":
    from embedkit.oneshot.held_out import held_in_folders, held_in_suite

    found = held_in_folders(against, work, console.progress)
    if suite is not None:
        found += held_in_suite(suite, mirror, work, console.progress)
    return found


def _similar(model: Path | None, least: float | None, store: Path, work: Path, console: "Console") -> "Similar | None":
    if model is None or least is None:
        return None
    from embedkit.core.stage import Context
    from embedkit.core.store import Store
    from embedkit.evaluation.contamination.stage import similar_by

    return similar_by(model, least, Context(work, Store(store.resolve()).embeddings, console.progress))


def _tell(found: Mapping[str, Any], out: Path | None, *, examples: bool, as_json: bool) -> None:
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    if out is not None:
        from embedkit.core.store import write_atomically

        if out.exists() and not out.is_dir():
            raise DataError(f"--out {out}: is a file; name a folder")
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "contamination.json", text + "\n")
    if as_json:
        print(text)
        return
    from embedkit.cli.contamination_tables import print_contamination

    print_contamination(found, examples=examples)
    if out is not None:
        print(f"wrote {out / 'contamination.json'}")
