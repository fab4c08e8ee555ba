"""The command `mine`: hard negatives for a corpus and its queries."""

from pathlib import Path
from typing import Annotated, Final

import typer

from embedkit.cli.mine_export import Export
from embedkit.cli.mine_told import STAGE, print_told, told_of
from embedkit.cli.options import File, Many, Words, option
from embedkit.core.errors import EmbedkitError, RecipeError

_PARTS: Final = ("index", "hybrid", "signals", "filters", "sampling", "fill", "groups")  # components of the stage
_PLACES: Final = {  # parameter -> the field it sets
    "negatives": "mined.negatives",
    "top_k": "mined.top_k",
    "split": "mined.split",
    "precision": "mined.precision",
    "backend": "mined.backend",
    "memory": "mined.memory",
    "query_prompt": "model.prompts.query",
    "document_prompt": "model.prompts.document",
    "max_length": "model.max_length",
    "pooling": "model.pooling",
    "on_bad_row": "data.source.on_bad_row",
    "exact_duplicates": "data.exact_duplicates",
}
_MINING, _MODEL, _DATA, _EXPORT, _RUN = "Mining", "Model", "Data", "Export", "Run"


Number = int | None


def mine(
    context: typer.Context,
    data: Annotated[
        Words,
        typer.Argument(
            help="A BEIR folder, a .jsonl, .parquet or .arrow file of pairs or a folder of them, or hub:NAME@REVISION.",
            metavar="DATA",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Words,
        typer.Option(
            help="A folder, an installed package that holds a model, or ORG/NAME@REVISION of the hub.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        File, typer.Option(help="The run folder; `mined` in it holds the pairs.", metavar="DIR", show_default=False)
    ] = None,
    negatives: Annotated[Number, option("--negatives", _MINING, "Negatives a query; 7 by default")] = None,
    top_k: Annotated[Number, option("--top-k", _MINING, "Candidates a query; 100 by default")] = None,
    filters: Annotated[
        Many,
        option(
            "--filter",
            _MINING,
            "A false-negative filter, e.g. percent_of_positive=0.95, or none. May be repeated.",
            metavar="KIND[=VALUE][,FIELD=VALUE]",
        ),
    ] = None,
    index: Annotated[
        Words, option("--index", _MINING, "How documents are searched: exact, ivf, hnsw ...", metavar="KIND")
    ] = None,
    hybrid: Annotated[
        Many,
        option(
            "--hybrid", _MINING, "What else finds candidates: bm25, encoder:MODEL. May be repeated.", metavar="KIND"
        ),
    ] = None,
    signals: Annotated[
        Many,
        option(
            "--signal",
            _MINING,
            "What else scores candidates for filters: bm25, NAME=cross_encoder:MODEL. May be repeated.",
            metavar="NAME=KIND",
        ),
    ] = None,
    sampling: Annotated[
        Words, option("--sampling", _MINING, "Which of those that pass: top, random ...", metavar="KIND")
    ] = None,
    fill: Annotated[
        Words, option("--fill", _MINING, "What stands in where too few pass, e.g. random.", metavar="KIND")
    ] = None,
    groups: Annotated[
        Words,
        option("--groups", _MINING, "Which documents are parts of one, e.g. metadata=url, id='#'.", metavar="KIND"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of whatever draws at random.", min=0, rich_help_panel=_MINING)] = 0,
    split: Annotated[Words, option("--split", _MINING, "Whose queries: train or dev; train by default")] = None,
    query_prompt: Annotated[
        Words, option("--query-prompt", _MODEL, "Put before every query; the model in the run folder remembers it.")
    ] = None,
    document_prompt: Annotated[Words, option("--document-prompt", _MODEL, "The same for documents.")] = None,
    max_length: Annotated[Number, option("--max-length", _MODEL, "Tokens of a text that are read.")] = None,
    pooling: Annotated[
        Words, option("--pooling", _MODEL, "mean, cls or lasttoken, of a model that does not say.")
    ] = None,
    precision: Annotated[Words, option("--precision", _MODEL, "Of its arithmetic, e.g. bfloat16.")] = None,
    backend: Annotated[Words, option("--backend", _MODEL, "What runs it: torch, onnx or openvino.")] = None,
    corpus: Annotated[File, option("--corpus", _DATA, "Documents; with --queries and --qrels instead of DATA.")] = None,
    queries: Annotated[File, option("--queries", _DATA, "Queries.")] = None,
    qrels: Annotated[File, option("--qrels", _DATA, "Which documents are relevant to which query.")] = None,
    columns: Annotated[
        Many,
        option(
            "--columns", _DATA, "Columns of tables, e.g. query=question,positive=answer.", metavar="WHAT=COLUMN,..."
        ),
    ] = None,
    exact_duplicates: Annotated[
        bool | None,
        option(
            "--exact-duplicates/--keep-duplicates",
            _DATA,
            "Of documents, or queries, of equal text the first stands for all; exact-duplicates by default",
        ),
    ] = None,
    on_bad_row: Annotated[
        Words, option("--on-bad-row", _DATA, "fail; or drop: leave the row out and say so; fail by default")
    ] = None,
    kind: Annotated[Words, option("--format", _EXPORT, "Export the pairs too; see `embedkit export --help`.")] = None,
    to: Annotated[File, option("--to", _EXPORT, "The file to export to.", metavar="FILE")] = None,
    push_to_hub: Annotated[
        Words, option("--push-to-hub", _EXPORT, "Push what is exported.", metavar="ORG/NAME")
    ] = None,
    force: Annotated[bool, option("--force", _EXPORT, "Export to a file that is there already.")] = False,
    memory: Annotated[
        Words, option("--memory", _RUN, "Memory to use besides the model's; 1GB by default", metavar="SIZE")
    ] = None,
    settings: Annotated[
        Many,
        option(
            "--set",
            _RUN,
            "Any other field of the stages data, model and mined, e.g. mined.near_queries=0.95. May be repeated.",
            metavar="STAGE.FIELD=VALUE",
        ),
    ] = None,
    recipe_out: Annotated[
        File, option("--recipe-out", _RUN, "Write the recipe that this comes to.", metavar="FILE")
    ] = None,
    store: Annotated[Path, typer.Option(help="Where artifacts are kept.", metavar="DIR", rich_help_panel=_RUN)] = Path(
        ".embedkit"
    ),
    as_json: Annotated[bool, option("--json", _RUN, "Print JSON for machines instead of text.")] = False,
) -> None:
    """Find hard negatives for every query, false negatives filtered out. Interrupted, the same command goes on.

    It runs a recipe of three stages, data, model and mined; --recipe-out writes it, to grow from there.
    """
    from embedkit.cli.console import Console
    from embedkit.oneshot import in_options, mine_draft, write_recipe
    from embedkit.runner import run

    if model is None or out is None:
        raise RecipeError(f"--{'model' if model is None else 'out'}: is missing; see `embedkit mine --help`")
    given = context.params
    draft = mine_draft(
        data=data,
        tables={"corpus": corpus, "queries": queries, "qrels": qrels},
        columns=columns or (),
        model=model,
        seed=seed,
        parts={name: given[name] for name in _PARTS},
        fields={f"--{name.replace('_', '-')}": (where, given[name]) for name, where in _PLACES.items()},
    )
    recipe, export = draft.build(settings or ()), Export.of(kind, to, push_to_hub, pairs=out / STAGE, force=force)
    _make_folder(out)
    if recipe_out is not None:
        write_recipe(recipe_out, draft.text(recipe, recipe_out))
    try:
        with Console(as_json=as_json) as console:
            result = run(recipe, store=store, out=out, progress=console.progress, emit=console.emit)
            told = told_of(result, recipe_out, export.write(out / STAGE, console) if export else None)
            if as_json:
                console.emit("mined", told)
    except EmbedkitError as error:
        raise in_options(error) from error
    if not as_json:
        print_told(told)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbedkitError(f"--out {out}: cannot be the run folder: {(error.strerror or '').lower()}") from None
