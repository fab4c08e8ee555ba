"""Whether a model's files for another runtime give the vectors that PyTorch gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from embedkit.core.errors import StageError
from embedkit.report.backends import Runtime
from embedkit.report.backends.files import ONNX, OPENVINO, write_onnx, write_openvino
from embedkit.report.backends.pipeline import Pipeline

LIMIT: Final = 1e-4  # distance of two vectors of unit length that is still rounding: a cosine of 1 - 5e-9
_BATCH: Final = 8
_TEXTS: Final = (
    "a",
    "How do I list the files of a folder by size?",
    "The mitochondrion is the powerhouse of the cell. " * 12,
    "Größe, élève, naïve, Ελληνικά, русский, 中文, العربية, 日本語 \N{GRINNING FACE}",
    "x = [i ** 2 for i in range(10)]  # code\n\tand white space",
    "word " * 2000,  # longer than any limit: cut
)

Run = Callable[[Mapping[str, NDArray[np.int64]]], NDArray[np.float32]]


@dataclass(frozen=True)
class Parity:
    """How far the vectors of two runtimes are apart."""

    runtime: Runtime
    file: str  # below the model's folder
    texts: int
    largest_difference: float  # Euclidean, of vectors of unit length

    def as_json(self) -> dict[str, Any]:
        """For stats.json."""
        return vars(self).copy()


def export(folder: Path, runtimes: Sequence[Runtime], texts: Sequence[str] = ()) -> list[Parity]:
    """Write the files of these runtimes into a model folder, and compare them on `texts` and on some that are hard.

    Raises `ModelError` if the model has no such form, `StageError` if a runtime's vectors differ by more than rounding.
    """
    pipeline = Pipeline.open(folder)
    with TemporaryDirectory(dir=folder, prefix=".onnx-") as passing:
        onnx = folder / ONNX if "onnx" in runtimes else Path(passing, ONNX.name)
        write_onnx(pipeline, onnx)
        files = {"onnx": ONNX, "openvino": OPENVINO}
        if "openvino" in runtimes:
            write_openvino(onnx, folder / OPENVINO)
        shown = [*_TEXTS, *texts]
        found = [
            Parity(runtime, files[runtime].as_posix(), len(shown), _difference(pipeline, run(folder), shown))
            for runtime, run in _RUNS.items()
            if runtime in runtimes
        ]
    for parity in found:
        if not parity.largest_difference <= LIMIT:
            raise StageError(
                f"{parity.file}: its vectors differ from PyTorch's by up to {parity.largest_difference:.2g}, more than "
                f"rounding ({LIMIT:g}); leave {parity.runtime} out of `backends`"
            )
    return found


def _difference(pipeline: Pipeline, run: Run, texts: Sequence[str]) -> float:
    """The largest distance of a text's vectors; batches hold short and long texts together, so that padding counts."""
    largest = 0.0
    for start in range(0, len(texts), _BATCH):
        features = pipeline.features(texts[start : start + _BATCH])
        inputs = {name: value.numpy() for name, value in pipeline.inputs(features).items()}
        theirs = pipeline.vectors(features, torch.from_numpy(np.array(run(inputs))))
        distances = (theirs - pipeline.vectors(features)).norm(dim=-1)
        largest = max(largest, float(distances.nan_to_num(torch.inf).max()))
    return largest


def _onnx(folder: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / ONNX, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, dict(inputs))[0]


def _openvino(folder: Path) -> Run:
    import openvino

    compiled = openvino.Core().compile_model(folder / OPENVINO, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: compiled(dict(inputs))[0]


_RUNS: Final[dict[Runtime, Callable[[Path], Run]]] = {"onnx": _onnx, "openvino": _openvino}
