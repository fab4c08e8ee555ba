"""The command `audit`: what a mined set looks like, and how many false negatives it probably holds."""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedkit.core.errors import DataError, RecipeError

if TYPE_CHECKING:
    from embedkit.core.dataset import Dataset
    from embedkit.mining.audit import Held


def audit(
    pairs: Annotated[
        Path,
        typer.Argument(
            help="A folder of mined pairs, e.g. runs/quickstart/mined.", show_default=False, metavar="PAIRS"
        ),
    ],
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against",
            help="A set that models are evaluated on: a BEIR folder or a dataset. Repeatable.",
            metavar="DIR",
        ),
    ] = None,
    judgements: Annotated[
        Path | None, typer.Option("--judgements", help="A judged sample, as --sample writes it.", metavar="FILE")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", help="Write so many random negatives, to be judged.", min=1)
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Where --sample writes them.", metavar="FILE.tsv")] = None,
    examples: Annotated[int, typer.Option("--examples", help="Show so many random negatives to read.", min=0)] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Of examples and sample.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write audit.html and audit.json there.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")] = False,
) -> None:
    """Tell what mined negatives look like: scores, margins, hubs, overlap with other sets, false negatives."""
    from embedkit.cli.console import Console
    from embedkit.mining.audit import audit as examine

    if (sample is None) != (to is None):
        raise RecipeError("--sample and --to go together: how many negatives to judge, and the file to write them to")
    if sample is not None and to is not None:
        others = {"against": against, "judgements": judgements, "examples": examples, "out": out, "json": as_json}
        if given := [name for name, value in others.items() if value]:
            raise RecipeError(f"--{given[0]}: does not go with --sample, which only writes what is to be judged")
        _write_sample(pairs, sample, to, seed)
        return
    with Console(as_json=False) as console:
        found = examine(
            pairs,
            against=[held(folder) for folder in against or ()],
            judgements=judgements,
            examples=examples or (_READ if out or as_json else 0),
            seed=seed,
            progress=console.progress,
        )
    if out is not None:
        _write(out, pairs, found)
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        from embedkit.cli.audit_tables import print_audit

        print_audit(found, examples=bool(examples))
        for name in ("audit.html", "audit.json") if out else ():
            print(f"wrote {Path(str(out), name)}")


_READ = 20


def held(folder: Path) -> "Held":
    """The held-out queries and their judged documents of a BEIR folder or dataset artifact; all, where no split is
    dev or test. Raises `DataError` if it is neither."""
    from embedkit.core.dataset import read_dataset
    from embedkit.core.progress import silent
    from embedkit.data.sources import BeirFolder

    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder; --against takes BEIR folders and datasets")
    if _is_dataset(folder):
        return _held(str(folder), read_dataset(folder))
    with tempfile.TemporaryDirectory() as work:
        return _held(str(folder), BeirFolder(path=folder).load(Path(work), silent)[0].dataset())


def _held(name: str, dataset: "Dataset") -> "Held":
    from embedkit.mining.audit import Held

    splits = [s for s in ("dev", "test") if dataset.qrels.get(s)] or list(dataset.qrels)
    judged = {query: docs for split in splits for query, docs in dataset.qrels[split].items()}
    relevant = {doc for docs in judged.values() for doc, grade in docs.items() if grade > 0}
    queries = [(q, text) for q, text in zip(dataset.queries.ids, dataset.queries.texts, strict=True) if q in judged]
    documents = zip(dataset.corpus.ids, dataset.corpus.documents(), strict=True)
    kept = [(doc, text) for doc, text in documents if doc in relevant]
    return Held(name, [q for q, _ in queries], [t for _, t in queries], [d for d, _ in kept], [t for _, t in kept])


def _is_dataset(folder: Path) -> bool:
    """Whether the folder is a dataset artifact: its Parquet tables, and judgements in Parquet too."""
    return (folder / "corpus.parquet").is_file() and any(folder.glob("qrels/*.parquet"))


def _write_sample(pairs: Path, sample: int, to: Path, seed: int) -> None:
    from embedkit.mining.audit import write_sample

    count = write_sample(pairs, sample, to, seed=seed)
    print(f"wrote {count:,} negatives to {to}: write 1 (relevant) or 0 into the column relevance, then")
    print(f"embedkit audit {pairs} --judgements {to}")


def _write(out: Path, pairs: Path, found: Mapping[str, Any]) -> None:
    from embedkit.core.store import check_outside, write_atomically
    from embedkit.report.audit import render_audit

    check_outside(out, pairs)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "audit.json", json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_atomically(out / "audit.html", render_audit(_name(pairs), found))


def _name(pairs: Path) -> str:
    """The folder's name; the first characters of an artifact's, which is a key."""
    name = pairs.name or pairs.resolve().name
    return name[:12] if re.fullmatch("[0-9a-f]{64}", name) else name
