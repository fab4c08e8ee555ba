"""The stage `mine`: what a model takes for relevant and is not."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import ByteSize, Field, JsonValue, NonNegativeInt, PositiveInt, model_validator

from embedkit.core.errors import StageError, did_you_mean
from embedkit.core.estimate import Estimate, Size, encode_all, encode_memory
from embedkit.core.memory import release
from embedkit.core.records import link_tables, open_corpus, open_queries, read_qrels
from embedkit.core.spec import DatasetRef, Execution, ModelRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.mining.fates import COLUMNS
from embedkit.mining.fills import AnyFill, NoFill
from embedkit.mining.filters import Agreement, AnyFilter
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
        if taken := sorted(set(COLUMNS) & set(self.signals)):
            raise ValueError(f"signals.{taken[0]}: candidates.parquet has a column of this name; choose another")
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
        work = encode_all(data, model, queries=queries)
        search = 2.0 * queries * data.documents * model.dimensions
        return Estimate(
            rows=work.rows,
            tokens=work.tokens,
            flops=work.flops + search,
            memory=encode_memory(model, texts=0) + int(self.memory),  # vectors stay on disk
            overhead=2.0,
            size=replace(data, documents_per_pair=1.0 + self.negatives, pairs=queries),
        )
