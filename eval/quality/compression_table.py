"""The tables of eval.quality.compression, from its figures."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

METRIC: Final = "ndcg@10"


def markdown(figures: Mapping[str, Any]) -> str:
    """What every variant costs on every set."""
    sets = figures["sets"]
    parts = [
        "all-MiniLM-L6-v2, every variant searching the whole corpus; where it is rescored x4, the first 40 are ordered "
        f"anew. pq and pca learn from the documents they keep, which flatters pq where these are few for 256 centroids "
        f"a part. Made by `{figures['command']}`.",
        "## nDCG@10: of the full vectors, and differences from it",
        "With 95 % intervals (paired bootstrap over queries); **bold** where the interval excludes zero. Bytes are "
        "those kept of a document, in brackets those of them that are searched. * on the front: no other variant has "
        "as high a score in fewer bytes.",
        _table(("vectors", "bytes", *map(str, sets)), _costs(sets)),
        "## The full vectors' first 10 that are found again among the first 10",
        _table(("vectors", *map(str, sets)), _overlaps(sets)),
    ]
    return "\n\n".join(parts) + "\n"


def _costs(sets: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for i, variant in enumerate(next(iter(sets.values()))["variants"]):
        size = variant["bytes"]
        kept = f"{size['document']:,}"
        kept += f" ({size['searched']:,})" if size["searched"] != size["document"] else ""
        rows.append([variant["name"], kept, *(_cost(found["variants"][i], full=not i) for found in sets.values())])
    queries = [f"{found['counts']['queries']:,}" for found in sets.values()]
    documents = [f"{found['counts']['documents']:,}" for found in sets.values()]
    return [*rows, ["queries", "", *queries], ["documents", "", *documents]]


def _cost(row: Mapping[str, Any], *, full: bool) -> str:
    found, star = row["metrics"][METRIC], " *" if row["front"] else ""
    if full:
        return f"{found['mean']:.4f}{star}"
    text = f"{_signed(found['difference'])} ({_signed(found['low'])} to {_signed(found['high'])})"
    return (f"**{text}**" if found["low"] > 0 or found["high"] < 0 else text) + star


def _signed(value: float) -> str:
    return f"{round(value, 4) + 0.0:+.4f}"  # never -0.0000


def _overlaps(sets: Mapping[str, Any]) -> list[list[str]]:
    return [
        [row["name"], *(f"{found['variants'][i]['metrics']['overlap@10']['mean']:.3f}" for found in sets.values())]
        for i, row in enumerate(next(iter(sets.values()))["variants"])
        if i
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
