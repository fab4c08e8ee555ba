"""The command `compress`: what vectors in fewer bytes cost a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from embedkit.core.errors import EmbedkitError

_STAGE: Final = "compressed"  # and so its folder in the run folder
_PAGE: Final = "compression.html"
_PLACES: Final = {  # parameter -> its option, and the field it sets
    "split": ("--split", "compressed.split"),
    "metrics": ("--metric", "compressed.metrics"),
    "identical": ("--ignore-identical-ids", "compressed.ignore_identical_ids"),
    "calibration": ("--calibration", "compressed.calibration"),
    "rounds": ("--rounds", "compressed.rounds"),
    "query_prompt": ("--query-prompt", "model.prompts.query"),
    "document_prompt": ("--document-prompt", "model.prompts.document"),
    "max_length": ("--max-length", "model.max_length"),
}
_MODEL, _RUN = "Model", "Run"

Words = str | None
Many = list[str] | None
Number = int | None


def _option(name: str, help: str, *, metavar: str | None = None, panel: str | None = None) -> Any:
    return typer.Option(name, help=help, metavar=metavar, show_default=False, rich_help_panel=panel)


def compress(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            help="Judged queries and their corpus: a BEIR folder, or hub:NAME@REVISION.",
            metavar="DATA",
            show_default=False,
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A folder, an installed package that holds a model, or ORG/NAME@REVISION of the hub.",
            show_default=False,
        ),
    ],
    variants: Annotated[
        Many,
        _option(
            "--variant",
            "E.g. float16, int8, int8=int8, binary, truncate=256, pca=128+int8, pq=48, binary+rescore=int8. May be "
            "repeated.",
            metavar="[truncate=N+]CODEC[+rescore=CODE]",
        ),
    ] = None,
    factor: Annotated[
        Number, _option("--rescore-factor", "Times the documents wanted that a rescored search looks up; 4 by default")
    ] = None,
    split: Annotated[Words, _option("--split", "Whose queries: train, dev or test; test by default")] = None,
    metrics: Annotated[
        Many, _option("--metric", "E.g. ndcg@10. May be repeated; the first is the one that is drawn.")
    ] = None,
    identical: Annotated[
        bool | None, _option("--ignore-identical-ids", "Leave out documents that have their query's id.")
    ] = None,
    calibration: Annotated[
        Number, _option("--calibration", "Documents that ranges and centroids are learnt from; 10000 by default")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of whatever draws at random.", min=0)] = 0,
    rounds: Annotated[Number, _option("--rounds", "Times that each search is timed; 5 by default")] = None,
    query_prompt: Annotated[Words, _option("--query-prompt", "Put before every query.", panel=_MODEL)] = None,
    document_prompt: Annotated[Words, _option("--document-prompt", "The same for documents.", panel=_MODEL)] = None,
    max_length: Annotated[Number, _option("--max-length", "Tokens of a text that are read.", panel=_MODEL)] = None,
    settings: Annotated[
        Many,
        _option(
            "--set",
            "Any other field of the stages data, model and compressed. May be repeated.",
            metavar="STAGE.FIELD=VALUE",
            panel=_RUN,
        ),
    ] = None,
    recipe_out: Annotated[
        Path | None, _option("--recipe-out", "Write the recipe that this comes to.", metavar="FILE", panel=_RUN)
    ] = None,
    out: Annotated[Path, typer.Option(help="The run folder.", metavar="DIR", rich_help_panel=_RUN)] = Path(
        "runs/compress"
    ),
    store: Annotated[Path, typer.Option(help="Where artifacts are kept.", metavar="DIR", rich_help_panel=_RUN)] = Path(
        ".embedkit"
    ),
    as_json: Annotated[bool, _option("--json", "Print JSON for machines instead of text.", panel=_RUN)] = False,
) -> None:
    """Say what a model's vectors cost in fewer bytes: score with interval, size and speed, in a table and a plot.

    The plot is compression.html in the run folder. Interrupted, the same command goes on.
    """
    from embedkit.cli.console import Console
    from embedkit.oneshot import in_options, write_recipe
    from embedkit.oneshot.compress import compress_draft
    from embedkit.runner import run

    draft = compress_draft(
        data=data,
        model=model,
        variants=variants or (),
        factor=factor,
        seed=seed,
        fields={
            option: (where, context.params[name]) for name, (option, where) in _PLACES.items() if context.params[name]
        },
    )
    recipe = draft.build(settings or ())
    if recipe_out is not None:
        write_recipe(recipe_out, draft.text(recipe, recipe_out))
    try:
        with Console(as_json=as_json) as console:
            result = run(recipe, store=store, out=out, progress=console.progress, emit=console.emit)
            told = _told(result.artifacts[_STAGE].path, Path(data).name, out)
            if as_json:
                console.emit(_STAGE, told)
    except EmbedkitError as error:
        raise in_options(error) from error
    if not as_json:
        _print(told)


def _told(artifact: Path, name: str, out: Path) -> dict[str, Any]:
    """Write the page, and say what is on it."""
    from embedkit.core.stats import read_stats
    from embedkit.core.store import write_atomically
    from embedkit.report.compression import render_compression
    from embedkit.report.sections.compression import read_speed

    stats, speed = read_stats(artifact), read_speed(artifact)
    write_atomically(out / _PAGE, render_compression(name, stats, speed))
    return {**stats, "name": name, "speed": speed, "page": str(out / _PAGE), "compressed": str(out / _STAGE)}


def _print(told: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from embedkit.report.sections.compression import compressed

    found = compressed(told["name"], told, told["speed"], told["warnings"])
    interval = f"difference ({found.confidence:.0%} interval)"
    seconds = [f"s/1,000 q, {count} thr." for count in found.threads]
    overlap = [found.overlap] if found.overlap else []
    names = ("bytes", "searched", "smaller", found.metric, interval, *overlap, *seconds)
    numbers = [Column(name, justify="right") for name in names]
    table = Table("vectors", *numbers, "front", box=None, pad_edge=False)
    for row in found.variants:
        table.add_row(
            escape(row.name),
            f"{row.size:,}",
            f"{row.searched:,}",
            f"{row.smaller:.3g}x",
            f"{row.score:.4f}",
            f"{row.difference:+.4f} ({row.low:+.4f} to {row.high:+.4f})" if row is not found.variants[0] else "",
            *([f"{row.overlap:.3f}"] if row.overlap is not None else []),
            *("" if value is None else f"{value:.3f}" for value in row.seconds),
            "*" if row.front else "",
        )
    console = Console(highlight=False, width=None if Console().is_terminal else 160)
    console.print(f"{found.name}: {found.about}", markup=False)
    console.print(table)
    for text in told["warnings"]:
        console.print(f"warning: {text}", markup=False, soft_wrap=True)
    console.print("bytes: of a document; * no other has as high a score in fewer bytes. Times: " + found.timed + ".")
    console.print(f"page: {told['page']}", markup=False, soft_wrap=True)
