"""The command `compare`: what the difference between systems is worth, and gates that rest on it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from embedkit.cli.options import AsJson, print_json
from embedkit.core.errors import DataError, RecipeError, did_you_mean
from embedkit.core.progress import Progress

if TYPE_CHECKING:
    from embedkit.evaluation.comparing.comparison import Comparison
    from embedkit.evaluation.comparing.findings import How
    from embedkit.evaluation.comparing.gate import Gate
    from embedkit.evaluation.comparing.systems import System

GATE_FAILED: Final = 3
Texts = Mapping[str, Mapping[str, str]]  # task -> query_id -> text


def compare(
    systems: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, folders of scores (all their models, or FOLDER:MODEL) or TREC run files. The first is "
            "the baseline.",
            metavar="A B...",
            show_default=False,
        ),
    ],
    baseline: Annotated[
        str,
        typer.Option("--baseline", help="Another of the systems as the baseline.", metavar="NAME", show_default=False),
    ] = "",
    metric: Annotated[str, typer.Option("--metric", help="E.g. ndcg@10; main is each task's own.")] = "main",
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", help="Only these tasks, or groups of them. May be repeated.", metavar="TASK,..."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Of bootstrap and randomisation; 10000 by default.", min=100)
    ] = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", help="Of the intervals; 0.95 by default.", min=0.5, max=0.9999)
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the samples; 0 by default.", min=0)] = None,
    correction: Annotated[
        Literal["holm", "none"] | None,
        typer.Option("--correction", help="Of p-values for how many there are: holm (the default) or none."),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite", help="Samples, confidence, seed and correction as this suite has them.", metavar="NAME|FILE"
        ),
    ] = None,
    changed: Annotated[
        int, typer.Option("--changed", help="Show so many queries that fell furthest, and that rose.", min=0)
    ] = 0,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if", help="Exit with 3 if this surely holds: 'ndcg@10 < base - 0.005 at 95%'.", metavar="RULE"
        ),
    ] = None,
    fail_unless: Annotated[
        list[str] | None,
        typer.Option("--fail-unless", help="Exit with 3 unless it does: 'main > base - 0.005 at 95%'.", metavar="RULE"),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option("--qrels", help="Judgements for run files: TREC's qrels or BEIR's .tsv.", metavar="FILE"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="BEIR folder of the run files: texts of queries; qrels/test.tsv.", metavar="DIR"),
    ] = None,
    task: Annotated[
        str, typer.Option("--task", help="What to call the task of run files.", metavar="NAME", show_default=False)
    ] = "",
    ignore_identical_ids: Annotated[
        bool, typer.Option("--ignore-identical-ids", help="In run files, leave out documents with their query's id.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write compare.html and compare.json there.", metavar="DIR")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what systems' differences from a baseline are worth: intervals, tests, effect sizes, changed queries.

    Texts of queries are shown and stand in compare.html; JSON has figures and ids only.
    """
    from embedkit.cli.console import Console
    from embedkit.evaluation.comparing.figures import figures
    from embedkit.evaluation.comparing.gate import parse_gate

    gates = [parse_gate("fail-if", rule) for rule in fail_if or ()]
    gates += [parse_gate("fail-unless", rule) for rule in fail_unless or ()]
    named, notes = _opened(systems, [metric, *(gate.metric for gate in gates)], qrels, data, task, ignore_identical_ids)
    base, others = _sides(named, baseline)
    how = _how(suite, samples=samples, confidence=confidence, seed=seed, correction=correction)
    chosen = [name for names in tasks or () for name in names.split(",") if name]
    with Console(as_json=False) as console:
        shown, judgements = _compared(base, others, metric, chosen, how, gates, console.progress)
    most = changed or (_CHANGED if out or as_json else 0)
    found = figures(shown, judgements, most=most)
    found["notes"] += notes
    texts = _texts([base, *others])
    if out is not None:
        _write(out, found, texts)
    if as_json:
        print_json(found)
    else:
        from embedkit.cli.compare_tables import print_comparison

        print_comparison(found, texts, most=changed)
        for name in ("compare.html", "compare.json") if out else ():
            print(f"wrote {Path(str(out), name)}")
    if any(judgement.failed for judgement in judgements):
        raise typer.Exit(GATE_FAILED)


_CHANGED: Final = 20


def _how(suite: str | None, **given: Any) -> "How":
    """How differences are tested: as given, else as the suite has it, else as usual."""
    from dataclasses import replace

    from embedkit.evaluation.comparing.findings import How

    how = How()
    if suite is not None:
        from embedkit.evaluation.suite import load_suite

        how = How(**load_suite(suite).suite.significance.model_dump())
    return replace(how, **{name: value for name, value in given.items() if value is not None})


