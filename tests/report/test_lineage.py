from embedkit.report.lineage import walk


def test_everything_behind_the_scores_is_found_each_after_its_inputs(run, lineage):
    assert set(lineage.nodes) == {artifact.key for artifact in run.artifacts.values()}
    seen = set()
    for node in lineage:
        assert set(node.inputs.values()) <= seen
        seen.add(node.key)


def test_the_order_does_not_depend_on_the_order_of_the_roots(run):
    roots = [run.artifacts[name].key for name in ("scores", "base", "soup")]
    orders = [list(walk(some, run.store.get, run.labels).nodes) for some in (roots, roots[::-1])]
    assert orders[0] == orders[1]


def test_parts_have_no_name_and_are_told_apart_from_stages(lineage):
    parts = [node for node in lineage if not node.name]
    assert {node.kind for node in parts} == {"evaluate_one"}
    assert len(parts) == 8
    assert all(node.label.startswith("evaluate_one ") for node in parts)


def test_the_lineage_of_one_model_leaves_out_what_it_does_not_come_from(run, lineage):
    names = {node.name for node in lineage.behind(run.artifacts["first"].key)}
    assert names == {"base", "tldr", "text", "warm", "mined", "first"}


def test_keys_in_a_summary_are_shown_as_names(run, lineage):
    taught = lineage.nodes[run.artifacts["taught"].key]
    assert "encoder first 0.639" in lineage.summary(taught)[0]
    assert run.artifacts["first"].key[:8] in taught.stats["summary"][0]


def test_a_warning_is_not_said_twice(run, lineage):
    tldr = lineage.nodes[run.artifacts["tldr"].key]
    assert lineage.warnings(tldr) == ["1 bad rows were dropped; see rejects.jsonl"]
    assert len(lineage.summary(tldr)) == len(tldr.stats["summary"]) - 1


def test_an_unknown_key_is_called_by_its_beginning(lineage):
    assert lineage.label("f" * 64) == "f" * 12
