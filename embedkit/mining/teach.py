"""The stage `teach`: what better judges make of what was mined."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, JsonValue

from embedkit.core.estimate import Estimate, Size, encode_all
from embedkit.core.records import link_tables, read_qrels
from embedkit.core.spec import DatasetRef, ModelRef, PairsRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.mining.fusion import AnyFusion, ZScore
from embedkit.mining.teacher import AnyTeacher
from embedkit.retrieval.index import AnyIndex, Exact

BLOCK: Final = 1024  # queries graded at a time; a multiple of 64, so that cross-encoders see the same ones together


class Teach(Stage):
    """Give every positive and negative of every training query a teacher's score: `positive_targets` and
    `negative_targets` of the pairs, on the scale of `fusion`.

    A fusion depends on the list it sees, and a list of one positive and four negatives is too short for a mean or a
    minimum to mean anything. So each query's teachers score a *pool*: the student's best `depth` documents of the
    corpus and the query's own positives and negatives; scores are fused over the pool, and only then read off. That
    makes targets comparable between queries, and the same quantity the check on the dev queries measures.

    The check: for each query of `split`, the student's best `depth` documents, ordered by the student and by the fused
    teachers. Unless the teachers reach a higher nDCG@10, they have nothing to teach: the stage refuses, or warns.
    """

    kind: Literal["teach"] = "teach"
    produces: ClassVar[str] = "pairs"
    version: ClassVar[int] = 3

    pairs: PairsRef
    data: DatasetRef  # corpus of the student's candidates and of BM25, and the queries of the check
    split: Literal["dev", "train"] = "dev"
    student: ModelRef
    teachers: Annotated[tuple[AnyTeacher, ...], Field(min_length=1)]
    fusion: AnyFusion = ZScore()
    depth: Annotated[int, Field(ge=10)] = 50
    index: AnyIndex = Exact()
    if_not_better: Literal["refuse", "warn"] = "refuse"
    drop_above_positive: bool = False  # negatives the teachers put above the query's lowest positive become suspects

    @property
    def scored(self) -> bool:
        """Always."""
        return True

    def facts(self) -> Mapping[str, JsonValue]:
        """None; but raises `EmbedkitError` if the index is not installed."""
        self.index.check_installed()
        return {}

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write pairs with targets, and stats.json."""
        from embedkit.mining.grading import Ungraded, grade
        from embedkit.mining.teaching import Classroom

        pairs = Ungraded.open(inputs[self.pairs].path, context.work / "pairs")
        texts = pairs.texts()
        room = Classroom.open(self, inputs, context, texts)
        outcome = room.check(read_qrels(inputs[self.data].path, self.split))
        context.emit("teachers_checked", {"student": outcome.student, "fused": outcome.fused})
        stats = grade(room, pairs, texts, out, outcome)
        link_tables(pairs.folder, out)
        write_stats(out, stats)

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Encoding by the student and what each teacher says of itself."""
        data, student, pairs = inputs[self.data], inputs[self.student], inputs[self.pairs]
        queries = pairs.pairs + data.held_out.get(self.split, 0)
        work = encode_all(data, student, queries=queries)
        scored = int(queries * (self.depth + pairs.documents_per_pair))
        flops = work.flops + sum(
            t.flops(inputs, documents=data.documents, queries=queries, pairs=scored, tokens=data.document_tokens)
            for t in self.teachers
        )
        at_once = min(scored, int(BLOCK * (self.depth + pairs.documents_per_pair)))
        memory = work.memory + 16 * at_once * (1 + len(self.teachers))
        return Estimate(rows=scored, tokens=work.tokens, flops=flops, memory=memory, overhead=3.0, size=pairs)