def _opened(
    words: Sequence[str], metrics: Sequence[str], qrels: Path | None, data: Path | None, task: str, identical: bool
) -> tuple[list["System"], list[str]]:
    """The systems of all arguments, and notes about the run files among them."""
    from embedkit.evaluation.comparing.systems import distinct, read_systems

    files = [word for word in words if Path(word).is_file()]
    about = _judged(files, qrels, data, task)
    groups: list[tuple[str, Sequence[System]]] = []
    notes: list[str] = []
    for word in words:
        if word in files:
            from embedkit.evaluation.comparing.runs import read_run_system

            asked = _asked(metrics)
            system, told = read_run_system(Path(word), about, asked, ignore_identical_ids=identical)
            groups.append((word, [system]))
            notes += told
        else:
            groups.append((word, read_systems(word)))
    found = distinct(groups)
    return found, notes + [f"{system.told()}; compared as {system.name}" for system in found if system.aliases]


def _judged(files: Sequence[str], qrels: Path | None, data: Path | None, task: str) -> Any:
    """What the run files are scored on; None if there are none."""
    if not files:
        if qrels or data or task:
            raise RecipeError("--qrels, --data and --task are about TREC run files; none of the systems is a file")
        return None
    if qrels is None and data is None:
        raise RecipeError(
            f"{files[0]}: a TREC run needs judgements; name them with --qrels FILE (or --data, a BEIR folder)"
        )
    from embedkit.evaluation.comparing.runs import judged

    texts: Mapping[str, str] = {}
    if data is not None:
        from embedkit.evaluation.tables import identifier, read_columns, string

        table = read_columns(data / "queries.jsonl", {"_id": identifier, "text": string})
        texts = dict(zip(table["_id"], table["text"], strict=True))
    place = qrels if qrels is not None else Path(str(data), "qrels", "test.tsv")
    return judged(place, task, texts)


def _asked(metrics: Sequence[str]) -> list[str]:
    """The metrics to compute of run files: those that are asked for, by their right names, and the usual ones."""
    from embedkit.evaluation.comparing.pairing import MAIN
    from embedkit.evaluation.comparing.runs import DEFAULT_METRICS
    from embedkit.measures.ranking import parse_metric

    named = [metric for metric in metrics if metric != MAIN]
    ranking = [metric for metric in named if "@" in metric or "_at_" in metric]
    for metric in ranking:
        parse_metric(metric)
    return list(dict.fromkeys([*DEFAULT_METRICS, *ranking]))


def _sides(systems: Sequence["System"], baseline: str) -> tuple["System", list["System"]]:
    """The baseline and the others."""
    names = {alias: s for s in systems for alias in s.aliases} | {s.name: s for s in systems}
    if baseline and baseline not in names:
        raise RecipeError(f"--baseline {baseline!r}: is none of {', '.join(names)}{did_you_mean(baseline, [*names])}")
    if len(systems) < 2:
        only = systems[0].told() if systems[0].aliases else f"only {systems[0].name} was named"
        raise RecipeError(f"{only}; a comparison needs another system")
    base = names[baseline] if baseline else systems[0]
    return base, [system for system in systems if system is not base]


def _compared(
    base: "System",
    others: Sequence["System"],
    metric: str,
    tasks: Sequence[str],
    how: "How",
    gates: Sequence["Gate"],
    progress: Progress,
) -> tuple["Comparison", list[Any]]:
    """The comparison that is shown, and what the gates say of theirs."""
    from embedkit.evaluation.comparing.comparison import compare as against
    from embedkit.evaluation.comparing.gate import judge

    made = {}
    for name in dict.fromkeys([metric, *(gate.metric for gate in gates)]):
        made[name] = against(base, others, metric=name, tasks=tasks, how=how, progress=progress)
    return made[metric], [judgement for gate in gates for judgement in judge(gate, made[gate.metric])]


def _texts(systems: Sequence["System"]) -> Texts:
    texts: dict[str, dict[str, str]] = {}
    for system in systems:
        for task, found in system.texts.items():
            texts.setdefault(task, {}).update(found)
    return texts


def _write(out: Path, found: Mapping[str, Any], texts: Texts) -> None:
    from embedkit.core.store import write_atomically
    from embedkit.report.compare import render_comparison

    if (out / "manifest.json").is_file():
        raise DataError(f"{out}: is an artifact, which must stay as it was made; write to another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "compare.json", json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_atomically(out / "compare.html", render_comparison(found, texts))
