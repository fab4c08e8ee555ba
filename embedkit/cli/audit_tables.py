"""What the command `audit` prints."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table

_BLOCKS = " ▁▂▃▄▅▆▇█"


def print_audit(found: Mapping[str, Any], *, examples: bool) -> None:
    """The audit of a mined set for a terminal."""
    console = Console(highlight=False, width=None if Console().is_terminal else 120)
    _lines(console, found["summary"])
    for table in (_scores(found), _margins(found["margins"]), _filters(found), _ranks(found), _hubs(found)):
        if table is not None and table.row_count:
            console.print()
            console.print(table)
    told = found["told"]
    for title, lines in (("spread", told["hubs"]), ("false negatives", told["false_negatives"])):
        _titled(console, title, lines)
    for other in found["overlap"]:
        console.print()
        console.print(_overlap(other))
    _titled(console, "not told", found["left_out"])
    _titled(console, "warnings", found["warnings"] or ["none"])
    if examples:
        _examples(console, found["examples"])


def _scores(found: Mapping[str, Any]) -> Table | None:
    groups: Mapping[str, Mapping[str, Any]] = found["histograms"]
    if not groups:
        return None
    low, high = (next(iter(groups.values()))[end] for end in ("low", "high"))
    table = Table("scores", _right("n"), _right("mean"), f"{low:.2f} to {high:.2f}", box=None, pad_edge=False)
    for name, group in groups.items():
        if group["n"]:
            table.add_row(name, f"{group['n']:,}", f"{found['means'][name]:.3f}", _bars(group["counts"]))
    return table


def _bars(counts: Sequence[int]) -> str:
    most = max(counts)
    return "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // most)] for count in counts)


def _margins(curve: Mapping[str, Any]) -> Table | None:
    if not curve:
        return None
    table = Table("a stricter filter", _right("would drop"), _right("of negatives"), box=None, pad_edge=False)
    if curve["hidden"]:
        table.add_column("of hidden positives", justify="right")
    rows = [(f"percent_of_positive {row['ratio']:g}", row) for row in reversed(curve["ratios"])]
    rows += [(f"margin_to_positive {row['margin']:g}", row) for row in reversed(curve["margins"])]
    for name, row in rows:
        caught = [_share(row["caught"], curve["hidden"])] if curve["hidden"] else []
        table.add_row(name, f"{row['dropped']:,}", _share(row["dropped"], curve["negatives"]), *caught)
    return table


def _filters(found: Mapping[str, Any]) -> Table:
    table = Table("dropped by", _right("candidates"), _right("of all"), box=None, pad_edge=False)
    for row in found["filters"]:
        table.add_row(row["name"], f"{row['dropped']:,}", _share(row["dropped"], found["counts"].get("candidates", 0)))
    return table


def _ranks(found: Mapping[str, Any]) -> Table:
    table = Table("rank", _right("negatives"), _right("of all"), box=None, pad_edge=False)
    total = sum(row["negatives"] for row in found["ranks"])
    for row in found["ranks"]:
        last = f"–{row['last']:,}" if row["last"] > row["first"] else "" if row["last"] else " and more"
        table.add_row(f"{row['first']:,}{last}", f"{row['negatives']:,}", _share(row["negatives"], total))
    return table


def _hubs(found: Mapping[str, Any]) -> Table:
    table = Table("most often a negative", _right("queries"), box=None, pad_edge=False)
    for row in found["hubs"][:5]:
        table.add_row(_plain(row["doc_id"]), f"{row['queries']:,}")
    return table


def _overlap(other: Mapping[str, Any]) -> Table:
    table = Table(
        _plain(f"shared with {other['name']}"), "among its", _right("the same"), _right("nearly"), "e.g.", box=None
    )
    table.pad_edge = False
    for row in other["found"]:
        if not row["same"] + row["near"] and not row["of"] == row["among"] == "queries":
            continue
        shown = "; ".join(f"{e['id']} is {e['twin']}" for e in row["examples"][:2])
        table.add_row(
            f"{row['texts']:,} {row['of']}", row["among"], f"{row['same']:,}", f"{row['near']:,}", _plain(shown)
        )
    return table


def _examples(console: Console, rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        rank = f", rank {row['rank']}" if row["rank"] else ""
        console.print()
        _lines(
            console,
            [
                f"query     {row['query_id']}: {row['query_text']}",
                f"positive  {row['positive']}{_score(row['positive_score'])}: {row['positive_text']}",
                f"negative  {row['doc_id']}{_score(row['score'])}{rank}: {row['negative_text']}",
            ],
        )


def _titled(console: Console, title: str, lines: Sequence[str]) -> None:
    if lines:
        console.print()
        _lines(console, [title, *(f"  {line}" for line in lines)])


def _lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _score(value: float | None) -> str:
    return "" if value is None else f" ({value:.3f})"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _right(name: str) -> Column:
    return Column(name, justify="right")
