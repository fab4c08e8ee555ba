"""What losses around another loss share."""

from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from torch import Tensor

from embedkit.losses.base import Loss, Need
from embedkit.losses.batch import Batch
from embedkit.losses.infonce import InfoNCE
from embedkit.losses.ragged import Ragged

if TYPE_CHECKING:
    from embedkit.losses import AnyLoss


class _OrCustom:
    """Marks a field that takes a `Loss` which no recipe can name as it is, from Python."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        named = handler(source)

        def accept(value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
            return value if isinstance(value, Loss) else validate(value)

        either = core_schema.no_info_wrap_validator_function(accept, named)
        as_it_is = core_schema.simple_ser_schema("any")
        return core_schema.json_or_python_schema(json_schema=named, python_schema=either, serialization=as_it_is)


class Wrapper(Loss):
    """A loss that gives another a changed batch. `losses/__init__.py` says what `AnyLoss` is."""

    loss: Annotated["AnyLoss", _OrCustom()] = InfoNCE()

    @property
    def needs(self) -> frozenset[Need]:
        """See `Loss`."""
        return self.loss.needs

    @property
    def contrasts(self) -> bool:
        """See `Loss`."""
        return self.loss.contrasts

    def next_level(self, level: Tensor | None, batch: Batch) -> Tensor | None:
        """See `Loss`."""
        return self.loss.next_level(level, batch)


def lowest(lists: Ragged) -> Tensor:
    """(rows,) the lowest value of each list, ∞ of an empty one."""
    most = torch.full_like(lists.offsets[1:], torch.inf, dtype=lists.values.dtype)
    return most.scatter_reduce(0, lists.rows, lists.values, "amin")
