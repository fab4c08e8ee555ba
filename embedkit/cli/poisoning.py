"""The command `poisoning`: was a corpus, or a training set, prepared for an attack?"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedkit.core.errors import DataError, RecipeError

if TYPE_CHECKING:
    from embedkit.cli.console import Console
    from embedkit.evaluation.poisoning import CorpusAudit, TrainingAudit

_SHOWN = 10


def poisoning(
    data: Annotated[
        str,
        typer.Argument(
            help="The corpus and queries to look at: a BEIR folder or a dataset, e.g. runs/quickstart/tldr.",
            show_default=False,
            metavar="DATA",
        ),
    ],
    model: Annotated[
        str,
        typer.Option("--model", help="A model's folder, a package that holds one, or ORG/NAME@REVISION of the hub."),
    ],
    train: Annotated[
        str | None,
        typer.Option("--train", help="A training set too: pairs, a dataset, or files of pairs.", metavar="PAIRS"),
    ] = None,
    source_field: Annotated[
        str | None,
        typer.Option(
            "--source-field",
            help="The field of a query's metadata that says whose a pair is.  [default: source, contributor ...]",
            metavar="NAME",
        ),
    ] = None,
    quota: Annotated[
        float | None,
        typer.Option("--quota", help="The largest share of all pairs that one contributor may give.", min=0, max=1),
    ] = None,
    k: Annotated[int, typer.Option("--k", help="Documents of each list.", min=1, max=100)] = 10,
    queries: Annotated[
        int, typer.Option("--queries", help="At most so many queries, drawn by the seed.", min=1)
    ] = 1000,
    rate: Annotated[
        float, typer.Option("--rate", help="Errors a word that are put into queries.", min=0.001, max=1)
    ] = 0.1,
    false_alarms: Annotated[
        float,
        typer.Option("--false-alarms", help="Chance of finding anything in honest data.", min=0.001, max=0.5),
    ] = 0.01,
    seed: Annotated[int, typer.Option("--seed", help="Of errors, draws and shuffles.", min=0)] = 0,
    store: Annotated[Path, typer.Option("--store", help="Where artifacts are kept.", metavar="DIR")] = Path(
        ".embedkit"
    ),
    out: Annotated[Path | None, typer.Option("--out", help="Write poisoning.json there.", metavar="DIR")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")] = False,
) -> None:
    """Look for a prepared corpus or training set: documents that grammar errors in queries bring up. Exit code 1 if
    something is found at the false-alarm level."""
    from embedkit.cli.console import Console
    from embedkit.evaluation.poisoning import verdict

    if train is None and (source_field is not None or quota is not None):
        raise RecipeError(
            f"--{'quota' if source_field is None else 'source-field'}: is about --train, which is missing"
        )
    samples = round(10 / false_alarms)  # of each test: enough for p-values well below the level
    with Console(as_json=False) as console, tempfile.TemporaryDirectory() as work:
        made = _made(data, model, train, store, Path(work), console)
        corpus = _corpus(made, store, Path(work), console, k=k, queries=queries, rate=rate, samples=samples, seed=seed)
        training = (
            _training(made["train"], console, source_field=source_field, quota=quota, samples=samples, seed=seed)
            if train is not None
            else None
        )
        found = verdict(corpus, training, false_alarms=false_alarms)
    _tell(found, out, as_json=as_json)
    if found["found"]:
        raise typer.Exit(1)


def _made(data: str, model: str, train: str | None, store: Path, work: Path, console: "Console") -> dict[str, Path]:
    """Folders of the model, the dataset and the pairs."""
    from embedkit.core.errors import EmbedkitError
    from embedkit.oneshot.draft import in_options
    from embedkit.oneshot.poisoning import poisoning_draft
    from embedkit.runner import run

    recipe = poisoning_draft(data=data, model=model, train=train).build()
    given = {"data": Path(data)} | ({"train": Path(train)} if train is not None else {})
    try:
        artifacts = run(recipe, store=store, out=work / "run", progress=console.progress).artifacts
    except EmbedkitError as error:
        raise in_options(error) from error
    return given | {name: artifact.path for name, artifact in artifacts.items()}


def _corpus(
    made: Mapping[str, Path],
    store: Path,
    work: Path,
    console: "Console",
    *,
    k: int,
    queries: int,
    rate: float,
    samples: int,
    seed: int,
) -> "CorpusAudit":
    from embedkit.core.dataset import read_dataset
    from embedkit.core.stage import Context
    from embedkit.core.store import Store
    from embedkit.evaluation.poisoning import audit_corpus
    from embedkit.retrieval.encoder import open_encoder

    context = Context(work=work, embeddings=Store(store.resolve()).embeddings, progress=console.progress)
    encoder, dataset = open_encoder(made["model"], context), read_dataset(made["data"])
    return audit_corpus(
        dataset, encoder, k=k, queries=queries, rate=rate, samples=samples, seed=seed, progress=console.progress
    )


def _training(
    folder: Path, console: "Console", *, source_field: str | None, quota: float | None, samples: int, seed: int
) -> "TrainingAudit":
    from embedkit.core.pairs import read_pairs
    from embedkit.evaluation.poisoning import audit_training

    return audit_training(
        read_pairs(folder),
        source_field=source_field,
        quota=quota,
        samples=samples,
        seed=seed,
        progress=console.progress,
    )


def _tell(found: Mapping[str, Any], out: Path | None, *, as_json: bool) -> None:
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    if out is not None:
        from embedkit.core.store import write_atomically

        out.mkdir(parents=True, exist_ok=True)
        if not out.is_dir():
            raise DataError(f"--out {out}: is a file; name a folder")
        write_atomically(out / "poisoning.json", text + "\n")
    if as_json:
        print(text)
        return
    for line in found["lines"]:
        print(line)
    for what, name in (("corpus", "documents"), ("training", "pairs")):
        if found[what] is not None:
            _print_suspects(found[what]["suspects"], name)
    if out is not None:
        print(f"wrote {out / 'poisoning.json'}")


def _print_suspects(suspects: list[Mapping[str, Any]], name: str) -> None:
    """The first few, and what chance alone would put so far up."""
    print(f"most suspicious {name} (score: share of honest ones that score as low; by chance: how many of all would)")
    for row in suspects[:_SHOWN]:
        if name == "documents":
            cluster = f", cluster {row['cluster']}" if row["cluster"] is not None else ""
            about = (
                f"{row['errors']} errors in {row['words']} words, lists won {row['won']}, lost {row['lost']}{cluster}"
            )
        else:
            source = f" of {row['source']}" if row["source"] else ""
            about = f"{row['query_errors']} and {row['positive_errors']} errors{source}"
        ids = row["doc_id"] if name == "documents" else f"{row['query_id']} with {row['doc_id']}"
        print(f"  {row['score']:.1e}  by chance {row['by_chance']:.1f}  {_plain(ids)}: {_plain(about)}")


def _plain(text: str) -> str:
    """One line, whatever an id has in it."""
    return "".join(character if character.isprintable() else "?" for character in text)
