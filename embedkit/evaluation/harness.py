"""mteb's own retrieval task on a dataset of ours, with vectors from the embedding store.

The only file that imports mteb; import it, and call it, within `contained`.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import datasets
import mteb
import numpy as np
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta
from mteb.types import PromptType
from numpy.typing import NDArray
from sentence_transformers.util import cos_sim, dot_score
from torch import Tensor

from embedkit.core.errors import StageError
from embedkit.core.records import Dataset
from embedkit.measures.ranking import Run
from embedkit.retrieval.encoder import StoredEncoder

TASK_NAME: Final = "LocalRetrieval"
TOLERANCE: Final = 1e-4  # mteb rounds to five digits


class DatasetTask(AbsTaskRetrieval):
    """mteb's retrieval task over one split of a dataset. `revision` says which dataset it is."""

    def __init__(self, dataset: Dataset, split: str, revision: str) -> None:
        self.metadata = TaskMetadata(
            name=TASK_NAME,
            description="Judged queries of a local dataset, searched in its whole corpus.",
            type="Retrieval",
            main_score="ndcg_at_10",
            eval_langs=["eng-Latn"],  # mteb demands one; nothing here depends on it
            eval_splits=[split],
            dataset={"path": "local/dataset", "revision": revision},
        )
        super().__init__()
        qrels, corpus = dataset.qrels[split], dataset.corpus
        judged = [(q, text) for q, text in zip(dataset.queries.ids, dataset.queries.texts, strict=True) if q in qrels]
        self.dataset = {
            "default": {
                split: {
                    "corpus": _table(id=corpus.ids, title=corpus.titles, text=corpus.texts),
                    "queries": _table(id=[q for q, _ in judged], text=[text for _, text in judged]),
                    "relevant_docs": {query: dict(docs) for query, docs in qrels.items()},
                    "top_ranked": None,
                }
            }
        }
        self.data_loaded = True

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Nothing to do: the data came with the constructor."""


class StoreEncoder:
    """An mteb encoder whose vectors come from the embedding store, named by what the vectors depend on.

    mteb names a local model after the base model in its card, so that a result cache gives one fine-tuned model the
    scores of another; here name and revision are the identity of weights, modules and tokenizer. All documents are
    asked for at once, as mining does, so that both share their shards.
    """

    def __init__(self, encoder: StoredEncoder, documents: Sequence[str]) -> None:
        self._encoder = encoder
        self._rows = {text: row for row, text in enumerate(documents)}
        self._documents = encoder.documents(documents)
        self._similarity = cos_sim if encoder.similarity == "cosine" else dot_score
        identity = encoder.identity
        self.mteb_model_meta = ModelMeta.create_empty({"name": f"embedkit/{identity[:16]}", "revision": identity})

    def encode(self, inputs: Any, *, prompt_type: PromptType | None = None, **kwargs: Any) -> NDArray[np.float32]:
        """Vectors of a data loader's texts, (n, D); kwargs are mteb's description of the task and its batch size."""
        texts = [text for batch in inputs for text in batch["text"]]
        if prompt_type == PromptType.query:
            return self._encoder.queries(texts)
        rows = [self._rows[text] for text in texts]  # a KeyError: mteb joins title and text in another way than we do
        return self._documents[rows]

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Scores of every row of the one with every row of the other, by the model's own similarity."""
        return self._similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Not used by retrieval."""
        raise NotImplementedError("retrieval tasks compare all pairs")


def evaluate(encoder: StoreEncoder, task: DatasetTask, folder: Path) -> tuple[dict[str, float | None], Run]:
    """mteb's scores, and the run they were computed from. `folder` is mteb's to write predictions into."""
    shutil.rmtree(folder, ignore_errors=True)  # mteb would add to what an interrupted run left
    split = task.metadata.eval_splits[0]
    result = mteb.evaluate(
        encoder, task, cache=None, co2_tracker=False, prediction_folder=folder, show_progress_bar=False
    )
    scores = {
        name: None if math.isnan(value) else float(value)
        for name, value in result.task_results[0].scores[split][0].items()
        if isinstance(value, int | float)
    }
    predictions = json.loads((folder / f"{TASK_NAME}_predictions.json").read_text(encoding="utf-8"))
    return scores, predictions["default"][split]


def check_agreement(metrics: Mapping[str, float], scores: Mapping[str, float | None]) -> None:
    """Raise a `StageError` unless our means are mteb's, for every metric both have."""
    for metric, value in metrics.items():
        theirs = scores.get(metric.replace("@", "_at_"))
        if theirs is not None and not abs(value - theirs) < TOLERANCE:
            raise StageError(
                f"evaluation: {metric} is {value:.6f} from per-query scores but {theirs:.6f} by mteb; "
                "they must agree, so neither is reported. Please report this as a bug."
            )


def _table(**columns: Sequence[str]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({name: list(values) for name, values in columns.items()})
