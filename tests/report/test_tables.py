import pytest

from embedkit.report import tables


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0123, "+0.012"),
        (-0.0123, "−0.012"),
        (0.0004, "+0.0004"),
        (-0.00004, "−0.00004"),
        (0.0, "0.000"),
        (1e-9, "0.00000"),
    ],
)
def test_a_difference_has_a_sign_and_does_not_read_as_zero_unless_it_is(value, shown):
    assert tables.signed(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.04, "0.0 s"), (9.96, "10.0 s"), (41.2, "41 s"), (245, "4 min 05 s"), (7800, "2 h 10 min")],
)
def test_seconds(value, shown):
    assert tables.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0 B"), (2048, "2 KiB"), (812 * 1024**2, "812 MiB"), (1.5 * 1024**3, "1.5 GiB")],
)
def test_memory(value, shown):
    assert tables.memory(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(2412, "2,412"), (0.5, "0.5"), (-3, "−3"), (1.0, "1"), (None, "–"), ("x", "x"), (True, "True")]
)
def test_number(value, shown):
    assert tables.number(value) == shown


def test_metrics_have_their_printed_names():
    assert [tables.metric_name(m) for m in ("ndcg@10", "recall@100", "other")] == ["nDCG@10", "Recall@100", "other"]


def test_lists_in_words():
    assert [tables.listed(list(x)) for x in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]


def test_markdown_cells_cannot_break_their_table():
    assert tables.cell("a|b\n<script>") == "a\\|b &lt;script&gt;"
