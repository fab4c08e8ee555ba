"""The command `export`: pairs as a file that another trainer reads."""

from pathlib import Path
from typing import Annotated, Any

import typer

from embedkit.core.errors import RecipeError


def export(
    pairs: Annotated[
        Path, typer.Argument(help="A folder of pairs, e.g. runs/quickstart/mined.", show_default=False, metavar="PAIRS")
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            help="triplet, n-tuple, labeled-pair, labeled-list (sentence-transformers), flagembedding or tevatron.",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="The file to write: .parquet, .arrow or .jsonl.", metavar="FILE")],
    negatives: Annotated[
        int | None, typer.Option("--negatives", help="At most so many a query; in n-tuple, exactly so many.", min=1)
    ] = None,
    scores: Annotated[
        str | None, typer.Option("--scores", help="Write scores: those of the `miner` or the `teacher`.")
    ] = None,
    ids: Annotated[
        bool, typer.Option("--ids", help="Write ids, and tables of the queries and documents beside.")
    ] = False,
    metadata: Annotated[bool, typer.Option("--metadata", help="Carry metadata of queries and documents.")] = False,
    prompt: Annotated[str | None, typer.Option("--prompt", help="In flagembedding, the queries' prompt.")] = None,
    without_fills: Annotated[
        bool, typer.Option("--without-fills", help="Leave out negatives that a fill policy put there.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write files anew that are there already.")] = False,
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", help="Push the files to this data set.", metavar="ORG/NAME")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make that data set a private one.")] = False,
    license: Annotated[str | None, typer.Option("--license", help="Licence its card names, e.g. cc-by-4.0.")] = None,
) -> None:
    """Write mined pairs as a file that sentence-transformers, FlagEmbedding or Tevatron trains on."""
    from embedkit.cli.console import Console
    from embedkit.exports import export as write
    from embedkit.exports import format_named

    asked: dict[str, Any] = {"negatives": negatives, "scores": scores, "prompt": prompt}
    asked |= {"ids": ids or None, "metadata": metadata or None, "fills": False if without_fills else None}
    form = format_named(kind, {name: value for name, value in asked.items() if value is not None})
    if push_to_hub is None and (private or license):
        raise RecipeError(f"--{'private' if private else 'license'}: goes with --push-to-hub")
    if push_to_hub is not None:
        from embedkit.retrieval.hub import check_online

        check_online(push_to_hub)  # before minutes are spent
    with Console(as_json=False) as console:
        done = write(pairs, to, format=form, force=force, progress=console.progress)
    for line in (*done.summary(), *(f"wrote {path}" for path in done.files.values())):
        print(line)
    if push_to_hub is not None:
        from embedkit.exports.hub import push

        print(f"pushed to {push(push_to_hub, pairs, done, private=private, license=license)}")
