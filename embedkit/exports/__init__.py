"""Exports: pairs as the files that trainers of others read.

from embedkit.exports import NTuple, export
export(Path("runs/quickstart/mined"), Path("train.parquet"), format=NTuple(negatives=4))
"""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import Field, TypeAdapter, ValidationError

from embedkit.core.errors import RecipeError, did_you_mean
from embedkit.exports.exporter import Exported, export, target_files
from embedkit.exports.flagembedding import FlagEmbedding
from embedkit.exports.format import Format
from embedkit.exports.tevatron import Tevatron
from embedkit.exports.trainer import LabeledList, LabeledPair, NTuple, Triplet

__all__ = [
    "FORMATS",
    "AnyFormat",
    "Exported",
    "FlagEmbedding",
    "Format",
    "LabeledList",
    "LabeledPair",
    "NTuple",
    "Tevatron",
    "Triplet",
    "export",
    "format_named",
    "target_files",
]

AnyFormat = Annotated[
    Triplet | NTuple | LabeledPair | LabeledList | FlagEmbedding | Tevatron, Field(discriminator="kind")
]
FORMATS: tuple[type[Format], ...] = get_args(get_args(AnyFormat)[0])
_ADAPTER: TypeAdapter[Format] = TypeAdapter(AnyFormat)


def format_named(kind: str, options: Mapping[str, Any]) -> Format:
    """The format of this kind with these fields. Raises `RecipeError`, a line each, if there is none or it has no
    such field."""
    kinds = [str(one.model_fields["kind"].default) for one in FORMATS]
    if kind not in kinds:
        raise RecipeError(f"format {kind!r}: there is none of that name{did_you_mean(kind, kinds)}; one of {kinds}")
    try:
        return _ADAPTER.validate_python({"kind": kind, **options})
    except ValidationError as error:
        raise RecipeError(*(_line(kind, problem) for problem in error.errors())) from None


def _line(kind: str, problem: Mapping[str, Any]) -> str:
    name = ".".join(map(str, problem["loc"][1:]))
    if problem["type"] == "extra_forbidden":
        return f"format {kind}: has no option {name!r}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"format {kind}: {name}: {message}" if name else f"format {kind}: {message}"
