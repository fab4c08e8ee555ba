"""The texts of a task, of whatever kind, as its evaluation sees them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from embedkit.core.dataset import Dataset, open_dataset
from embedkit.core.errors import DataError
from embedkit.core.stage import Artifact
from embedkit.evaluation.containment import contained
from embedkit.evaluation.contamination.held import Held
from embedkit.evaluation.tasks import AnyTask, LocalTask


def open_tasks(tasks: Mapping[str, AnyTask], inputs: Mapping[str, Artifact], work: Path) -> list[Held]:
    """The texts of tasks by name; a task of several subsets or splits is several, named as in scores.

    `inputs` maps the stages that tasks name to their artifacts, `work` is for copies of tables.
    """
    found: list[Held] = []
    for number, (name, task) in enumerate(tasks.items()):
        place = work / f"task-{number}"
        place.mkdir(parents=True, exist_ok=True)
        if isinstance(task, LocalTask):
            dataset = open_dataset(inputs[task.data].path, place)
            found.append(of_dataset(name, dataset, (task.split,)))
        else:
            with contained():
                found += _of_mteb(name, task.open(inputs, place))
    return found


def of_dataset(name: str, dataset: Dataset, splits: Sequence[str] = ("dev", "test")) -> Held:
    """The judged queries of these splits and the whole corpus; of all splits, where there are none of these.

    Raises `DataError` if the dataset has no judged queries.
    """
    qrels = {q: docs for split in splits for q, docs in dataset.qrels.get(split, {}).items()}
    if not qrels and len(splits) > 1:
        qrels = {q: docs for judged in dataset.qrels.values() for q, docs in judged.items()}
    if not qrels:
        raise DataError(f"{name}: has no judged queries of {' or '.join(splits)}; it has {sorted(dataset.qrels)}")
    kept = [row for row, query in enumerate(dataset.queries.ids) if query in qrels]
    queries, corpus = dataset.queries.take(kept), dataset.corpus
    return Held(name, list(queries.ids), list(queries.texts), corpus.ids, corpus.documents(), qrels)


def _of_mteb(name: str, task: Any) -> Iterator[Held]:
    """Part by part, from an open task of mteb."""
    task.load_data()
    several = len(task.hf_subsets) > 1, len(task.eval_splits) > 1
    for split in task.eval_splits:
        for subset in task.hf_subsets:
            data = task.dataset[subset][split] if subset in task.dataset else task.dataset[split]
            words = [str(subset)] * several[0] + [split] * several[1]
            yield _part(f"{name}:{'/'.join(words)}" if words else name, task, data)


def _part(name: str, task: Any, data: Any) -> Held:
    if isinstance(data, Mapping):
        from embedkit.evaluation.model import column, document_texts

        corpus, queries = data["corpus"], data["queries"]
        qrels = {q: {d: int(grade) for d, grade in docs.items()} for q, docs in data["relevant_docs"].items()}
        asked = list(column(queries, "id")), list(column(queries, "text"))
        return Held(name, *asked, column(corpus, "id"), document_texts(corpus), qrels)
    ids, texts = list[str](), list[str]()
    for column_name in _text_columns(task, data.column_names):
        for row, cell in enumerate(data[column_name]):
            found = [text for text in _flat(cell) if isinstance(text, str)]
            single = not isinstance(cell, list)
            ids += [str(row) if single else f"{row}/{place}" for place in range(len(found))]
            texts += found
    return Held(name, ids, texts)


def _text_columns(task: Any, known: Sequence[str]) -> list[str]:
    """The columns of a table whose texts are encoded."""
    names = [*getattr(task, "column_names", ())[:2]]
    names += [getattr(task, name, "") for name in ("input1_column_name", "input2_column_name", "input_column_name")]
    return [name for name in dict.fromkeys(names) if isinstance(name, str) and name in known]


def _flat(cell: Any) -> Iterator[Any]:
    if isinstance(cell, list):
        for inner in cell:
            yield from _flat(inner)
    else:
        yield cell
