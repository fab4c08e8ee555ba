"""The tables and the plot of eval.quality.poisoning, from its figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from eval.quality.poisoning_curves import GRID

SIGNALS: Final = {
    "hubness": "lists won by errors",
    "errors": "errors in the text",
    "pull": "drawn by errors in queries",
    "score": "score (both)",
}
SIDES: Final = {"queries": "errors of queries", "positives": "errors of positives", "score": "score (both)"}


def markdown(figures: Mapping[str, Any]) -> str:
    """What the attack does, what the audit finds of it, and what it finds where there is none."""
    first = figures["victims"][0]["planted"]
    parts = [
        f"scitldr, {figures['documents']:,} documents, {figures['queries']} queries, {figures['pairs']:,} training "
        f"pairs; MiniLM: all-MiniLM-L6-v2 fine-tuned for {figures['steps']} steps; static: the mean of its token "
        f"embeddings trained for {figures['static_steps']}. Means over {figures['seeds']} draws of what is planted. "
        f"Made by `{figures['command']}`.",
        "## What the attack does",
        "A query finds a planted document among its 10 best, in percent of queries: with errors / as it is.",
        _table(("victim", "nDCG@10", *(f"{_share(row['share'])} planted" for row in first)), _attack(figures)),
        "## What the audit finds of planted documents",
        "Recall at 1 % / at 5 % of honest documents taken for planted ones; found: share of draws in which the audit "
        "as a whole finds something, at a false-alarm rate of 1 % / 5 %.",
        _table(("victim", "planted", "documents", *SIGNALS.values(), "found"), _documents(figures)),
        "## What the audit finds of poisoned training pairs",
        "The same for pairs; no model is asked.",
        _table(("errors", "poisoned", "pairs", *SIDES.values(), "found"), _pairs(figures)),
        "## Honest data",
        "Share of draws in which the audit as a whole finds something at 1 % / 5 %, the same for each test alone, and "
        "the share of documents whose score is below 0.01 / 0.05.",
        _table(("audited", "draws", "found", "each test alone", "documents below"), _honest(figures)),
        "## The detector on plain English",
        _table(("text", "words", "found in 1,000 words", "of injected ones found"), _detector(figures)),
    ]
    return "\n\n".join(parts) + "\n"


def _name(victim: Mapping[str, Any]) -> str:
    share, errors = victim["poisoned"], victim["errors"]
    trained = "not trained" if share is None else f"{_share(share)} of pairs poisoned"
    return f"{victim['victim']}, {trained}, {errors['query']:g} errors a word"


def _attack(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            _name(victim),
            f"{victim['ndcg@10']:.4f}",
            *(f"{100 * row['success_errors']:.1f} / {100 * row['success_plain']:.1f}" for row in victim["planted"]),
        )
        for victim in figures["victims"]
    ]


def _documents(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (_name(v), _share(row["share"]), str(row["planted"]), *_recalls(row["signals"], SIGNALS), _found(row["found"]))
        for v in figures["victims"]
        for row in v["planted"]
    ]


def _pairs(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f"{row['errors']['query']:g} a word",
            _share(row["share"]),
            str(row["planted"]),
            *_recalls(row["signals"], SIDES),
            _found(row["found"]),
        )
        for row in figures["training"]
    ]


def _recalls(signals: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    return [f"{signals[name]['recall@0.01']:.2f} / {signals[name]['recall@0.05']:.2f}" for name in names]


def _honest(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f"{row['what']}: {row['set']}",
            str(row["draws"]),
            _found(row["found"]),
            ", ".join(f"{test} {_found(levels)}" for test, levels in row["tests"].items()),
            _found(row["below"], digits=3) if "below" in row else "",
        )
        for row in figures["honest"]
    ]


def _detector(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            row["text"],
            f"{row['words']:,}",
            f"{row['per_1000_words']:.2f}",
            ", ".join(f"{kind} {share:.0%}" for kind, share in row["found"].items()),
        )
        for row in figures["detector"]
    ]


def _found(levels: Mapping[str, float], *, digits: int = 2) -> str:
    return f"{levels['0.01']:.{digits}f} / {levels['0.05']:.{digits}f}"


def _share(value: float) -> str:
    return f"{100 * value:g} %"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(figures: Mapping[str, Any], path: Path) -> None:
    """Detection curves: planted documents with the victim that the attack takes best, and poisoned pairs below."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    victim = max(figures["victims"], key=lambda found: found["planted"][-1]["success_errors"])
    pairs = [row for row in figures["training"] if row["errors"] == victim["errors"]]
    canvas, axes = plt.subplots(2, len(victim["planted"]), figsize=(13, 6.2), sharex=True, sharey=True)
    for rows, names, line, what in (
        (victim["planted"], SIGNALS, axes[0], "of documents planted"),
        (pairs, SIDES, axes[1], "of pairs poisoned"),
    ):
        for panel, row in zip(line, rows, strict=False):
            for name, label in names.items():
                panel.plot(GRID, row["signals"][name]["curve"], label=label, linewidth=2.2 if name == "score" else 1.2)
            panel.plot(GRID, GRID, color="gray", linewidth=0.8, linestyle=":")
            panel.set(xscale="log", title=f"{_share(row['share'])} {what}")
            panel.grid(alpha=0.3)
        line[-1].legend(fontsize=7, loc="lower right")
        line[0].set_ylabel("found")
    for panel in axes[1]:
        panel.set_xlabel("honest ones taken for them")
    canvas.suptitle(_name(victim), fontsize=10)
    canvas.tight_layout()
    canvas.savefig(path, dpi=110)
    plt.close(canvas)
