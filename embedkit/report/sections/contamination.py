"""Contamination: what training pairs share with the tasks that the model is measured by, in figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedkit.report.lineage import Lineage, Node


@dataclass(frozen=True)
class Task:
    """One task: of its queries, its relevant documents and its judged pairs, how many training has."""

    name: str
    queries: int
    seen: int  # their text is a training text
    relevant: int
    positives: int  # relevant documents that are training positives
    pairs: int
    leaked: int  # judged pairs that are training pairs


@dataclass(frozen=True)
class Card:
    """One comparison of training pairs with tasks."""

    name: str
    train: str  # stage that made the pairs
    pairs: int
    of_the_model: bool  # whether the model was made from these pairs
    looked_for: str
    tasks: Sequence[Task]


def card(node: Node, lineage: Lineage, own: Lineage) -> Card:
    """What the stats of a `contamination` stage say; `own` is the lineage of the model that the card is of."""
    stats, train = node.stats, node.inputs["train"]
    return Card(
        node.label,
        lineage.label(train),
        int(stats["train"]["pairs"]),
        train in own.nodes,
        stats["looked_for"],
        [_task(task) for task in stats["tasks"]],
    )


def _task(task: Mapping[str, Any]) -> Task:
    return Task(
        task["name"],
        task["queries"],
        task["seen"],
        task["relevant"],
        sum(
            sum(row["touched"].values())
            for row in task["found"]
            if (row["of"], row["among"]) == ("positives", "relevant")
        ),
        task["judged_pairs"],
        sum(task["leaked_pairs"].values()),
    )
