"""What turns gradients into updates: each optimiser in the terms of the trainer's arguments."""

import importlib.util
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat

from embedkit.core.errors import StageError
from embedkit.core.spec import Spec

Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamW(Spec):
    """Adam with decoupled weight decay; `bits: 8` keeps its two moments in 8 bits each (`pip install bitsandbytes`).

    Reference: Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101; 8 bits: Dettmers et al., 2022,
    https://arxiv.org/abs/2110.02861.
    """

    kind: Literal["adamw"] = "adamw"
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    epsilon: PositiveFloat = 1e-8
    bits: Literal[32, 8] = 32

    def arguments(self) -> dict[str, Any]:
        """Arguments of the trainer. A `StageError` where a library is missing."""
        if self.bits == 8 and importlib.util.find_spec("bitsandbytes") is None:
            raise StageError("optimizer adamw: bits 8 needs `pip install bitsandbytes`; or set bits to 32")
        return {
            "optim": "adamw_torch_fused" if self.bits == 32 else "adamw_bnb_8bit",
            "adam_beta1": self.beta1,
            "adam_beta2": self.beta2,
            "adam_epsilon": self.epsilon,
        }


class Adafactor(Spec):
    """Adam's second moment by rows and columns only, and no first: next to no memory for the optimiser's state.

    With the learning rate of the recipe, not one of its own.

    Reference: Shazeer and Stern, 2018, https://arxiv.org/abs/1804.04235.
    """

    kind: Literal["adafactor"] = "adafactor"

    def arguments(self) -> dict[str, Any]:
        """Arguments of the trainer."""
        return {"optim": "adafactor"}


def _named(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


_Name = Literal["adamw", "adafactor"]
_OneOf = Annotated[AdamW | Adafactor, Field(discriminator="kind")]

AnyOptimizer = Annotated[_OneOf, BeforeValidator(_named, json_schema_input_type=_Name | _OneOf)]
"""An optimiser, or the name of one that is to have its defaults."""
