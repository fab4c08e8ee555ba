"""However a training is optimised: one that is interrupted ends with the bytes of one that was not. Dropout is on."""

import shutil

import pytest

from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.training.adore import Adore
from embedkit.training.averaging import Average
from embedkit.training.lora import LoRA
from embedkit.training.optimizers import Adafactor, AdamW
from embedkit.training.schedules import WSD, Cosine
from tests.faults.test_training_resume import PowerCut, cut_at, resume
from tests.slow import mostly
from tests.training.runs import TRAIN, TRAIN_ST, run, scored_pairs

ADORE = Adore(
    model="model", pairs="pairs", seed=3, steps=6, batch_size=8, learning_rate=2e-3, top_k=6, checkpoint_every=3
)
STAGES = {"plain trainer": TRAIN_ST, "tower of queries": ADORE}
OPTIONS = {
    "adapters, averaged": {
        "lora": LoRA(dropout=0.1, rslora=True),
        "average": Average(decay=0.9),
        "schedule": Cosine(minimum=0.1),
        "layer_decay": 0.8,
    },
    "adapters apart, bf16": {
        "lora": LoRA(dropout=0.1, dora=True, merge=False),
        "precision": "bf16",
        "frozen_weights": "bf16",
        "schedule": WSD(decay=0.5),
    },
    "parts frozen in bf16": {"freeze": ("embeddings",), "precision": "bf16", "frozen_weights": "bf16"},
    "parts frozen, averaged late": {
        "freeze": ("embeddings",),
        "learning_rates": {"layer.0": 1e-4},
        "average": Average(decay=None, start=0.4, every=2),
        "optimizer": Adafactor(),
        "gradient_checkpointing": True,
    },
    "tower of queries": {"lora": LoRA(dropout=0.1), "average": Average(decay=0.9)},
    "plain trainer": {"lora": LoRA(), "average": Average(), "optimizer": AdamW(beta2=0.95)},
}


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("name", mostly(OPTIONS, slow={"adapters apart, bf16", "plain trainer"}))
def test_killed_and_run_again(name, tiny_model, pairs, tmp_path):
    stage = STAGES.get(name, TRAIN).model_copy(update={**OPTIONS[name], "steps": 6})
    whole = run(stage, tiny_model, pairs, tmp_path / "whole")
    moved = shutil.copytree(tiny_model, tmp_path / "moved")
    losses = [entry["loss"] for entry in read_stats(whole)["history"]]
    assert len(set(losses)) == 6
    for number, first in ((1, 4), (2, 7)):  # checkpoints of steps 3 and 6
        folder = tmp_path / f"after {number}"
        with pytest.raises(PowerCut):
            run(stage, tiny_model, pairs, folder, cut_at("checkpoint_saved", number))
        assert resume(stage, moved, pairs, folder) == (digests(whole), [*range(first, 7)])
