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
