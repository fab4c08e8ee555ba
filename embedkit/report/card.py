"""The model card: front matter the Hugging Face hub reads, and a README for people."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from huggingface_hub import EvalResult, ModelCardData

from embedkit._version import __version__
from embedkit.core.scores import TaskScores
from embedkit.report.comparison import Bootstrap, Comparison, Evidence, compare
from embedkit.report.lineage import SHORT, Lineage
from embedkit.report.methods import Method, methods
from embedkit.report.release import needs_embedkit
from embedkit.report.sections import contamination, data
from embedkit.report.tables import metric_name
from embedkit.report.templating import template

if TYPE_CHECKING:
    from embedkit.report.backends.parity import Parity

_OTHER_TYPE: Final = ("feature-extraction", "Feature Extraction")
_TASK_TYPES: Final = {  # mteb's kinds of tasks as the hub names them
    "Retrieval": ("information-retrieval", "Information Retrieval"),
    "Reranking": ("text-ranking", "Text Ranking"),
    "STS": ("sentence-similarity", "Sentence Similarity"),
    "Classification": ("text-classification", "Text Classification"),
    "MultilabelClassification": ("text-classification", "Text Classification"),
    "PairClassification": ("text-classification", "Text Classification"),
}
_TAGS: Final = ("sentence-transformers", "sentence-similarity", "feature-extraction", "embedkit")


@dataclass(frozen=True)
class Identity:
    """What its maker says of a model."""

    name: str
    license: str | None = None
    languages: Sequence[str] = ("en",)
    tags: Sequence[str] = ()
    base_model: str | None = None


@dataclass(frozen=True)
class Result:
    """The model's score on one metric of one task, and its difference from the baseline."""

    task: str
    metric: str
    value: float
    scores: TaskScores  # of the task
    against_baseline: Comparison | None


@dataclass(frozen=True)
class Card:
    """Everything a model card says."""

    about: Identity
    lineage: Lineage  # of the model alone
    model: str  # key
    results: Sequence[Result]
    baseline: str | None  # what the baseline is called
    how: Bootstrap
    data: Sequence[data.Card]
    methods: Sequence[Method]
    shared: Sequence[contamination.Card] = ()  # by its training pairs with tasks
    parities: Sequence["Parity"] = ()  # of its files for other runtimes

    def searches(self) -> bool:
        """Whether all tasks rank a whole corpus."""
        return all(result.scores.type == "Retrieval" for result in self.results)

    def warnings(self) -> list[str]:
        """What the card lacks."""
        lacks = []
        if not self.about.license:
            lacks.append("the model card names no license; set `license` of the package stage")
        if not self.results:
            lacks.append("the model card has no scores: the model was not evaluated; add it to the evaluate stage")
        elif self.baseline and not any(result.against_baseline for result in self.results):
            lacks.append(f"the model card compares with nothing: {self.baseline} was not evaluated")
        return [*lacks, *self._contamination_warnings()]

    def _contamination_warnings(self) -> Iterator[str]:
        """Of comparisons with what the model was not trained on, and of what they found in its scores' tasks."""
        for found in self.shared:
            if not found.of_the_model:
                yield f"{found.name} compares {found.train}, which the model was not trained on, with the tasks"
            for task in (task for task in found.tasks if task.seen and any(r.task == task.name for r in self.results)):
                yield f"training has seen {task.seen:,} of {task.queries:,} queries of {task.name}, which is scored"


def describe(
    about: Identity,
    lineage: Lineage,
    evidence: Evidence,
    *,
    model: str,
    baseline: str | None,
    how: Bootstrap,
    compared: Sequence[str] = (),
) -> Card:
    """Gather what the card says of `model`. It has no scores if it was not evaluated. `compared` are the keys of
    comparisons of its training pairs with tasks."""
    own = lineage.behind(model)
    if about.base_model is None:
        about = Identity(about.name, about.license, about.languages, about.tags, base_model(own))
    results = [
        Result(task, metric, value, one, _against(evidence, model, baseline, task, metric, how))
        for (key, task), one in evidence.scores.items()
        if key == model
        for metric in (m for m in evidence.metrics(task) if m in one.metrics)
        if (value := evidence.value(model, task, metric)) is not None
    ]
    name = lineage.label(baseline) if baseline and baseline != model else None
    shared = [contamination.card(lineage.nodes[key], lineage, own) for key in compared]
    return Card(about, own, model, results, name, how, data.section(own) or [], methods(own), shared)


def base_model(lineage: Lineage) -> str | None:
    """The hub id of the one model this one started from, if the lineage tells."""
    sources = [node.spec.get("source", {}) for node in lineage.of_kind("pretrained")]
    found = {str(source["name"]) for source in sources if source.get("kind") == "hub" and "name" in source}
    return found.pop() if len(found) == 1 else None


def write_card(folder: Path, card: Card) -> None:
    """Write README.md for the model in `folder`."""
    path = folder / "config_sentence_transformers.json"  # a model without prompts may do without it
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    prompts = {name: text for name, text in (config.get("prompts") or {}).items() if text}
    text = template("README.md.j2").render(
        card=card,
        front_matter=front_matter(card),
        prompts=json.dumps(prompts, ensure_ascii=False, indent=1) if prompts else "",
        similarity=config.get("similarity_fn_name") or "cosine",
        needs_embedkit=needs_embedkit(folder),
        short=SHORT,
        version=__version__,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def front_matter(card: Card) -> str:
    """The card's metadata as YAML, in the form the hub checks."""
    about = card.about
    results = [
        EvalResult(
            task_type=_TASK_TYPES.get(result.scores.type, _OTHER_TYPE)[0],
            task_name=_TASK_TYPES.get(result.scores.type, _OTHER_TYPE)[1],
            dataset_type="custom",
            dataset_name=result.task,
            metric_type=result.metric.replace("@", "_at_"),
            metric_name=metric_name(result.metric),
            metric_value=round(result.value, 5),
        )
        for result in card.results
    ]
    data = ModelCardData(
        language=list(about.languages) or None,
        license=about.license,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=list(dict.fromkeys([*_TAGS, *about.tags])),
        base_model=about.base_model,
        model_name=about.name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


def _against(
    evidence: Evidence, model: str, baseline: str | None, task: str, metric: str, how: Bootstrap
) -> Comparison | None:
    if baseline is None or baseline == model:
        return None
    return compare(evidence, model, baseline, task=task, metric=metric, how=how)
