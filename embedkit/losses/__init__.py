"""Losses a recipe can name. To add one: write its file, then add it to `AnyLoss`."""

from typing import Annotated

from pydantic import Field

from embedkit.losses.base import Loss
from embedkit.losses.batch import Batch, Guide, Taught
from embedkit.losses.infonce import InfoNCE
from embedkit.losses.margin_mse import MarginMSE
from embedkit.losses.ragged import Ragged
from embedkit.losses.soft_label import SoftLabelInfoNCE

AnyLoss = Annotated[InfoNCE | SoftLabelInfoNCE | MarginMSE, Field(discriminator="kind")]

__all__ = ["AnyLoss", "Batch", "Guide", "InfoNCE", "Loss", "MarginMSE", "Ragged", "SoftLabelInfoNCE", "Taught"]
