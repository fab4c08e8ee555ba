"""The `soup` stage: several models of one architecture in, one model out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue, model_validator

from embedkit.core.estimate import Estimate, Size, encode_flops, encode_memory
from embedkit.core.spec import ModelRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.soups.checkpoints import Checkpoint, check_agreement, write_merged
from embedkit.soups.heldout import scorer
from embedkit.soups.methods import BaseMerge, Dare, Merge, Slerp, TaskArithmetic, Ties, Uniform, Weighted, merge_tensors
from embedkit.soups.search import Choice, Greedy, equal_shares, greedy

AnySoup = Annotated[
    Uniform | Weighted | Slerp | TaskArithmetic | Ties | Dare | Greedy,
    Field(discriminator="kind"),
]


class Soup(Stage):
    """Merge the weights of models that started from the same one."""

    kind: Literal["soup"] = "soup"
    produces: ClassVar[str] = "model"

    models: Annotated[tuple[ModelRef, ...], Field(min_length=2)]
    method: AnySoup = Uniform()

    @model_validator(mode="after")
    def _fits(self) -> "Soup":
        if len(set(self.models)) < len(self.models):
            raise ValueError(f"models names a stage twice: {list(self.models)}; weigh it with kind: weighted instead")
        if isinstance(self.method, Merge) and (problem := self.method.problem(len(self.models))):
            raise ValueError(problem)
        return self

    def facts(self) -> Mapping[str, JsonValue]:
        """None; but raises `EmbedkitError` if the index of a search is not installed."""
        if isinstance(self.method, Greedy):
            self.method.index.check_installed()
        return {}

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Choose members if the method searches, merge them, record who is in it and with what weight."""
        models = [inputs[name] for name in self.models]
        members = [Checkpoint.open(inputs[name].path, name) for name in self.models]
        method = self.method
        base = Checkpoint.open(inputs[method.base].path, method.base) if isinstance(method, BaseMerge) else None
        check_agreement(members, base)
        merge: Merge
        if isinstance(method, Greedy):
            score = scorer(method, models, members, inputs[method.data], context)
            choice, merge = greedy(len(models), score), Uniform()
            members, shares = [members[i] for i in choice.members], equal_shares(choice.members, len(models))
            found = _search_stats(method, choice, models)
        else:
            merge, shares = method, method.shares(len(models))
            found = {"summary": [f"{method.kind} merge of {len(models)} models"]}
        with context.progress("merging weights", len(members[0].tensors)) as advance:
            write_merged(members, base, out, lambda n, tensors, b: merge_tensors(merge, tensors, b, n), advance)
        weights = [{"key": model.key, "weight": share} for model, share in zip(models, shares, strict=True)]
        counts = {"models": len(models), "merged": len(members), "parameters": members[0].parameters}
        write_stats(out, {"method": method.kind, "members": weights, "counts": counts, "warnings": [], **found})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Reading and writing weights; a search also encodes held-out queries and documents once a candidate."""
        size = inputs[self.models[0]]
        if not isinstance(self.method, Greedy):
            # A whole model per member bounds one tensor of each; a gigabyte of weights takes about a second.
            memory = 4 * size.parameters * (len(self.models) + 1)
            return Estimate(memory=memory, overhead=2 + 4e-9 * size.parameters * (len(self.models) + 1), size=size)
        data = inputs[self.method.data]
        candidates, queries = 2 * len(self.models) - 1, data.held_out.get(self.method.split, 0)
        texts = data.documents + queries
        limit = size.max_tokens or float("inf")
        tokens = data.documents * min(data.document_tokens, limit) + queries * min(data.query_tokens, limit)
        return Estimate(
            rows=candidates * texts,
            tokens=int(candidates * tokens),
            flops=candidates * encode_flops(size, texts=1, tokens=tokens),
            memory=encode_memory(size, texts=texts),
            overhead=2.0 + candidates,
            size=size,
        )


def _search_stats(method: Greedy, choice: Choice, models: Sequence[Artifact]) -> dict[str, Any]:
    """What the search tried and found."""
    alone = [trial for trial in choice.trials if len(trial.members) == 1]
    best = max(trial.score for trial in alone)
    where = f"{method.metric} on {method.split}"
    if len(choice.members) == 1:
        line = f"greedy soup: one of {len(models)} models alone is best, {where} {best:.4f}; nothing was merged"
    else:
        kept = f"{len(choice.members)} of {len(models)} models"
        line = f"greedy soup: {kept}, {where} {choice.score:.4f}, best alone {best:.4f}"
    return {
        "summary": [line],
        "metric": method.metric,
        "split": method.split,
        "score": choice.score,
        "candidates": [{"key": models[t.members[0]].key, "score": t.score} for t in alone],
        "trials": [
            {"members": [models[i].key for i in trial.members], "score": trial.score, "kept": trial.kept}
            for trial in choice.trials
        ],
    }
