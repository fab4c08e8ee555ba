"""Stages that bring things in from outside: models, datasets, and weak pairs made of a dataset's text."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt

from embedkit.core.dataset import Dataset, read_dataset, write_dataset
from embedkit.core.errors import DataError
from embedkit.core.estimate import Estimate, Size
from embedkit.core.pairs import Pair, pairs_of, write_pair_rows, write_pairs
from embedkit.core.spec import DatasetRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.core.text import normalised
from embedkit.data.cleaning import Cleaned, HoldOut, Removed, clean
from embedkit.data.model_folder import Pooling, Prompts, set_max_length, set_prompts
from embedkit.data.pretrained import AnyModelSource, InHub, copy_model
from embedkit.data.sources import AnySource
from embedkit.data.summary import data_stats
from embedkit.data.weak import AnyWeakPairs, WeakPair, collect
from embedkit.retrieval.model_folder import describe, told


class Pretrained(Stage):
    """A model made elsewhere, checked and copied. The artifact is an ordinary sentence-transformers folder."""

    kind: Literal["pretrained"] = "pretrained"
    produces: ClassVar[str] = "model"
    source: AnyModelSource
    max_length: PositiveInt | None = None  # tokens; None keeps the model's own limit
    prompts: Prompts | None = None
    pooling: Pooling | None = None  # for a plain transformers model, which does not say

    def facts(self) -> Mapping[str, JsonValue]:
        """Digests of an installed package's model files."""
        return self.source.facts()

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Copy safe files, then write what the recipe sets into the model's configs."""
        copy_model(self.source.locate(), out, pooling=self.pooling)
        if self.max_length is not None:
            set_max_length(out, self.max_length)
        replaced: list[str] = []
        if self.prompts is not None:
            replaced = set_prompts(out, self.prompts)
        stats = told(describe(out))
        write_stats(out, {**stats, "warnings": [*stats["warnings"], *replaced]})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """From the headers of local weights; nothing is known of a hub model before it is fetched."""
        if isinstance(self.source, InHub):
            return Estimate(overhead=30.0, size=Size(max_tokens=self.max_length or 0))
        card = describe(self.source.locate())
        size = Size(
            parameters=card.parameters,
            active_parameters=card.parameters - card.embedding_parameters,
            dimensions=card.dimensions,
            max_tokens=self.max_length or card.max_tokens,
        )
        return Estimate(overhead=0.5, size=size)


class Data(Stage):
    """A dataset from files or the hub: rows checked, duplicates merged, splits kept apart.

    Besides the dataset the artifact has aliases.parquet (which document or query now stands for which, and which left
    a split because another split has it) and, if bad rows were dropped, rejects.jsonl.
    """

    kind: Literal["data"] = "data"
    produces: ClassVar[str] = "dataset"
    source: AnySource
    exact_duplicates: bool = True  # merge documents of equal text, and queries of equal text within a split
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = 0.9  # Jaccard similarity from which texts are one
    dev: HoldOut | None = None  # drawn from train, for a source that has no dev split
    test: HoldOut | None = None

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Read, clean, write; all that is wrong with the source is one error."""
        tables, rejects = self.source.load(context.work, context.progress)
        dataset = tables.dataset()
        if not dataset.corpus.ids or not dataset.qrels:
            raise DataError(f"{self.source.place}: no document with a judged query; expected at least one")
        hold_out = {split: spec for split, spec in (("dev", self.dev), ("test", self.test)) if spec is not None}
        cleaned = clean(
            dataset,
            exact=self.exact_duplicates,
            near=self.near_duplicates,
            hold_out=hold_out,
            progress=context.progress,
        )
        write_dataset(out, cleaned.dataset)
        scores = tables.scores.get("train")
        rows = _with_negatives(cleaned.dataset) if scores is None else _with_scores(cleaned, scores)
        write_pair_rows(out, rows)
        _write_aliases(out, [*cleaned.merged, *cleaned.leaks])
        if rejects.rows:
            lines = (json.dumps(row, ensure_ascii=False, default=str) for row in rejects.rows)
            text = "".join(f"{line}\n" for line in lines)
            (out / "rejects.jsonl").write_text(text, encoding="utf-8", errors="backslashreplace")
        write_stats(out, data_stats(cleaned, rows, rejects, tables))

    @property
    def scored(self) -> bool:
        """Where the source has scores."""
        return self.source.scored

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """From a look at the files; held-out shares are taken from train."""
        size = self.source.size()
        held_out = dict(size.held_out)
        pairs = size.pairs
        for split, spec in (("test", self.test), ("dev", self.dev)):
            if spec is not None:
                held_out[split] = round(pairs * spec.share)
                pairs -= held_out[split]
        rows = size.documents + size.queries
        size = Size(**{**vars(size), "pairs": pairs, "held_out": held_out})
        memory = int(rows * 8 * max(size.document_tokens, 100.0))
        return Estimate(rows=rows, memory=memory, overhead=1.0 + rows * 2e-4, size=size)


def _with_negatives(dataset: Dataset) -> list[Pair]:
    """Train pairs; documents judged 0 or less are a query's negatives."""
    qrels = dataset.qrels.get("train", {})
    rows = []
    for row in pairs_of(qrels):
        negatives = tuple(d for d, relevance in qrels[row.query_id].items() if relevance <= 0)
        rows.append(Pair(row.query_id, row.positives, known=row.known, negatives=negatives))
    return rows


