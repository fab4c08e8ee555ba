"""ONNX and OpenVINO files of a model, where sentence-transformers, text-embeddings-inference and others look."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

import torch
from torch.export import Dim

from embedkit.core.errors import ModelError
from embedkit.report.backends.pipeline import Pipeline
from embedkit.retrieval.loading import in_one_line

ONNX: Final = Path("onnx", "model.onnx")
OPENVINO: Final = Path("openvino", "openvino_model.xml")
_LARGE: Final = 1_500_000_000  # bytes of weights; a file of protocol buffers ends at 2 GiB


def write_onnx(pipeline: Pipeline, path: Path) -> None:
    """The transformer with any number of texts of any length: input names as the tokenizer's, last_hidden_state out.

    Weights that are too large for one file lie beside it. Raises `ModelError` if the model cannot be exported.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    inputs = pipeline.inputs(pipeline.features(["a text", "another text, which is longer than the first"]))
    rows, tokens = Dim("batch", min=1, max=2**20), Dim("sequence", min=2, max=max(2, pipeline.limit))
    size = sum(weights.numel() * 4 for weights in pipeline.hidden.parameters())
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                pipeline.hidden,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=["last_hidden_state"],
                dynamic_shapes={"tensors": tuple({0: rows, 1: tokens} for _ in inputs)},
                dynamo=True,
                verbose=False,
            )
            assert program is not None  # as it is where no file is named
            _forget_origins(program)
            program.save(path, external_data=size > _LARGE)
    except Exception as error:  # of torch.export, of the exporter and of the model's own code
        raise ModelError(
            f"{type(pipeline.hidden.transformer).__name__}: cannot be exported to ONNX ({in_one_line(error)}); leave "
            "out `backends`"
        ) from error


def write_openvino(onnx: Path, path: Path) -> None:
    """The same from the ONNX file, weights in float32."""
    import openvino

    path.parent.mkdir(parents=True, exist_ok=True)
    model = openvino.convert_model(onnx)
    for number, operation in enumerate(model.get_ordered_ops()):  # else numbered by how many this process has made
        operation.set_friendly_name(f"{operation.get_type_name()}_{number}")
    openvino.save_model(model, path, compress_to_fp16=False)


def _forget_origins(program: Any) -> None:
    """Drop the exporter's notes on which line of which file of this machine each operation comes from."""
    from onnx_ir.traversal import RecursiveGraphIterator

    for node in RecursiveGraphIterator(program.model.graph):
        node.metadata_props.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and what else it could have used."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
