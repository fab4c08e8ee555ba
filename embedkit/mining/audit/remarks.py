"""What a person who reads the numbers of a mined set would say."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_FEW_SHARE: Final = 0.1
_HUB_SHARE: Final = 0.05  # a negative of more queries than this is worth a warning
_UNEVEN: Final = 0.2  # so much more of all negatives are among the top documents than an even spread would have there
_ABOVE: Final = 0.05
_NEVER: Final = 0.2
_CLOSE: Final = 0.95
_EASY: Final = 0.01
_FALSE: Final = 0.1


def summary(stats: Mapping[str, Any], wanted: int) -> list[str]:
    """What was mined, in a few lines."""
    counts, means = stats["counts"], stats["means"]
    full = counts["queries"] - counts["queries_with_fewer"] - counts["queries_without"]
    lines = [
        f"{counts['queries']:,} queries over {counts['documents']:,} documents: {wanted} negatives each for {full:,}, "
        f"fewer for {counts['queries_with_fewer']:,}, none for {counts['queries_without']:,}"
    ]
    if "candidates" in counts:
        drops = [f"{row['name'].replace('_', ' ')} {row['dropped']:,}" for row in stats["filters"] if row["dropped"]]
        lines.append(f"dropped of {counts['candidates']:,} candidates: {', '.join(drops) or 'none'}")
    listed = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
    rank = "" if stats["mean_rank"] is None else f"; negatives' mean rank {stats['mean_rank']:.1f}"
    return [*lines, f"mean scores: {listed}{rank}"] if listed else lines


def warnings(stats: Mapping[str, Any], wanted: int) -> list[str]:
    """What is wrong, or may be."""
    parts = (_numbers(stats, wanted), _hubs(stats), _scores(stats), _texts(stats), _overlap(stats), _false(stats))
    return [line for part in parts for line in part]


def estimate_lines(found: Mapping[str, Any]) -> list[str]:
    """How many negatives are false, as far as is known, and by what assumption."""
    lines = []
    if judged := found.get("judged"):
        blank = f"; {judged['blank']:,} rows of the sample are not judged" if judged["blank"] else ""
        lines.append(
            f"{_range(judged['rate'])} of the negatives are false, by {judged['judged']:,} judgements of a random "
            f"sample, {judged['relevant']:,} of them relevant{blank}"
        )
    if "survival" in (hidden := found["hidden"]):
        skipped = f", {' and '.join(hidden['without_filters'])} left out" if hidden["without_filters"] else ""
        lines += [
            f"of {hidden['hidden']:,} known positives, hidden one at a time, {_range(hidden['survival'])} became "
            f"negatives ({hidden['queries']:,} queries with several positives{skipped})",
            f"if labels hold half of all relevant documents, {_range(hidden['rate_if_half_is_labelled'])} of the "
            f"negatives are false, {hidden['assumption']}",
            f"labels hold at least {_range(hidden['labelled'])}, as the best first candidates tell on that assumption: "
            f"so at most {_range(hidden['rate_at_most'])} are",
        ]
    return lines


def hub_lines(spread: Mapping[str, Any]) -> list[str]:
    """How evenly the negatives are spread over the documents."""
    if not spread:
        return []
    return [
        f"the {spread['top_documents']:,} documents (1 %) that serve most are {spread['top_share']:.1%} of the "
        f"negatives; drawn at random they would be {spread['even_share']:.1%}. Gini {spread['gini']:.2f}, skewness "
        f"{spread['skewness']:.1f}"
    ]


def _numbers(stats: Mapping[str, Any], wanted: int) -> Iterator[str]:
    counts = stats["counts"]
    few = counts["queries_with_fewer"] + counts["queries_without"]
    if few > _FEW_SHARE * counts["queries"]:
        yield (
            f"{few:,} of {counts['queries']:,} queries have fewer than {wanted} negatives; "
            "a larger top_k or looser filters would find more"
        )
    if counts["never_positive"] > _NEVER * counts["negatives"]:
        yield (
            f"{counts['never_positive'] / counts['negatives']:.0%} of the negatives are relevant to no query here: "
            "training pushes them away from all queries, those to come too; `among: positives` leaves them out"
        )
    if counts.get("fills"):
        share = counts["fills"] / counts["negatives"]
        yield f"{counts['fills']:,} negatives ({share:.1%}) were found by no search: a fill policy put them there"


def _hubs(stats: Mapping[str, Any]) -> Iterator[str]:
    # with few documents some must serve often: a hub stands out against an even spread
    counts, spread = stats["counts"], stats["hubness"]
    even = counts["negatives"] / max(counts["documents"], 1)
    if stats["hubs"] and stats["hubs"][0]["queries"] > max(_HUB_SHARE * counts["queries"], 10 * even):
        hub = stats["hubs"][0]
        yield f"document {hub['doc_id']!r} is a negative of {hub['queries']:,} queries"
    if spread and spread["top_documents"] > 1 and spread["top_share"] > spread["even_share"] + _UNEVEN:
        yield (
            f"{spread['top_documents']:,} documents, 1 % of all, are {spread['top_share']:.0%} of the negatives; "
            f"evenly spread they would be {spread['even_share']:.0%}"
        )


def _scores(stats: Mapping[str, Any]) -> Iterator[str]:
    means, curve = stats["means"], stats["margins"]
    positive, negative = means.get("positives"), means.get("negatives")
    if curve:
        above = curve["ratios"][-1]["dropped"]
        if above > _ABOVE * curve["negatives"]:
            yield (
                f"{above:,} negatives ({above / curve['negatives']:.1%}) score above a positive of their query: "
                "some may be relevant: read examples, or have a sample judged"
            )
        easy = curve["ratios"][0]["dropped"]
        if easy < _EASY * curve["negatives"]:
            yield (
                f"{1 - easy / curve['negatives']:.1%} of the negatives score below half of their positive: "
                "too easy to teach much"
            )
    if positive is not None and negative is not None and positive > 0 and negative > _CLOSE * positive:
        yield f"negatives score {negative:.3f} on average, positives {positive:.3f}: hardly any difference"


def _texts(stats: Mapping[str, Any]) -> Iterator[str]:
    for name, what in (
        ("known_positive", "are known to be relevant to their query"),
        ("same_as_positive", "have the text of a positive of their query"),
        ("same_as_query", "have the text of their query"),
    ):
        if count := stats.get("same_texts", {}).get(name):
            yield f"{count:,} negatives {what}"


def _overlap(stats: Mapping[str, Any]) -> Iterator[str]:
    for other in stats.get("overlap", []):
        for row in other["found"]:
            if row["of"] == row["among"] == "queries" and row["same"] + row["near"]:
                yield (
                    f"{other['name']}: {row['same']:,} training queries are among its queries and {row['near']:,} "
                    "nearly are; scores on it are not to be trusted"
                )


def _false(stats: Mapping[str, Any]) -> Iterator[str]:
    found = stats["false_negatives"]
    if "judged" in found and found["judged"]["rate"]["value"] > _FALSE:
        judged = found["judged"]
        yield f"{_range(judged['rate'])} of the negatives are false, by {judged['judged']:,} judgements"
    half = found["hidden"].get("rate_if_half_is_labelled")
    if "judged" not in found and half and half["value"] > _FALSE:
        yield (
            f"{_range(half)} of the negatives are false if labels hold half of all relevant documents, as hidden "
            "positives show; judge a sample to know"
        )


def _range(rate: Mapping[str, float]) -> str:
    return f"{rate['value']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"
