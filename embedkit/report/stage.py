"""The `report` and `package` stages: what a run came to, for people, and the model it came to, for use."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt

from embedkit.core.errors import Problem
from embedkit.core.estimate import Estimate, Size
from embedkit.core.scores import read_texts
from embedkit.core.spec import ContaminationRef, ModelRef, Reference, ScoresRef
from embedkit.core.stage import Artifact, Context, Stage, require_lookup
from embedkit.core.stats import write_stats
from embedkit.report.backends import Runtime, check_installed
from embedkit.report.lineage import walk

if TYPE_CHECKING:
    from embedkit.report.backends.parity import Parity

COMPARED: Final = 64  # evaluated texts that further runtimes must embed as PyTorch does
CompressionRef = Annotated[str, Reference(("compression",))]
Metric = Annotated[str, Field(pattern=r"^[a-z_]+(@[1-9][0-9]*)?$")]
Confidence = Annotated[float, Field(gt=0.5, lt=1)]


class Report(Stage):
    """One HTML page: the candidate against the baseline and against other ways to train, and how it came about."""

    kind: Literal["report"] = "report"
    produces: ClassVar[str] = "report"
    labelled: ClassVar[bool] = True

    scores: ScoresRef
    baseline: ModelRef
    candidate: ModelRef
    peers: tuple[ModelRef, ...] = ()  # the candidate's margin is over the best of them
    compressions: tuple[CompressionRef, ...] = ()  # `compress` stages to show
    title: str = "What the run came to"
    metric: Metric | None = None  # decides where a task has it; by default each task's own main metric
    confidence: Confidence = 0.95
    samples: PositiveInt = 10_000
    seed: NonNegativeInt = 0

    def conflicts(self, stages: Mapping[str, Stage]) -> Iterator[Problem]:
        """A model that the report compares but `scores` does not have."""
        scored = getattr(stages.get(self.scores), "models", None)
        compared = [("baseline", self.baseline), ("candidate", self.candidate)]
        for where, model in (*compared, *((f"peers.{i}", peer) for i, peer in enumerate(self.peers))):
            if scored is not None and model not in scored:
                yield Problem(
                    tuple(where.split(".")), f"{model!r} is not among the models of {self.scores!r}: {list(scored)}"
                )

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write index.html, report.json with the same numbers, and stats.json."""
        from embedkit.report.comparison import Bootstrap, Evidence
        from embedkit.report.contents import as_json, gather
        from embedkit.report.page import render
        from embedkit.report.scoreboard import Question

        named = [inputs[name] for name in (self.scores, self.baseline, self.candidate, *self.peers)]
        roots = [artifact.key for artifact in (*named, *(inputs[name] for name in self.compressions))]
        lineage = walk(roots, require_lookup(context), context.labels)
        scores, baseline, candidate, *peers = (artifact.key for artifact in named)
        evidence = Evidence.read(lineage.nodes[scores].path)
        question = Question(baseline, candidate, peers, self.metric)
        how = Bootstrap(self.samples, self.confidence, self.seed)
        contents = gather(self.title, lineage, evidence, question, how)
        (out / "index.html").write_text(render(contents), encoding="utf-8")
        (out / "report.json").write_text(as_json(contents), encoding="utf-8")
        tasks, stages = len(contents.verdicts), len(lineage.stages())
        write_stats(out, {"summary": contents.summary(), "counts": {"tasks": tasks, "stages": stages}, "warnings": []})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Resampling and drawing: seconds, whatever the models."""
        return Estimate(memory=200 * 1024**2, overhead=8.0)


class Package(Stage):
    """The released model: the model's own files and a model card with its scores, its data and where it came from."""

    kind: Literal["package"] = "package"
    produces: ClassVar[str] = "model"
    labelled: ClassVar[bool] = True

    model: ModelRef
    scores: ScoresRef
    baseline: ModelRef | None = None  # scores are given with their difference from this model
    contamination: tuple[ContaminationRef, ...] = ()  # of the training pairs with the tasks; for the model card
    name: Annotated[str, Field(min_length=1)] = "A text-embedding model"
    license: str | None = None  # an SPDX identifier in lower case, as the hub knows it
    languages: tuple[str, ...] = ("en",)  # ISO 639-1
    tags: tuple[str, ...] = ()
    base_model: str | None = None  # hub id, where the lineage does not tell it
    backends: tuple[Runtime, ...] = ()  # further runtimes to write files for, each compared with PyTorch
    confidence: Confidence = 0.95
    samples: PositiveInt = 10_000
    seed: NonNegativeInt = 0

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Give `out` the model's files, write README.md and stats.json."""
        from embedkit.report.card import Identity, describe, write_card
        from embedkit.report.comparison import Bootstrap, Evidence
        from embedkit.report.release import link_model, needs_embedkit

        model, scores = inputs[self.model], inputs[self.scores]
        baseline = inputs[self.baseline].key if self.baseline else None
        compared = [inputs[name].key for name in self.contamination]
        roots = [key for key in (model.key, scores.key, baseline, *compared) if key]
        lineage = walk(roots, require_lookup(context), context.labels)
        files = link_model(model.path, out)
        parities = self._export(out, scores.path)
        about = Identity(self.name, self.license, self.languages, self.tags, self.base_model)
        how = Bootstrap(self.samples, self.confidence, self.seed)
        evidence = Evidence.read(scores.path)
        card = describe(about, lineage, evidence, model=model.key, baseline=baseline, how=how, compared=compared)
        card = replace(card, parities=parities)
        write_card(out, card)
        form = "a folder that embedkit loads" if needs_embedkit(out) else "an ordinary sentence-transformers folder"
        summary = [f"{self.model} as {form}, with a model card"]
        summary += [
            f"{found.file}: the same vectors as PyTorch's within {found.largest_difference:.1g} for {found.texts} texts"
            for found in parities
        ]
        told = {"counts": {"files": files}, "backends": [parity.as_json() for parity in parities]}
        write_stats(out, {"summary": summary, "warnings": card.warnings(), **told})

    def _export(self, out: Path, scores: Path) -> list["Parity"]:
        """Files for further runtimes, compared on some of the texts that were evaluated and on hard ones."""
        if not self.backends:
            return []
        from embedkit.report.backends.parity import export

        asked = sorted({text for texts in read_texts(scores).values() for text in texts.values()})
        return export(out, self.backends, asked[:: max(1, len(asked) // COMPARED)][:COMPARED])

    def facts(self) -> Mapping[str, JsonValue]:
        """None; but what writes further runtimes' files must be there before hours of training begin."""
        check_installed(self.backends)
        return {}

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Linking files and resampling; the model stays what it is."""
        return Estimate(memory=200 * 1024**2, overhead=3.0, size=inputs[self.model])
