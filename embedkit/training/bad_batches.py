"""A batch whose loss or gradient is not finite, in a file for people to read."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from torch import nn

from embedkit.core.store import write_atomically
from embedkit.training.distributed import rank
from embedkit.training.numbers import Numbers
from embedkit.training.texts import TextBatch

NAN_BATCH: Final = "nan-batch.json"
_NAMED: Final = 20  # parameters


def write_bad_batch(work: Path, numbers: Numbers, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Path, list[str]]:
    """Write what is known of a step: its numbers, its texts, and whose gradients are bad. The file, and those names.

    The path names the process, where it is not the first.
    """
    path = work / (NAN_BATCH if rank() == 0 else NAN_BATCH.replace(".", f"-{rank()}."))
    bad = {id(parameter) for parameter in numbers.bad}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in bad]
    facts = {
        "step": numbers.step,
        "loss": _told(numbers.own_loss),
        "grad_norm": _told(numbers.grad_norm),
        "learning_rate": numbers.learning_rate,
        "bad_gradients": {"parameters": len(numbers.bad), "first": names[:_NAMED]},
    }
    write_atomically(path, json.dumps({**facts, **batch}, indent=1, ensure_ascii=False))
    return path, names


def readable(batch: TextBatch) -> dict[str, Any]:
    """The texts of a batch: each query with the numbers of its positives and negatives among the documents."""
    structure: Mapping[str, Any] = batch.structure
    lists = {
        name: _lists(structure[f"{name}_offsets"].tolist(), structure[f"{name}_columns"].tolist())
        for name in ("positive", "negative")
    }
    names = batch.ids.get("query_ids", [None] * len(batch.queries))
    rows = zip(names, batch.queries, lists["positive"], lists["negative"], strict=True)
    return {
        "source": int(structure["source"]) if "source" in structure else 0,
        "queries": [dict(zip(("id", "text", "positives", "negatives"), row, strict=True)) for row in rows],
        "documents": {str(number): text for number, text in enumerate(batch.documents)},
    }


def _lists(offsets: Sequence[int], values: Sequence[int]) -> list[list[int]]:
    return [list(values[start:end]) for start, end in pairwise(offsets)]


def _told(number: float | None) -> str | float | None:
    """JSON has no NaN."""
    return number if number is None or abs(number) < float("inf") else str(number)
