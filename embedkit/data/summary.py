"""What the data stage reports of reading and cleaning."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from embedkit.core.pairs import Pair
from embedkit.core.records import SPLITS
from embedkit.data.assemble import Tables
from embedkit.data.cleaning import Cleaned
from embedkit.data.rows import Rejects


def data_stats(cleaned: Cleaned, rows: Sequence[Pair], rejects: Rejects, tables: Tables) -> dict[str, Any]:
    """The contents of stats.json."""
    dataset = cleaned.dataset
    merged = Counter((r.role, r.why) for r in cleaned.merged)
    leaks = Counter((r.split, r.kept_split, r.why) for r in cleaned.leaks)
    splits = {
        split: {"queries": len(qrels), "judgements": sum(map(len, qrels.values()))}
        for split, qrels in dataset.qrels.items()
    }
    counts = {
        "documents": len(dataset.corpus),
        "queries": len(dataset.queries),
        **{f"{split}_{what}": n for split, found in splits.items() for what, n in found.items()},
        "exact_duplicate_documents": merged["document", "exact"],
        "near_duplicate_documents": merged["document", "near"],
        "duplicate_queries": merged["query", "exact"],
        "leaked_queries": len(cleaned.leaks),
        "unjudged_queries": cleaned.unjudged,
        "repeated_judgements": tables.repeated,
        "rejected_rows": len(rejects.rows),
    }
    optional = {
        "scored_pairs": sum(len(row.positive_targets) for row in rows),
        "documents_with_metadata": sum(map(bool, dataset.corpus.metadata)),
        "queries_with_metadata": sum(map(bool, dataset.queries.metadata)),
        "texts_with_a_class": sum(map(bool, (*dataset.corpus.classes, *dataset.queries.classes))),
    }
    counts |= {name: count for name, count in optional.items() if count}
    found = ", ".join(f"{n['queries']} {split} queries" for split, n in splits.items())
    summary = [
        f"{len(dataset.corpus)} documents; {found}",
        f"removed: {counts['exact_duplicate_documents']} exact and {counts['near_duplicate_documents']} near duplicate "
        f"documents, {counts['duplicate_queries']} duplicate queries, {len(cleaned.leaks)} queries that another split "
        "has too",
    ]
    if cleaned.unjudged:
        summary.append(f"{cleaned.unjudged} queries without a judged document were left out")
    warnings = [f"{len(rejects.rows)} bad rows were dropped; see rejects.jsonl"] if rejects.rows else []
    if tables.other_metadata:
        warnings.append(
            f"{tables.other_metadata} rows have other fields than the first row of their query, whose fields it keeps"
        )
    warnings += [f"there is no {split} split" for split in SPLITS if split not in splits]
    return {
        "summary": summary + warnings[: bool(rejects.rows)],
        "counts": counts,
        "warnings": warnings,
        "splits": splits,
        "leaks": [{"from": s, "also_in": o, "why": w, "queries": n} for (s, o, w), n in sorted(leaks.items())],
        "rejects": [{"where": r["where"], "problem": r["problem"]} for r in rejects.rows[:20]],
    }