def _with_scores(cleaned: Cleaned, scores: Mapping[str, Mapping[str, float]]) -> list[Pair]:
    """Train pairs whose documents are scored, the best first; of duplicates with two scores the higher wins."""
    document = {r.removed: r.kept for r in cleaned.merged if r.role == "document"}
    query = {r.removed: r.kept for r in cleaned.merged if r.role == "query" and r.split == "train"}
    merged: dict[str, dict[str, float]] = {}
    for asked, given in scores.items():
        row = merged.setdefault(query.get(asked, asked), {})
        for key, score in given.items():
            kept = document.get(key, key)
            row[kept] = max(score, row.get(kept, score))
    rows = []
    for asked in cleaned.dataset.qrels.get("train", {}):
        ranked = sorted(merged[asked].items(), key=lambda entry: (-entry[1], entry[0]))
        ids, targets = tuple(key for key, _ in ranked), tuple(score for _, score in ranked)
        rows.append(Pair(asked, ids, known=ids, positive_targets=targets))
    return rows


_ALIASES = pa.schema(
    [(name, pa.string()) for name in ("role", "removed", "kept", "why", "split", "kept_split")]
    + [("similarity", pa.float64())]
)


def _write_aliases(out: Path, removed: list[Removed]) -> None:
    columns = [pa.array([getattr(r, f.name) for r in removed], type=f.type) for f in _ALIASES]
    table = pa.Table.from_arrays(columns, schema=_ALIASES)
    pq.write_table(table, out / "aliases.parquet", compression="zstd")


class Weak(Stage):
    """Pairs made from a dataset's documents alone: no query and no judgement of it is used.

    The artifact has a corpus and queries of its own, with ids like `<doc_id>#crop0`.
    """

    kind: Literal["weak"] = "weak"
    produces: ClassVar[str] = "pairs"
    data: DatasetRef
    pairs: Annotated[tuple[AnyWeakPairs, ...], Field(min_length=1)]
    seed: NonNegativeInt
    exclude_held_out: bool = True  # leave out pairs with a text that equals a dev or test query

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Make pairs of each kind in turn, each from random numbers of its own."""
        dataset = read_dataset(inputs[self.data].path)
        made: list[WeakPair] = []
        skipped: dict[str, Counter[str]] = {}
        per_kind: dict[str, int] = {}
        for number, maker in enumerate(self.pairs):
            rng = np.random.default_rng([self.seed, number])
            name = maker.kind if maker.kind not in per_kind else f"{maker.kind}-{number}"
            with context.progress(f"making pairs: {maker.kind}", len(dataset.corpus)) as advance:
                found = maker.make(dataset.corpus, rng, skipped.setdefault(name, Counter()))
                advance(len(dataset.corpus))
            suffix = name.removeprefix(maker.kind)
            made += [WeakPair(p.source, f"{p.name}{suffix}", p.query, p.positive) for p in found]
            per_kind[name] = len(found)
        held_out = _held_out_texts(dataset) if self.exclude_held_out else frozenset()
        pairs = collect(dataset.corpus, made, held_out)
        if not pairs.rows:
            raise DataError(f"weak pairs: none of the {len(dataset.corpus)} documents gave one; they are too short")
        write_pairs(out, pairs)
        leaked = len(made) - len(pairs.rows)
        kinds = ", ".join(f"{n} {name}" for name, n in per_kind.items())
        write_stats(
            out,
            {
                "summary": [f"{len(pairs.rows)} weak pairs ({kinds}; {leaked} left out as equal to a held-out query)"],
                "counts": {"pairs": len(pairs.rows), "documents": len(pairs.corpus), "equal_to_held_out": leaked},
                "warnings": [],
                "made": per_kind,
                "skipped": {name: dict(sorted(reasons.items())) for name, reasons in skipped.items()},
            },
        )

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """From the size of the corpus."""
        data = inputs.get(self.data, Size())
        sizes = [maker.size(data) for maker in self.pairs]
        n = sum(size.pairs for size in sizes)
        size = Size(
            documents=n,
            queries=n,
            pairs=n,
            document_tokens=sum(s.pairs * s.document_tokens for s in sizes) / max(n, 1),
            query_tokens=sum(s.pairs * s.query_tokens for s in sizes) / max(n, 1),
        )
        return Estimate(rows=n, overhead=0.5 + n * 5e-5, size=size)


def _held_out_texts(dataset: Dataset) -> frozenset[str]:
    """Normalised texts of the queries of every split but train."""
    held_out = {query for split, qrels in dataset.qrels.items() if split != "train" for query in qrels}
    pairs = zip(dataset.queries.ids, dataset.queries.texts, strict=True)
    return frozenset(normalised(text) for query, text in pairs if query in held_out)
