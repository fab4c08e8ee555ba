"""What a person would say of the overlap of training pairs and tasks."""

from collections.abc import Mapping
from typing import Any, Final

_MANNER: Final = {
    "exact": "the same",
    "near": "nearly the same",
    "inside_training": "inside a training text",
    "inside_evaluation": "around a training text",
    "similar": "alike in meaning",
}


def summary(found: Mapping[str, Any]) -> list[str]:
    """A line or two a task."""
    return [line for task in found["tasks"] for line in _lines(task)]


def warnings(found: Mapping[str, Any]) -> list[str]:
    """What makes scores untrustworthy, and likenesses that may be none."""
    lines = []
    for task in found["tasks"]:
        seen, all_ = len(task["touched_query_ids"]), task["queries"]
        if seen:
            lines.append(
                f"{task['name']}: training has seen {seen:,} of {all_:,} queries ({seen / all_:.1%}); give its scores "
                "without them too"
            )
        pairs = sum(task["leaked_pairs"]["found"].values())
        if pairs:
            lines.append(f"{task['name']}: {pairs:,} of {task['judged_pairs']:,} judged pairs are training pairs")
        near, templated = task["templates"]["near"], task["templates"]["templated"]
        if templated:
            lines.append(
                f"{task['name']}: {templated:,} of {near:,} near matches of queries are mostly template "
                f"({', '.join(repr(row['words']) for row in task['templates']['common'][:3])}): read some"
            )
        if task["left_out"]:
            lines.append(
                f"{task['name']}: rows that are not compared: {task['rows_left_out']:,}, e.g. {task['left_out'][0]}"
            )
    return lines


def _lines(task: Mapping[str, Any]) -> list[str]:
    name, lines = task["name"], list[str]()
    for row in task["found"]:
        number = sum(row["touched"].values())
        if number and (row["of"], row["among"]) in (("queries", "queries"), ("positives", "relevant")):
            what = "queries" if row["among"] == "queries" else "relevant documents"
            manner = ", ".join(f"{n:,} {_MANNER[how]}" for how, n in row["touched"].items())
            lines.append(f"{name}: {number:,} of {row['held']:,} {what} are among training {row['of']} ({manner})")
    return lines or [f"{name}: none of its queries and relevant documents is among training queries and positives"]


def looked_for(rules: Mapping[str, Any]) -> str:
    """When two texts match, in words."""
    said = ["the same text"]
    if rules["near"] is not None:
        by = " by MinHash" if rules["near_by"] == "minhash" else ""
        said.append(f"Jaccard similarity of runs of {rules['shingle']} words from {rules['near']:g}{by}")
    if rules["contained"] is not None:
        said.append(f"{rules['contained']:.0%} of one's runs of {rules['run']} words in the other")
    if rules["similarity"] is not None:
        said.append(f"cosine from {rules['similarity']:g}")
    return "; ".join(said)
