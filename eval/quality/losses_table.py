"""The table of eval.quality.losses, for a terminal and for a README, from its figures."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = (
    "loss",
    "data",
    "chosen on dev",
    "dev",
    "test",
    "each seed",
    "− base",
    "− InfoNCE",
    "− InfoNCE, like data",
)
NUMBERS = COLUMNS.index("dev")  # and all that follow


def show(figures: Mapping[str, Any]) -> None:
    """Print it, as wide as it is."""
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if number < NUMBERS else "right", no_wrap=True)
    for row in _rows(figures):
        table.add_row(*row)
    Console(highlight=False, width=240).print(table)


def markdown(figures: Mapping[str, Any]) -> str:
    """The table, and what it shows."""
    seeds, queries = figures["seeds"], figures["queries"]
    number = sum(len(found["minus"]) for found in figures["losses"].values())
    text = (
        f"all-MiniLM-L6-v2 after {figures['steps']} steps of 32 queries, {figures['documents']} documents of "
        f"{figures['data']}. nDCG@10: settings chosen on {queries['dev']} dev queries with seed {seeds[0]}, figures "
        f"from {queries['test']} test queries, means over seeds {', '.join(map(str, seeds))}. Differences with 95 % "
        "intervals (paired bootstrap over queries), to the base model, to InfoNCE with in-batch negatives and to "
        f"InfoNCE on the like data; * where they exclude zero, as about {number * 0.05:.0f} of the {number} would by "
        f"luck alone. Made by `{figures['command']}`."
    )
    rules = ["---" if number < NUMBERS else "---:" for number in range(len(COLUMNS))]
    lines = [COLUMNS, rules, *_rows(figures)]
    return "\n".join([text, "", *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def _rows(figures: Mapping[str, Any]) -> list[list[str]]:
    """The cells, best on test first."""
    base, losses = figures["base"], figures["losses"]
    rows = [["none: the base model", "", "", f"{base['dev']:.4f}", f"{base['test']:.4f}", *[""] * 4]]
    for name, found in sorted(losses.items(), key=lambda item: -item[1]["test_mean"]):
        chosen, minus, like = found["settings"][found["chosen"]], found["minus"], found["like"]
        rows.append(
            [
                found["title"],
                found["data"],
                chosen["label"],
                f"{chosen['dev']:.4f}",
                f"{found['test_mean']:.4f}",
                ", ".join(f"{value:.4f}" for value in found["test"].values()),
                _interval(minus.get("base")),
                _interval(minus.get("infonce")),
                _interval(minus.get(like)) if like not in ("infonce", name) else "",
            ]
        )
    return rows


def _interval(found: Mapping[str, float] | None) -> str:
    if found is None:
        return ""
    mark = "*" if found["low"] > 0 or found["high"] < 0 else ""
    text = f"{found['difference']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f}){mark}"
    return text.replace("-", "−")
