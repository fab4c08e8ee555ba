"""Examples for tests of sampling and collation, made from numbers alone."""

from collections.abc import Sequence

from embedkit.training.examples import Examples, Row, Rows
from embedkit.training.lists import Lists, Sets


def examples(
    rows: Sequence[tuple[int, Sequence[int], Sequence[int]]], *, extra: Sequence[tuple[int, int]] = ()
) -> Examples:
    """Rows of (query, positives, negatives); `extra` has more (query, document) pairs that are known."""
    queries = 1 + max(query for query, _, _ in rows)
    documents = 1 + max([d for _, p, n in rows for d in (*p, *n)] + [d for _, d in extra])
    known: list[set[int]] = [set() for _ in range(queries)]
    for query, positives, _ in rows:
        known[query].update(positives)
    for query, document in extra:
        known[query].add(document)
    return Examples(
        [f"query {i}" for i in range(queries)],
        [f"document {i}" for i in range(documents)],
        Rows.of(
            [
                Row(f"q{i}", query, tuple(p), tuple(n), tuple(0.5 + d for d in p), tuple(0.25 + d for d in n))
                for i, (query, p, n) in enumerate(rows)
            ]
        ),
        Sets(Lists.of([sorted(some) for some in known])),
        {},
    )
