"""The `mine` and `teach` stages: what a model takes for relevant, and what better judges make of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import ByteSize, Field, JsonValue, NonNegativeInt, PositiveInt, model_validator

from embedkit.core.errors import StageError, did_you_mean
from embedkit.core.estimate import Estimate, Size, encode_flops, encode_memory
from embedkit.core.memory import release
from embedkit.core.pairs import read_pairs, write_pair_rows
from embedkit.core.records import link_tables, open_corpus, open_queries, read_qrels
from embedkit.core.spec import DatasetRef, Execution, ModelRef, PairsRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.mining.fills import AnyFill, NoFill
from embedkit.mining.filters import Agreement, AnyFilter
from embedkit.mining.fusion import AnyFusion, ZScore
from embedkit.mining.groups import AnyGrouping
from embedkit.mining.hybrid import AnyRetriever, names_of
from embedkit.mining.sampling import AnySampling, Top
from embedkit.mining.signals import BUILT_IN, SAME_GROUP, TEACHERS
from embedkit.mining.teacher import AnyTeacher
from embedkit.retrieval.identity import Backend, Precision, Storage, Task, prompts_by_name
from embedkit.retrieval.index import AnyIndex, Exact

if TYPE_CHECKING:
    from embedkit.retrieval.encoder import StoredEncoder

SIGNAL_NAME: Final = r"^[a-z][a-z0-9_]*$"
SignalName = Annotated[str, Field(pattern=SIGNAL_NAME)]


class Mine(Stage):
    """Retrieve each query's nearest documents, of the whole corpus or of those that are positives (`among`), and keep
    the best that pass the filters.

    Never a negative: a document judged relevant to the query or to one of the same text, one of the same text as such
    a document, or as the query itself. `top_k` counts candidates besides these. Where too few pass the filters, a
    query gets fewer negatives, unless `fill` says what stands in for them. Keeps every candidate and what became of it
    in candidates.parquet; those that a filter took for relevant are the pairs' `suspects`, which training uses as
    nobody's negative either.
    """

    kind: Literal["mine"] = "mine"
    produces: ClassVar[str] = "pairs"
    version: ClassVar[int] = 3

    data: DatasetRef
    split: Literal["train", "dev"] = "train"
    model: ModelRef
    negatives: PositiveInt = 7
    top_k: PositiveInt = 100
    among: Literal["corpus", "positives"] = "corpus"  # positives: only documents relevant to some query of the split
    index: AnyIndex = Exact()
    hybrid: tuple[AnyRetriever, ...] = ()  # what else finds candidates; signals by the names of their kinds
    signals: Mapping[SignalName, AnyTeacher] = Field(default_factory=dict)  # what else scores candidates, by name
    filters: tuple[AnyFilter, ...] = (Agreement(),)
    sampling: AnySampling = Top()
    fill: AnyFill = NoFill()  # what stands in where too few candidates pass
    groups: AnyGrouping | None = None  # which documents are parts of one, for the filter same_group
    near_queries: Annotated[float, Field(gt=0, le=1)] | None = None  # queries of this cosine share their positives
    query_prompt: str | None = None  # name of a prompt that the model declares; null: the model's for queries
    document_prompt: str | None = None
    precision: Precision = "float32"  # of the encoder; bfloat16 is what GPUs are fast at
    backend: Backend = "torch"
    storage: Storage = "float32"  # of vectors on disk
    batch_tokens: Annotated[PositiveInt | None, Execution()] = None  # of one forward pass; None: what suits the device
    workers: Annotated[NonNegativeInt | None, Execution()] = None  # processes that tokenise, 0: a thread
    memory: Annotated[ByteSize, Execution()] = ByteSize(10**9)  # above the model's own; how much is done at a time

    @model_validator(mode="after")
    def _check(self) -> "Mine":
        if self.top_k < self.negatives:
            raise ValueError(f"top_k is {self.top_k}, fewer than the {self.negatives} negatives to be found in them")
        own = ["encoder", *names_of(self.hybrid), *BUILT_IN, SAME_GROUP]
        if taken := sorted(set(own) & set(self.signals)):
            raise ValueError(f"signals.{taken[0]}: mining has a signal of this name already; choose another")
        known = [*dict.fromkeys([*own, *TEACHERS, *self.signals])]
        asking = {f"filters.{i}": rule.signals for i, rule in enumerate(self.filters)}
        for where, names in {**asking, "sampling": self.sampling.signals}.items():
            for signal in names:
                if signal not in known:
                    hint = did_you_mean(signal, known)
                    raise ValueError(f"{where}.signal: nothing makes a signal {signal!r}; there are {known}{hint}")
        if SAME_GROUP in self.asked_signals and self.groups is None:
            raise ValueError("groups: a filter asks for same_group, and nothing says what the documents' groups are")
        return self

    @property
    def asked_signals(self) -> tuple[str, ...]:
        """Signals that some filter or the sampling asks for."""
        asked = (*(signal for rule in self.filters for signal in rule.signals), *self.sampling.signals)
        return tuple(dict.fromkeys(asked))

    @property
    def teachers(self) -> Mapping[str, AnyTeacher]:
        """Those of `signals`, and those that are there without being named, where they are asked for and missing."""
        missing = set(self.asked_signals) - set(names_of(self.hybrid)) - set(self.signals)
        return {**self.signals, **{name: teacher for name, teacher in TEACHERS.items() if name in missing}}

    @property
    def retriever_signals(self) -> tuple[str, ...]:
        """Names of the retrievers whose scores are asked for."""
        return tuple(name for name in names_of(self.hybrid) if name in self.asked_signals)

    def facts(self) -> Mapping[str, JsonValue]:
        """None; but raises `EmbedkitError` if the index is not installed."""
        self.index.check_installed()
        for retriever in self.hybrid:
            retriever.check_installed()
        return {}

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write pairs with negatives, candidates.parquet and stats.json."""
        from embedkit.mining.audit import describe, mining_rules
        from embedkit.mining.ground import Ground
        from embedkit.mining.parts import Miner, searched

        data = inputs[self.data].path
        corpus, queries = open_corpus(data, context.work), open_queries(data, context.work)
        encoder = self._encoder(inputs, context)
        ground = Ground.open(
            encoder, corpus, queries, read_qrels(data, self.split), context, near_queries=self.near_queries
        )
        release()
        miner = Miner.open(self, ground, inputs, context)
        link_tables(data, out)
        miner.run(out)
        release()
        rules = mining_rules(self.filters, self.negatives, self.sampling)
        stats = describe(out, wanted=self.negatives, doc_ids=corpus.ids, reasons=miner.reasons, rules=rules)
        if not stats["counts"]["negatives"]:
            raise StageError(
                f"no query has a candidate that may be a negative ({stats['summary'][1]}); loosen the filters"
            )
        stats["search"] = miner.search
        stats["summary"].append(searched(miner.search))
        write_stats(out, stats)

    def share(self, inputs: Mapping[str, Artifact], context: Context) -> None:
        """Encode the corpus, by far the most of the work."""
        corpus = open_corpus(inputs[self.data].path, context.work)
        self._encoder(inputs, context).stored("document", corpus.documents())
        release()

    def _encoder(self, inputs: Mapping[str, Artifact], context: Context) -> "StoredEncoder":
        from embedkit.retrieval.encoder import open_encoder

        folder = inputs[self.model].path
        encoder = open_encoder(
            folder,
            context,
            precision=self.precision,
            backend=self.backend,
            storage=self.storage,
            batch_tokens=self.batch_tokens,
            workers=self.workers,
        )
        names: dict[Task, str | None] = {"query": self.query_prompt, "document": self.document_prompt}
        return encoder.prompted(prompts_by_name(folder, names, called=self.model))

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Encoding dominates; what the embedding store has already is not subtracted."""
        data, model = inputs[self.data], inputs[self.model]
        queries = data.pairs or data.queries
        work = _encoding(data, model, queries=queries)
        search = 2.0 * queries * data.documents * model.dimensions
        return Estimate(
            rows=work.rows,
            tokens=work.tokens,
            flops=work.flops + search,
            memory=encode_memory(model, texts=0) + int(self.memory),  # vectors stay on disk
            overhead=2.0,
            size=replace(data, documents_per_pair=1.0 + self.negatives, pairs=queries),
        )


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
    version: ClassVar[int] = 2

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
        from embedkit.mining.teaching import Classroom, grade

        pairs = read_pairs(inputs[self.pairs].path)
        room = Classroom.open(self, inputs, context)
        outcome = room.check(read_qrels(inputs[self.data].path, self.split))
        context.emit("teachers_checked", {"student": outcome.student, "fused": outcome.fused})
        graded = grade(room, pairs, drop_above_positive=self.drop_above_positive)
        link_tables(inputs[self.pairs].path, out)
        write_pair_rows(out, graded.rows)
        write_stats(out, graded.stats(outcome, room))

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Encoding by the student and what each teacher says of itself."""
        data, student, pairs = inputs[self.data], inputs[self.student], inputs[self.pairs]
        queries = pairs.pairs + data.held_out.get(self.split, 0)
        work = _encoding(data, student, queries=queries)
        scored = int(queries * (self.depth + pairs.documents_per_pair))
        flops = work.flops + sum(
            t.flops(inputs, documents=data.documents, queries=queries, pairs=scored, tokens=data.document_tokens)
            for t in self.teachers
        )
        memory = work.memory + 16 * scored * (1 + len(self.teachers))
        return Estimate(rows=scored, tokens=work.tokens, flops=flops, memory=memory, overhead=3.0, size=pairs)


def _encoding(data: Size, model: Size, *, queries: int) -> Estimate:
    """What encoding the corpus and `queries` takes."""
    limit = model.max_tokens or float("inf")
    document_tokens, query_tokens = min(data.document_tokens, limit), min(data.query_tokens, limit)
    return Estimate(
        rows=data.documents + queries,
        tokens=int(data.documents * document_tokens + queries * query_tokens),
        flops=encode_flops(model, texts=data.documents, tokens=document_tokens)
        + encode_flops(model, texts=queries, tokens=query_tokens),
        memory=encode_memory(model, texts=data.documents + queries),
    )
