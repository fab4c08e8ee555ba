"""The command `mine`: hard negatives for a corpus and its queries."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from embedkit.core.errors import DataError, EmbedkitError, RecipeError

if TYPE_CHECKING:
    from embedkit.cli.console import Console
    from embedkit.exports import Format
    from embedkit.runner import Result

_STAGE: Final = "mined"  # and so its folder in the run folder
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
_TASKS: Final = ("query", "document")  # what prompts are for
_MINING, _MODEL, _DATA, _EXPORT, _RUN = "Mining", "Model", "Data", "Export", "Run"


def _option(name: str, panel: str, help: str, *, metavar: str | None = None) -> Any:
    return typer.Option(name, help=help, rich_help_panel=panel, metavar=metavar, show_default=False)


Words = str | None
Many = list[str] | None
File = Path | None
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
    negatives: Annotated[Number, _option("--negatives", _MINING, "Negatives a query; 7 by default")] = None,
    top_k: Annotated[Number, _option("--top-k", _MINING, "Candidates a query; 100 by default")] = None,
    filters: Annotated[
        Many,
        _option(
            "--filter",
            _MINING,
            "A false-negative filter, e.g. percent_of_positive=0.95, or none. May be repeated.",
            metavar="KIND[=VALUE][,FIELD=VALUE]",
        ),
    ] = None,
    index: Annotated[
        Words, _option("--index", _MINING, "How documents are searched: exact, ivf, hnsw ...", metavar="KIND")
    ] = None,
    hybrid: Annotated[
        Many,
        _option(
            "--hybrid", _MINING, "What else finds candidates: bm25, encoder:MODEL. May be repeated.", metavar="KIND"
        ),
    ] = None,
    signals: Annotated[
        Many,
        _option(
            "--signal",
            _MINING,
            "What else scores candidates for filters: bm25, NAME=cross_encoder:MODEL. May be repeated.",
            metavar="NAME=KIND",
        ),
    ] = None,
    sampling: Annotated[
        Words, _option("--sampling", _MINING, "Which of those that pass: top, random ...", metavar="KIND")
    ] = None,
    fill: Annotated[
        Words, _option("--fill", _MINING, "What stands in where too few pass, e.g. random.", metavar="KIND")
    ] = None,
    groups: Annotated[
        Words,
        _option("--groups", _MINING, "Which documents are parts of one, e.g. metadata=url, id='#'.", metavar="KIND"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of whatever draws at random.", min=0, rich_help_panel=_MINING)] = 0,
    split: Annotated[Words, _option("--split", _MINING, "Whose queries: train or dev; train by default")] = None,
    query_prompt: Annotated[
        Words, _option("--query-prompt", _MODEL, "Put before every query; the model in the run folder remembers it.")
    ] = None,
    document_prompt: Annotated[Words, _option("--document-prompt", _MODEL, "The same for documents.")] = None,
    max_length: Annotated[Number, _option("--max-length", _MODEL, "Tokens of a text that are read.")] = None,
    pooling: Annotated[
        Words, _option("--pooling", _MODEL, "mean, cls or lasttoken, of a model that does not say.")
    ] = None,
    precision: Annotated[Words, _option("--precision", _MODEL, "Of its arithmetic, e.g. bfloat16.")] = None,
    backend: Annotated[Words, _option("--backend", _MODEL, "What runs it: torch, onnx or openvino.")] = None,
    corpus: Annotated[
        File, _option("--corpus", _DATA, "Documents; with --queries and --qrels instead of DATA.")
    ] = None,
    queries: Annotated[File, _option("--queries", _DATA, "Queries.")] = None,
    qrels: Annotated[File, _option("--qrels", _DATA, "Which documents are relevant to which query.")] = None,
    columns: Annotated[
        Many,
        _option(
            "--columns", _DATA, "Columns of tables, e.g. query=question,positive=answer.", metavar="WHAT=COLUMN,..."
        ),
    ] = None,
    exact_duplicates: Annotated[
        bool | None,
        _option(
            "--exact-duplicates/--keep-duplicates",
            _DATA,
            "Of documents, or queries, of equal text the first stands for all; exact-duplicates by default",
        ),
    ] = None,
    on_bad_row: Annotated[
        Words, _option("--on-bad-row", _DATA, "fail; or drop: leave the row out and say so; fail by default")
    ] = None,
    kind: Annotated[Words, _option("--format", _EXPORT, "Export the pairs too; see `embedkit export --help`.")] = None,
    to: Annotated[File, _option("--to", _EXPORT, "The file to export to.", metavar="FILE")] = None,
    push_to_hub: Annotated[
        Words, _option("--push-to-hub", _EXPORT, "Push what is exported.", metavar="ORG/NAME")
    ] = None,
    force: Annotated[bool, _option("--force", _EXPORT, "Export to a file that is there already.")] = False,
    memory: Annotated[
        Words, _option("--memory", _RUN, "Memory to use besides the model's; 1GB by default", metavar="SIZE")
    ] = None,
    settings: Annotated[
        Many,
        _option(
            "--set",
            _RUN,
            "Any other field of the stages data, model and mined, e.g. mined.near_queries=0.95. May be repeated.",
            metavar="STAGE.FIELD=VALUE",
        ),
    ] = None,
    recipe_out: Annotated[
        File, _option("--recipe-out", _RUN, "Write the recipe that this comes to.", metavar="FILE")
    ] = None,
    store: Annotated[Path, typer.Option(help="Where artifacts are kept.", metavar="DIR", rich_help_panel=_RUN)] = Path(
        ".embedkit"
    ),
    as_json: Annotated[bool, _option("--json", _RUN, "Print JSON for machines instead of text.")] = False,
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
    recipe, export = draft.build(settings or ()), _Export.of(kind, to, push_to_hub, force=force)
    _make_folder(out)
    if recipe_out is not None:
        write_recipe(recipe_out, draft.text(recipe, recipe_out))
    try:
        with Console(as_json=as_json) as console:
            result = run(recipe, store=store, out=out, progress=console.progress, emit=console.emit)
            told = _told(result, recipe_out, export.write(out, console) if export else None)
            if as_json:
                console.emit("mined", told)
    except EmbedkitError as error:
        raise in_options(error) from error
    if not as_json:
        _print(told)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbedkitError(f"--out {out}: cannot be the run folder: {(error.strerror or '').lower()}") from None


@dataclass(frozen=True)
class _Export:
    """What to make of the pairs besides. Whatever is wrong with it is told before anything is mined."""

    format: "Format"
    to: Path
    push_to: str | None
    force: bool

    @staticmethod
    def of(kind: str | None, to: Path | None, push_to: str | None, *, force: bool) -> "_Export | None":
        """None if nothing is asked for."""
        if kind is None and to is None and push_to is None:
            return None
        if kind is None or to is None:
            raise RecipeError(f"--{'to' if kind else 'format'}: is missing; --format and --to go together")
        from embedkit.exports import format_named

        form = format_named(kind, {})
        if to.suffix not in form.suffixes:
            raise RecipeError(f"--to {to}: {kind} is written to files that end in {' or '.join(form.suffixes)}")
        if to.exists() and not force:
            raise DataError(f"--to {to}: is there already; --force writes it anew")
        if push_to is not None:
            from embedkit.exports.hub import check_online

            check_online(push_to)
        return _Export(form, to, push_to, force)

    def write(self, out: Path, console: "Console") -> dict[str, Any]:
        """Export, push, and say what came of it."""
        from embedkit.exports import export

        done = export(out / _STAGE, self.to, format=self.format, force=self.force, progress=console.progress)
        told = {"summary": done.summary(), "files": {name: str(path) for name, path in done.files.items()}}
        if self.push_to is None:
            return told
        from embedkit.exports.hub import push

        return {**told, "pushed": push(self.push_to, out / _STAGE, done)}


def _told(result: "Result", recipe_out: Path | None, exported: Mapping[str, Any] | None) -> dict[str, Any]:
    """What came of it."""
    from embedkit.core.stats import read_stats

    stats = {name: read_stats(artifact.path) for name, artifact in result.artifacts.items()}
    merged = sum(count for name, count in stats["data"]["counts"].items() if "duplicate" in name)
    return {
        "data": stats["data"]["summary"],
        "aliases": str(result.out / "data" / "aliases.parquet") if merged else None,
        "prompts": stats["model"]["prompts"],
        "summary": stats[_STAGE]["summary"],
        "warnings": stats[_STAGE]["warnings"],
        "counts": stats[_STAGE]["counts"],
        "pairs": str(result.out / _STAGE),
        "recipe": str(recipe_out) if recipe_out is not None else None,
        "exported": exported,
        "made": list(result.made),
    }


def _print(told: Mapping[str, Any]) -> None:
    given = {name: text for name, text in told["prompts"].items() if text}
    prompts = ", ".join(f"{name} {given[name]!r}" for name in _TASKS if name in given)
    others = ", ".join(sorted(given.keys() - set(_TASKS)))
    shown = {"data": told["data"], _STAGE: [*told["summary"], *(f"warning: {text}" for text in told["warnings"])]}
    lines = [
        *(line for stage, found in shown.items() if stage not in told["made"] for line in found),  # others said it
        f"what was merged, and into what: {told['aliases']}" if told["aliases"] else "",
        f"prompts, which the model remembers: {prompts}" if prompts else "",
        f"prompts of the model that nothing asked for: {others}; see --document-prompt" if others else "",
        "" if told["made"] else "nothing to do: every stage was already made",
        f"pairs: {told['pairs']}",
        f"recipe: {told['recipe']}" if told["recipe"] else "",
    ]
    if exported := told["exported"]:
        lines += [*exported["summary"], *(f"wrote {path}" for path in exported["files"].values())]
        lines += [f"pushed to {exported['pushed']}"] if "pushed" in exported else []
    for line in filter(None, lines):
        print(line)
