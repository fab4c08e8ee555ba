"""What the report shows of a training: the loss at every step, what was trained on, what a reader should know."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from embedkit.training.collator import Feed
from embedkit.training.examples import Examples
from embedkit.training.mixing import Turns
from embedkit.training.prompts import Prompts
from embedkit.training.sources import Source

History = Sequence[Mapping[str, float]]


def training_stats(examples: Examples, history: History, *, rows: int, prompts: Prompts) -> dict[str, Any]:
    """What the report shows of a training: the loss at every step, and what was trained on."""
    losses = [entry["loss"] for entry in history]
    edge = max(1, len(losses) // 10)
    first, last = sum(losses[:edge]) / edge, sum(losses[-edge:]) / edge
    course = f", loss {first:.4f} to {last:.4f}" if losses else ""  # a part after an early stop has no steps
    return {
        "summary": [f"{len(history)} steps over {rows} of {len(examples.rows)} rows{course}"],
        "counts": {"steps": len(history), "rows": len(examples.rows), "rows_seen": rows},
        "skipped": dict(examples.skipped),
        "warnings": [f"left out {count} {what}" for what, count in examples.skipped.items()],
        "history": [dict(entry) for entry in history],
        "prompts": prompts._asdict(),
    }


def stats_of_sources(
    sources: Sequence[Source], feeds: Sequence[Feed], turns: Turns, history: History, *, begin: int = 0
) -> dict[str, Any]:
    """The stats of a training with these sources. Of one that is a part of a longer one, `history` is that of the whole
    so far, and `begin` the step that the part began with."""
    parts = []
    for number, (feed, source) in enumerate(zip(feeds, sources, strict=True)):
        steps = [i for i in range(len(history)) if turns[i][0] == number]
        logged = [history[i] for i in steps if i >= begin]
        lacking = feed.batches.lacking(len(steps) - len(logged), len(steps))
        rows = len(logged) * feed.batches.batch_size - int(lacking.sum())
        part = training_stats(feed.examples, logged, rows=rows, prompts=feed.prompts)
        part["counts"]["negatives_per_query"] = _shown(feed)
        if source.batches.kind != "random":
            order: Any = feed.batches.order  # see `topics.Alike`
            part["batches"] = order.facts()
            part["warnings"] += order.warnings()
        if len(lacking):
            part["warnings"].append(
                f"{len(lacking)} of {len(logged)} batches have fewer than {feed.batches.batch_size} queries: "
                "too few queries are without a document in common"
            )
        parts.append(part)
    if len(parts) == 1:
        return parts[0] | {"history": [dict(entry) for entry in history]}
    return _of_all(parts, sources, turns, history)


def _shown(feed: Feed) -> float:
    """Mean number of its own negatives that a query is shown with."""
    limit, found = feed.picks.negatives, feed.examples.rows.negatives.lengths
    return round(float((found if limit is None else found.clip(max=limit)).mean()), 3)


def _of_all(
    parts: Sequence[Mapping[str, Any]], sources: Sequence[Source], turns: Turns, history: History
) -> dict[str, Any]:
    """The stats of several sources as one, each source by its number: 0 is the stage's own pairs."""
    names = [f"source {number} ({source.loss.kind})" for number, source in enumerate(sources)]
    skipped: Counter[str] = Counter()
    for part in parts:
        skipped.update(part["skipped"])
    return {
        "summary": [f"{name}: {line}" for name, part in zip(names, parts, strict=True) for line in part["summary"]],
        "counts": {name: sum(part["counts"][name] for part in parts) for name in ("steps", "rows", "rows_seen")},
        "skipped": dict(sorted(skipped.items())),
        "warnings": [f"{name}: {line}" for name, part in zip(names, parts, strict=True) for line in part["warnings"]],
        "history": [{**entry, "source": turns[i][0]} for i, entry in enumerate(history)],
        "prompts": parts[0]["prompts"],
        "sources": [
            {"loss": source.loss.model_dump(mode="json"), "share": steps / len(turns)}
            | {name: part[name] for name in ("counts", "batches") if name in part}
            for source, part, steps in zip(sources, parts, turns.counts, strict=True)
        ],
    }
