from pathlib import Path

from embedkit.models.stage import Backbone, Static
from embedkit.report.lineage import Lineage, Node
from embedkit.report.methods import methods


def told(*stages) -> list[str]:
    nodes = {
        str(i): Node(str(i), str(i), stage.kind, "model", stage.model_dump(mode="json"), {}, {}, {}, Path())
        for i, stage in enumerate(stages)
    }
    return [source for method in methods(Lineage(nodes)) for source in method.sources]


def test_parts_of_models_are_cited():
    assert told(Backbone(model="m")) == []
    backbone = Backbone.model_validate({"model": "m", "attention": "bidirectional", "pooling": "latent_attention"})
    assert told(backbone) == ["https://arxiv.org/abs/2404.05961", "https://arxiv.org/abs/2405.17428"]
    layerwise = Backbone.model_validate({"model": "m", "pooling": "layerwise"})
    assert told(layerwise) == ["https://arxiv.org/abs/2409.02727"]
    assert told(Static(model="m")) == ["https://github.com/MinishLab/model2vec"]
    assert told(Static.model_validate({"model": "m", "vectors": {"kind": "random"}})) == []
