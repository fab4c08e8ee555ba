"""The audit of a mined set: everything its files say, and what a person would say of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from embedkit.core.errors import ArtifactError, DataError
from embedkit.core.pair_files import check_folder
from embedkit.core.progress import Progress, silent
from embedkit.core.stats import read_stats
from embedkit.core.store import MANIFEST, read_manifest
from embedkit.mining.audit.draws import draw_examples, with_texts
from embedkit.mining.audit.hidden import Rules, hidden_positives
from embedkit.mining.audit.hubs import hubness, hubs
from embedkit.mining.audit.judged import judged_estimate
from embedkit.mining.audit.overlap import Held, overlap
from embedkit.mining.audit.remarks import estimate_lines, hub_lines, summary, warnings
from embedkit.mining.audit.sameness import same_texts
from embedkit.mining.audit.tables import document_ids
from embedkit.mining.audit.tally import KEPT, Tally
from embedkit.mining.fates import CANDIDATES
from embedkit.mining.filters import AnyFilter, Filter
from embedkit.mining.miner import NAMES, SPARE
from embedkit.mining.sampling import AnySampling, Sampling, Top
from embedkit.mining.signals import BUILT_IN, SAME_GROUP

_EXAMPLES: Final = 4  # in stats.json


def describe(
    out: Path, *, wanted: int, doc_ids: Sequence[str], reasons: Sequence[str], rules: Rules | None = None
) -> dict[str, Any]:
    """stats.json of the mine stage, from the files in `out`.

    `reasons` are those for dropping a candidate, in the order they apply: the excluded ones, then the filters. With the
    `rules` that the negatives were chosen by, known positives are hidden to see what becomes of them.
    """
    stats = _measure(out, wanted, doc_ids, reasons, rules)
    stats["examples"] = with_texts(out, draw_examples(out, _EXAMPLES, seed=0))
    return _told(stats, wanted)


def _told(stats: dict[str, Any], wanted: int) -> dict[str, Any]:
    """The numbers and what they say."""
    lines = {"hubs": hub_lines(stats["hubness"]), "false_negatives": estimate_lines(stats["false_negatives"])}
    return {**stats, "told": lines, "summary": summary(stats, wanted), "warnings": warnings(stats, wanted)}


def audit(
    folder: Path,
    *,
    against: Sequence[Held] = (),
    judgements: Path | None = None,
    examples: int = 20,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Everything about the mined set in `folder`: what `describe` tells, and what takes a look at the texts.

    `against` are sets that models are evaluated on, `judgements` a file of judgements of a sample of the negatives.
    `left_out` says what could not be told, and why. The same files and seed give the same. Raises `DataError` if the
    folder holds no mined set, or judgements are not of it.
    """
    check_folder(folder, "a mined set is")
    rules, doc_ids = recorded_rules(folder), document_ids(folder)
    reasons = [row["name"] for row in read_stats(folder).get("filters", [])]
    with progress("read scores", None):
        tally = Tally.of(folder, doc_ids)
        wanted = rules.count if rules else max(tally.found, default=0)
        if not tally.negatives:
            raise DataError(f"{folder}: no query has a negative; mine them first")
        stats = _measure(folder, wanted, doc_ids, reasons, rules, tally=tally)
    if judgements is not None:
        stats["false_negatives"]["judged"] = judged_estimate(folder, judgements)
    stats["same_texts"] = same_texts(folder, progress=progress)
    stats["overlap"] = overlap(folder, against, progress=progress) if against else []
    stats["examples"] = with_texts(folder, draw_examples(folder, examples, seed=seed))
    stats["left_out"] = _left_out(folder, stats)
    return _told(stats, wanted)


def mining_rules(filters: Sequence[Filter], count: int, sampling: Sampling) -> Rules:
    """The rules of a mine stage with these fields."""
    return Rules(filters, count, sampling, from_labels=frozenset({*BUILT_IN, SAME_GROUP}))


def recorded_rules(folder: Path) -> Rules | None:
    """The rules that a mine stage's manifest records; None where there is none that can be read."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        manifest = read_manifest(folder)
        spec = manifest.spec.get("spec", {})
        if manifest.kind != "mine":
            return None
        filters = TypeAdapter(tuple[AnyFilter, ...]).validate_python(spec["filters"])
        sampling = TypeAdapter(AnySampling).validate_python(spec.get("sampling", Top()))
        return mining_rules(filters, int(spec["negatives"]), sampling)
    except (ArtifactError, ValidationError, KeyError):
        return None


def _measure(
    folder: Path,
    wanted: int,
    doc_ids: Sequence[str],
    reasons: Sequence[str],
    rules: Rules | None,
    *,
    tally: Tally | None = None,
) -> dict[str, Any]:
    tally = tally or Tally.of(folder, doc_ids)
    dropped = [name for name in tally.reasons if name not in (*KEPT, *reasons)]
    counts = {
        "queries": tally.queries,
        "documents": len(doc_ids),
        "negatives": tally.negatives,
        "distinct_negatives": int((tally.served > 0).sum()),
        "never_positive": int(tally.served[~tally.relevant].sum()),
        "suspects": tally.suspects,
        "queries_with_fewer": sum(n for found, n in tally.found.items() if 0 < found < wanted),
        "queries_without": tally.found[0],
        **({"fills": tally.fills} if tally.fills else {}),
    }
    if (folder / CANDIDATES).is_file():
        counts |= {"candidates": sum(tally.reasons.values()), "spare": tally.reasons.get(NAMES[SPARE], 0)}
        hidden = (
            hidden_positives(folder, doc_ids, rules) if rules else {"missing": "what filters chose is not recorded"}
        )
    else:
        hidden = {"missing": f"there is no {CANDIDATES}"}
    return {
        "counts": counts,
        "wanted": wanted,
        "filters": [{"name": name, "dropped": tally.reasons.get(name, 0)} for name in (*reasons, *dropped)],
        "histograms": tally.histograms,
        "means": {name: group.total / group.n for name, group in tally.groups.items() if group.n},
        "mean_rank": tally.rank_sum / tally.ranked if tally.ranked else None,
        "ranks": tally.rank_bins(),
        "hubs": hubs(tally.served, doc_ids),
        "hubness": hubness(tally.served),
        "margins": tally.margins.stats(),
        "false_negatives": {"hidden": hidden},
    }


def _left_out(folder: Path, stats: dict[str, Any]) -> list[str]:
    lines = []
    if not (folder / CANDIDATES).is_file():
        lines.append(f"what filters dropped: there is no {CANDIDATES}")
    if not stats["margins"]:
        lines.append("score distributions and margins: pairs.parquet has no scores of the miner")
    if why := stats["false_negatives"]["hidden"].get("missing"):
        lines.append(f"what becomes of hidden positives: {why}")
    if "judged" not in stats["false_negatives"]:
        lines.append("the share of false negatives by judgement: judge a sample (--sample N --to FILE)")
    return lines
