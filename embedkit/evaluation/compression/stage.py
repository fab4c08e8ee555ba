"""The `compress` stage: a model and a judged dataset in, what vectors in fewer bytes cost out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt, field_validator

from embedkit.core.errors import DataError
from embedkit.core.estimate import Estimate, Size, encode_flops, encode_memory
from embedkit.core.records import open_corpus, open_queries, read_qrels
from embedkit.core.spec import DatasetRef, Execution, ModelRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.evaluation.compression.variants import DEFAULT, PQ, AnyVariant, Float32, Rescored, Shortened
from embedkit.evaluation.stage import Metric
from embedkit.measures.ranking import PerQuery
from embedkit.retrieval.encoder import open_encoder

if TYPE_CHECKING:
    from embedkit.evaluation.compression.contest import Contest
    from embedkit.evaluation.compression.searches import Archive, Search

SPEED: Final = "speed.json"
PER_QUERY: Final = "per_query.parquet"


class Compress(Stage):
    """What a corpus's vectors in fewer bytes cost one model: metrics against the full vectors', bytes, speed.

    Every variant searches the whole corpus. The artifact has stats.json with all figures; per_query.parquet: variant,
    query_id, and a column a metric; and speed.json, the only file that another run would write differently.
    """

    kind: Literal["compress"] = "compress"
    produces: ClassVar[str] = "compression"

    model: ModelRef
    data: DatasetRef
    split: Literal["train", "dev", "test"] = "test"
    variants: tuple[AnyVariant, ...] = DEFAULT
    metrics: tuple[Metric, ...] = ("ndcg@10", "mrr@10", "recall@100")  # the first is the one that is drawn
    overlaps: tuple[PositiveInt, ...] = (10, 100)  # k of the full ranking's first k that are found again
    ignore_identical_ids: bool = False  # leave out documents that have their query's id, where queries are documents
    calibration: Annotated[int, Field(ge=2)] = 10_000  # documents that codecs learn from
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    samples: PositiveInt = 10_000
    seed: NonNegativeInt = 0
    rounds: Annotated[PositiveInt, Execution()] = 5  # times that searches are timed

    @field_validator("variants", "metrics")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [value if isinstance(value, str) else value.label for value in values]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is there twice")
        if not values:
            raise ValueError("name at least one")
        return values

    def facts(self) -> Mapping[str, JsonValue]:
        """None; but raises `EmbedkitError` if a library that a variant needs is not installed."""
        if any(isinstance(code, PQ) for code in self._codecs()):
            from embedkit.evaluation.compression.coders import check_pq

            check_pq()
        return {}

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Search, measure, time; the codes are in the work folder meanwhile."""
        from embedkit.evaluation.compression.contest import Contest
        from embedkit.evaluation.compression.figures import Judged
        from embedkit.evaluation.compression.searches import Archive

        data = inputs[self.data].path
        corpus, asked, qrels = open_corpus(data, context.work), open_queries(data, context.work), self._qrels(data)
        texts = dict(zip(asked.ids, asked.texts, strict=True))
        encoder = open_encoder(inputs[self.model].path, context)
        archive = Archive(
            documents=encoder.stored("document", corpus.documents()),
            folder=context.work / "codes",
            unit=encoder.similarity == "cosine",
            sample=self.calibration,
            seed=self.seed,
            progress=context.progress,
        )
        queries = encoder.queries([texts[query] for query in qrels])
        try:
            judged = Judged(list(qrels), corpus.ids, qrels)
            contest = Contest(
                self._open(archive), queries, judged, self.metrics, self.overlaps, self.ignore_identical_ids
            )
            values = contest.values(context.progress)
            stats = self._stats(contest, values)
            speed = contest.times(self.rounds, context.progress)
        finally:
            archive.close()
        _write_values(out / PER_QUERY, values)
        (out / SPEED).write_text(json.dumps(speed, indent=1) + "\n", encoding="utf-8")
        write_stats(out, stats)

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Encoding, as if no vector were stored yet, and the searches."""
        model, data = inputs[self.model], inputs[self.data]
        queries, limit = data.held_out.get(self.split, 0), model.max_tokens or float("inf")
        tokens = data.documents * min(data.document_tokens, limit) + queries * min(data.query_tokens, limit)
        texts, looks = data.documents + queries, (len(self.variants) + 1) * (2 + 2 * self.rounds)
        return Estimate(
            rows=texts,
            tokens=int(tokens),
            flops=encode_flops(model, texts=1, tokens=tokens)
            + 2.0 * looks * queries * data.documents * model.dimensions,
            memory=encode_memory(model, texts=min(texts, self.calibration)) + 2**28,
            overhead=3.0,
        )

    def _codecs(self) -> list[object]:
        codes = [
            code
            for variant in self.variants
            for code in ((variant.first, variant.by) if isinstance(variant, Rescored) else (variant,))
        ]
        return [code.then if isinstance(code, Shortened) else code for code in codes]

    def _qrels(self, data: Path) -> dict[str, dict[str, int]]:
        qrels = {query: docs for query, docs in read_qrels(data, self.split).items() if docs}
        if not qrels:
            raise DataError(f"{self.data}: has no judged {self.split!r} queries to search for; name another split")
        return qrels

    def _open(self, archive: "Archive") -> dict[str, "Search"]:
        """All variants by name, the full vectors first."""
        searches = {Float32().label: archive.search(Float32())}
        for i, variant in enumerate(self.variants):
            try:
                searches[variant.label] = archive.search(variant)
            except DataError as error:
                raise DataError(*(f"variants.{i}: {problem}" for problem in error.problems)) from None
        return searches

    def _stats(self, contest: "Contest", values: Mapping[str, PerQuery]) -> dict[str, Any]:
        from embedkit.evaluation.compression.figures import Resampling, summary

        rows = contest.rows(values, Resampling(self.samples, self.confidence, self.seed))
        queries, dimensions = contest.queries.shape
        return {
            "summary": summary(rows, self.metrics[0]),
            "counts": {"queries": queries, "documents": contest.documents, "dimensions": dimensions},
            "warnings": self._warnings(contest),
            "split": self.split,
            "depth": contest.depth,
            "metrics": list(self.metrics),
            "confidence": self.confidence,
            "variants": rows,
        }

    def _warnings(self, contest: "Contest") -> list[str]:
        lines = [
            f"overlap@{k} is left out: of {contest.documents:,} documents any ranking holds that many"
            for k in self.overlaps
            if k not in contest.cuts
        ]
        from embedkit.evaluation.compression.coders import ADVISED

        learnt = min(contest.documents, self.calibration)
        if learnt < ADVISED and any(isinstance(code, PQ) for code in self._codecs()):
            lines.append(f"pq learns from {learnt:,} documents; FAISS advises {ADVISED:,}")
        return lines


def _write_values(path: Path, values: Mapping[str, PerQuery]) -> None:
    rows = [
        {"variant": name, "query_id": query, **found}
        for name, queries in values.items()
        for query, found in queries.items()
    ]
    metrics: Sequence[str] = [name for name in rows[0] if name not in ("variant", "query_id")]
    schema = pa.schema(
        [("variant", pa.string()), ("query_id", pa.string()), *((name, pa.float64()) for name in metrics)]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")
