from pathlib import Path

from embedkit.report.lineage import Lineage, Node
from embedkit.report.methods import methods
from embedkit.report.sections.training import section


def node(**stats) -> Node:
    spec = {
        "loss": {"kind": "infonce"},
        "sources": [{"pairs": {"key": "p"}, "loss": {"kind": "margin_mse"}, "share": 0.5}],
    }
    return Node("k", "warm", "train", "model", spec, {}, {}, stats, Path())


def test_each_source_has_a_curve_and_its_loss_a_mention():
    losses = [(1, 0, 3.0), (2, 1, 0.5), (3, 0, 2.0), (4, 1, 0.25)]
    history = [{"step": step, "source": source, "loss": loss} for step, source, loss in losses]
    lineage = Lineage({"k": node(history=history)})
    assert [(course.name, course.loss, course.caption) for course in section(lineage)] == [
        ("warm", "infonce", "loss 3.000 at step 1, 2.000 at step 3"),
        ("warm, source 1", "margin_mse", "loss 0.500 at step 2, 0.250 at step 4"),
    ]
    assert [method.what.split(":")[0] for method in methods(lineage)] == ["InfoNCE", "MarginMSE"]


def test_scores_on_held_out_queries_stand_beside_the_loss():
    values = [(0, 0.5), (10, 0.625), (20, 0.25)]
    evaluation = {
        "metric": "ndcg@10",
        "split": "dev",
        "scores": [{"step": step, "value": value} for step, value in values],
        "best": {"step": 10, "value": 0.625},
        "kept": 10,
    }
    history = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}]
    loss, scores = section(Lineage({"k": node(history=history, evaluation=evaluation)}))
    assert (loss.name, scores.name, scores.loss) == ("warm", "warm, dev", "ndcg@10")
    assert scores.caption == "0.5000 before training, 0.6250 at step 10, which was kept; 0.2500 at step 20"
    assert f"ndcg@10 of warm on dev: {scores.caption}" in scores.figure


def test_rounds_are_one_curve():
    spec = {"loss": {"kind": "infonce"}, "part": {"number": 2, "of": 2}, "batches": {"kind": "clusters"}}
    history = [{"step": step, "loss": 1.0 / step} for step in range(1, 9)]
    first = Node("a", "tuned/1", "train", "model", spec, {}, {}, {"history": history[:4], "rounds": [1]}, Path())
    stats = {"history": history, "rounds": [1, 5]}
    last = Node("b", "tuned", "train", "model", spec, {"part.after": "a"}, {}, stats, Path())
    lineage = Lineage({"a": first, "b": last})
    (course,) = section(lineage)
    assert (course.name, course.caption) == (
        "tuned",
        "loss 1.000 at step 1, 0.125 at step 8; 2 rounds, from steps 1 and 5",
    )
    assert [method.what for method in methods(lineage)][1:] == [
        "Topic-aware sampling: batches of queries of one topic",
        "Negatives mined anew by the model in training (ANCE)",
    ]
