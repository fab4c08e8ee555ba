import pytest

from embedkit.core.errors import DataError, RecipeError
from embedkit.evaluation.comparing.comparison import compare
from embedkit.evaluation.comparing.findings import How
from embedkit.evaluation.comparing.gate import judge, parse_gate
from tests.evaluation.comparing.folders import queries, ranking, similarity, system, three

HOW = How(samples=600)
BASE, BETTER, WORSE = three()


def judged(kind: str, rule: str, base=BASE, *candidates, tasks=()):
    gate = parse_gate(kind, rule)
    return judge(gate, compare(base, candidates, metric=gate.metric, tasks=tasks, how=HOW))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ndcg@10 < base - 0.005 at 95%", ("ndcg@10", False, -0.005, 0.95, "")),
        ("main>base-0.01 at 99.5 % on STS22:en", ("main", True, -0.01, 0.995, "STS22:en")),
        ("  recall@100 < base at 90% on Sci Fact ", ("recall@100", False, 0.0, 0.9, "Sci Fact")),
        ("mrr@10 > base + .02 at 95%", ("mrr@10", True, 0.02, 0.95, "")),
        ("cosine_spearman < base − 0.01 at 95%", ("cosine_spearman", False, -0.01, 0.95, "")),
    ],
)
def test_rules_are_read(text, parts):
    gate = parse_gate("fail-if", text)
    assert (gate.metric, gate.above, gate.margin, gate.confidence, gate.task) == pytest.approx(parts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a rule; expected METRIC < base"),
        ("ndcg@10 is worse", "is not a rule"),
        ("ndcg@10 <= base at 95%", "'<=' is not known; expected < or >"),
        ("ndcg@10 < 0.6 at 95%", "compares with '0.6'; expected base"),
        ("ndcg@10 < bsae - 0.01 at 95%", "did you mean 'base'"),
        ("ndcg@10 < base - 0.005", "does not say how sure one must be"),
        ("ndcg@10 < base - 1% at 95%", "1% is not a margin"),
        ("ndcg@10 < base - 5 at 95%", "the margin is '5'; expected a number from 0 to 1"),
        ("ndcg@10 < base - x at 95%", "the margin is 'x'"),
        ("ndcg@10 < base - 0.005 at 5%", "the confidence is '5'; expected more than 50%"),
        ("ndcg@10 < base - 0.005 at 100%", "the confidence is '100'"),
        ("ndcg@10 < base - 0.005 at 0.95", "is not a rule"),
    ],
)
def test_what_is_no_rule_is_told_with_an_example(text, message):
    with pytest.raises(RecipeError, match=message) as error:
        parse_gate("fail-if", text)
    assert str(error.value).endswith("e.g. --fail-if 'ndcg@10 < base - 0.005 at 95%'")


@pytest.mark.parametrize(
    ("kind", "rule", "failed"),
    [
        ("fail-if", "ndcg@10 < base - 0.005 at 95%", [False, True]),
        ("fail-if", "ndcg@10 < base - 0.5 at 95%", [False, False]),
        ("fail-unless", "ndcg@10 > base - 0.005 at 95%", [False, True]),
        ("fail-unless", "ndcg@10 > base - 0.5 at 95%", [False, False]),
        ("fail-unless", "ndcg@10 > base + 0.5 at 95%", [True, True]),
        ("fail-if", "main > base at 99%", [True, False]),
    ],
)
def test_each_candidate_is_judged(kind, rule, failed):
    found = judged(kind, rule, BASE, BETTER, WORSE)
    assert [j.candidate for j in found] == ["better", "worse"]
    assert [j.failed for j in found] == failed


def test_the_bound_is_the_one_sided_intervals():
    (found,) = judged("fail-if", "ndcg@10 < base - 0.005 at 95%", BASE, WORSE)
    finding = compare(BASE, [WORSE], how=HOW).candidates[0].whole
    assert found.bound == pytest.approx(finding.bootstrap.interval(0.9)[1])
    assert found.bound < -0.005
    assert found.on == "SciFact, 60 queries"


def test_too_few_queries_pass_one_gate_and_fail_the_other():
    few = [system(name, SciFact=ranking(queries(n=4, seed=seed))) for seed, name in enumerate("ab")]
    assert not judged("fail-if", "main < base - 0.005 at 95%", *few)[0].failed
    assert judged("fail-unless", "main > base - 0.005 at 95%", *few)[0].failed


def test_a_rule_about_a_task_a_group_or_all():
    def made(name: str, shift: float):
        parts = {f"STS22:{p}": similarity(1.0, seed=i, group="STS22") for i, p in enumerate(("en", "de"))}
        return system(name, SciFact=ranking(queries(shift)), **parts)

    sides = made("a", 0.0), made("b", -0.06)
    rule = "main < base - 0.01 at 95%"
    assert judged("fail-if", f"{rule} on SciFact", *sides)[0].failed
    group = judged("fail-if", f"{rule} on STS22", *sides)[0]
    assert not group.failed
    assert group.on == "mean over 2 tasks of STS22, 120 items"
    every = judged("fail-if", rule, *sides)[0]
    assert every.failed
    assert every.difference == pytest.approx(-0.03)
    assert every.on == "mean over 3 tasks, 180 queries and items"
    with pytest.raises(RecipeError, match="task 'SciFcat' is none of those compared; did you mean 'SciFact'"):
        judged("fail-if", f"{rule} on SciFcat", *sides)


def test_too_few_samples_for_a_rule_are_refused():
    with pytest.raises(
        RecipeError, match=r"600 samples are too few for --fail-if 'main < base at 99\.9%'; take at least 5,000"
    ):
        judged("fail-if", "main < base at 99.9%", BASE, WORSE)


def test_what_was_not_scored_does_not_pass():
    """A candidate whose worst task is missing must not pass because it is missing."""
    base = system("base", SciFact=ranking(queries()), NFCorpus=ranking(queries()))
    partial = system("partial", SciFact=ranking(queries(0.1)))
    rule = "ndcg@10 < base - 0.005 at 95%"
    with pytest.raises(
        DataError, match="NFCorpus: partial was not scored on it; what partial lacks must not let it pass"
    ):
        judged("fail-if", rule, base, partial)
    assert not judged("fail-if", f"{rule} on SciFact", base, partial)[0].failed
    assert not judged("fail-if", rule, base, partial, tasks=["SciFact"])[0].failed
    fewer = system("fewer", SciFact=ranking(dict(list(queries(0.1).items())[:50])))
    with pytest.raises(DataError, match="compared on 50 queries; 10 more of base"):
        judged("fail-if", rule, BASE, fewer)
