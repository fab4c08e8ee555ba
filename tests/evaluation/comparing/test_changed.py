from embedkit.evaluation.comparing.changed import changed
from embedkit.evaluation.comparing.pairing import pair
from tests.evaluation.comparing.folders import ranking, similarity, system


def rows(**values: float):
    return {query: {"ndcg@10": value} for query, value in values.items()}


def test_the_queries_that_moved_furthest_in_each_direction():
    base = {
        "One": ranking(rows(a=1.0, b=0.5, c=0.0, d=0.5)),
        "Two": ranking(rows(e=1.0, f=0.2)),
        "STS": similarity(1.0),
    }
    other = {
        "One": ranking(rows(a=0.5, b=0.0, c=1.0, d=0.5)),
        "Two": ranking(rows(e=0.9, f=0.3)),
        "STS": similarity(0.1),
    }
    pairs = pair(system("base", **base), system("other", **other), "main").tasks
    fell, rose = changed(pairs, 10)
    assert [row.query_id for row in fell] == ["b", "a", "e"]  # of equal falls, the one that is lost first
    assert [(row.task, row.query_id, round(row.difference, 9)) for row in rose] == [
        ("One", "c", 1.0),
        ("Two", "f", 0.1),
    ]
    assert [len(side) for side in changed(pairs, 1)] == [1, 1]
    assert changed(pairs, 0) == ([], [])
