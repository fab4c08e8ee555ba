"""Losses a recipe can name. To add one: write its file, then add it to `AnyLoss`."""

from typing import Annotated

from pydantic import Field

from embedkit.losses.base import Loss
from embedkit.losses.batch import Batch, Guide, Taught
from embedkit.losses.dcl import DCL, DCLW
from embedkit.losses.decoupled import DecoupledSoftmax
from embedkit.losses.infonce import InfoNCE
from embedkit.losses.margin_mse import MarginMSE
from embedkit.losses.ragged import Ragged
from embedkit.losses.soft_label import SoftLabelInfoNCE
from embedkit.losses.soft_top_k import SoftTopK

AnyLoss = Annotated[
    InfoNCE | DecoupledSoftmax | SoftTopK | DCL | DCLW | SoftLabelInfoNCE | MarginMSE, Field(discriminator="kind")
]

__all__ = [
    "DCL",
    "DCLW",
    "AnyLoss",
    "Batch",
    "DecoupledSoftmax",
    "Guide",
    "InfoNCE",
    "Loss",
    "MarginMSE",
    "Ragged",
    "SoftLabelInfoNCE",
    "SoftTopK",
    "Taught",
]
