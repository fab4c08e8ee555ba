"""Losses a recipe can name. To add one: write its file, then add it to `AnyLoss`."""

from typing import Annotated

from pydantic import Field

from embedkit.losses.base import Loss
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import negatives
from embedkit.losses.cacr import CACR
from embedkit.losses.dcl import DCL, DCLW
from embedkit.losses.decoupled import DecoupledSoftmax
from embedkit.losses.guided import Guided
from embedkit.losses.infonce import InfoNCE
from embedkit.losses.lambda_loss import LambdaLoss
from embedkit.losses.mann_whitney import MannWhitney
from embedkit.losses.margin_mse import MarginMSE
from embedkit.losses.matryoshka import Matryoshka
from embedkit.losses.mixing import Mixing, MoCHi
from embedkit.losses.order import PRO, Pearson, RankKL
from embedkit.losses.parts import Guide, Taught
from embedkit.losses.progressive import Progressive
from embedkit.losses.ragged import Ragged
from embedkit.losses.soft_label import SoftLabelInfoNCE
from embedkit.losses.soft_top_k import SoftTopK
from embedkit.losses.star import STAR
from embedkit.losses.unpg import UNPG

AnyLoss = Annotated[
    InfoNCE
    | DecoupledSoftmax
    | SoftTopK
    | DCL
    | DCLW
    | SoftLabelInfoNCE
    | MannWhitney
    | STAR
    | LambdaLoss
    | MarginMSE
    | Pearson
    | RankKL
    | PRO
    | CACR
    | UNPG
    | Matryoshka
    | Mixing
    | MoCHi
    | Guided
    | Progressive,
    Field(discriminator="kind"),
]
for _wrapper in (Matryoshka, Mixing, MoCHi, Guided, Progressive):
    _wrapper.model_rebuild()  # they hold any loss, themselves included

__all__ = [
    "CACR",
    "DCL",
    "DCLW",
    "PRO",
    "STAR",
    "UNPG",
    "AnyLoss",
    "Batch",
    "DecoupledSoftmax",
    "Guide",
    "Guided",
    "InfoNCE",
    "LambdaLoss",
    "Loss",
    "MannWhitney",
    "MarginMSE",
    "Matryoshka",
    "Mixing",
    "MoCHi",
    "Pearson",
    "Progressive",
    "Ragged",
    "RankKL",
    "SoftLabelInfoNCE",
    "SoftTopK",
    "Taught",
    "negatives",
]
