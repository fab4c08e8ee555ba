"""The tables of eval.quality.false_negatives, from its figures."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from eval.quality.hidden_rules import OURS, PEERS, SHIFT

REFERENCE: Final = "relative_margin 0.05"


def markdown(figures: Mapping[str, Any]) -> str:
    """An overview, every setting of sentence-transformers, and what each signal is worth."""
    sets = figures["sets"]
    parity = ", ".join(f"{name}: {share:.1%}" for name, share in figures["parity"].items())
    parts = [
        f"Half of each query's positives hidden ({figures['hidings']} draws), {figures['negatives']} negatives of the "
        f"{figures['top_k']} best candidates by all-MiniLM-L6-v2. Left: hidden positives among the negatives, in "
        "percent. Score and rank: means of the other negatives, the higher score and the lower rank the harder. "
        "Differences with 95 % intervals (paired bootstrap over queries). * the curve's easiest point, which is harder "
        f"than what it is held against. Made by `{figures['command']}`.",
        f"Rules that stand for sentence-transformers choose what its function chooses ({parity} of the queries).",
        "## The default against no filter and a relative margin of 0.05",
        _table(("set", "queries", "rule", "queries left", "left", "score", "rank"), _overview(sets)),
        "## Every setting of sentence-transformers, on the queries that it leaves",
        _table(SETTINGS, _settings(sets)),
        "## What each signal is worth: left at the hardness of a relative margin of 0.05, by score / by rank",
        _table(("signals", *sets), _ablation(sets)),
    ]
    return "\n\n".join(parts) + "\n"


SETTINGS: Final = (
    "set",
    "rule",
    "queries left",
    "left",
    "score",
    "rank",
    "agreement, equal score",
    "difference",
    "agreement, equal rank",
    "difference",
    "default: left",
    "score",
    "rank",
)


def _overview(sets: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, found in sets.items():
        rows.append([_set(name), str(found["queries"]), "none", "100 %", *_figures(found["unfiltered"])])
        for peer in found["peers"]:
            if f"{peer['rule']} {peer['setting']:g}" == REFERENCE:
                left = _figures(peer) if "score" in peer else ["", "", ""]
                rows.append(["", "", PEERS[peer["rule"]].title + " 0.05", f"{peer['full']:.0%}", *left])
                if "default" in peer:
                    rows.append(["", "", "default, same queries", f"{peer['full']:.0%}", *_figures(peer["default"])])
        rows.append(["", "", "default", f"{found['default']['full']:.0%}", *_figures(found["default"])])
    return rows


def _settings(sets: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, found in sets.items():
        for peer in found["peers"]:
            title = f"{PEERS[peer['rule']].title} {peer['setting']:g}"
            row = [_set(name), title, f"{peer['full']:.0%}"]
            if "score" in peer:
                row += _figures(peer) + _held(peer["equal_score"]) + _held(peer["equal_rank"])
                row += _figures(peer["default"])
            rows.append(row + [""] * (len(SETTINGS) - len(row)))
    return rows


def _ablation(sets: Mapping[str, Any]) -> list[list[str]]:
    titles = {**{name: family.title for name, family in OURS.items()}, "rank_shift": SHIFT.title}
    return [
        [
            title,
            *(" / ".join(_held(found["ablation"][name][of])[0] for of in ("score", "rank")) for found in sets.values()),
        ]
        for name, title in titles.items()
    ]


def _figures(found: Mapping[str, float]) -> list[str]:
    return [_percent(found["share_of_negatives"]), f"{found['score']:.3f}", f"{found['rank']:.1f}"]


def _held(found: Mapping[str, Any] | None) -> list[str]:
    """What is left, and the difference with its interval."""
    if found is None:
        return ["–", ""]
    mark = "*" if found["harder"] else ""
    interval = f"{_percent(found['difference'])} ({_percent(found['low'])} to {_percent(found['high'])})"
    return [_percent(found["share_of_negatives"]) + mark, interval]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}".replace("-", "−")


def _set(name: str) -> str:
    return name.replace(":", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
