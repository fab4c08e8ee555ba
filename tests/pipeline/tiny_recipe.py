"""The quickstart in miniature: every stage, a random tiny model, sixty documents, a few steps."""

from pathlib import Path

import yaml

TRAIN = {"steps": 6, "batch_size": 8, "learning_rate": 1e-3, "checkpoint_every": 2}


def write_tiny_recipe(path: Path, *, model: Path, data: Path) -> Path:
    """Write the recipe to `path`; `model` is a sentence-transformers folder, `data` a BEIR folder."""
    four = ["query_to_document", "query_to_query", "document_to_query", "document_to_document"]
    stages = {
        "base": {"kind": "pretrained", "source": {"kind": "folder", "path": str(model)}, "max_length": 16},
        "toy": {"kind": "data", "source": {"kind": "beir", "path": str(data)}},
        "text": {"kind": "weak", "data": "toy", "seed": 1, "pairs": [{"kind": "title_body"}, {"kind": "crops"}]},
        "warm": {"kind": "train", "model": "base", "pairs": "text", "seed": 1, "loss": {"kind": "infonce"}, **TRAIN},
        "mined": {
            "kind": "mine",
            "data": "toy",
            "model": "warm",
            "negatives": 3,
            "top_k": 20,
            "index": {"kind": "faiss"},
            "filters": [{"kind": "percent_of_positive", "ratio": 1.0}, {"kind": "rank_window", "last": 15}],
        },
        "first": {
            "kind": "train",
            "model": "warm",
            "pairs": "mined",
            "seed": 1,
            "negatives": 1,
            "loss": {"kind": "infonce", "directions": four},
            **TRAIN,
        },
        "taught": {
            "kind": "teach",
            "pairs": "mined",
            "data": "toy",
            "student": "warm",
            "teachers": [{"kind": "bm25"}, {"kind": "encoder", "model": "first"}],
            "if_not_better": "warn",
        },
        "second": {
            "kind": "train",
            "model": "warm",
            "pairs": "taught",
            "seed": 2,
            "negatives": 2,
            "loss": {"kind": "soft_label_infonce"},
            **TRAIN,
        },
        "plain": {
            "kind": "train_st",
            "model": "base",
            "pairs": "toy",
            "seed": 1,
            "loss": {"name": "MultipleNegativesRankingLoss"},
            **TRAIN,
        },
        "uniform": {"kind": "soup", "models": ["first", "second"], "method": {"kind": "uniform"}},
        "soup": {"kind": "soup", "models": ["first", "second"], "method": {"kind": "greedy", "data": "toy"}},
        "scores": {
            "kind": "evaluate",
            "models": ["base", "warm", "first", "second", "plain", "uniform", "soup"],
            "tasks": {"toy": {"data": "toy"}},
        },
        "model": {"kind": "package", "model": "soup", "scores": "scores", "baseline": "base", "name": "toy"},
        "report": {
            "kind": "report",
            "scores": "scores",
            "baseline": "base",
            "candidate": "soup",
            "peers": ["plain"],
        },
    }
    path.write_text(yaml.safe_dump({"name": "tiny", "stages": stages}, sort_keys=False), encoding="utf-8")
    return path
