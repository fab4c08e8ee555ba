"""Where a dataset comes from: a BEIR folder, files of pairs, a data set on the Hugging Face hub at a pinned commit."""

import abc
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from embedkit.core.errors import DataError, did_you_mean
from embedkit.core.estimate import Size
from embedkit.core.progress import Progress
from embedkit.core.records import SPLITS
from embedkit.core.spec import LocalPath, Spec
from embedkit.data.assemble import Tables, read_documents, read_judgements, read_queries
from embedkit.data.commit import Commit, check_commit
from embedkit.data.pair_rows import SPLIT_NAMES, Columns, read_pair_rows
from embedkit.data.rows import Rejects, Row, rows_of
from embedkit.data.sizes import mean_tokens, queries_in, rows_in


class Source(Spec, abc.ABC):
    """Something a dataset can be read from."""

    kind: str
    on_bad_row: Literal["fail", "drop"] = "fail"  # drop: leave the row out, count it, write it to rejects.jsonl

    def load(self, work: Path, progress: Progress) -> tuple[Tables, Rejects]:
        """Read everything; one `DataError` lists all that is wrong with the source."""
        tables, rejects = Tables(), Rejects()
        self.read(tables, rejects, work, progress)
        rejects.settle(self.on_bad_row, self.locate)
        return tables, rejects

    @abc.abstractmethod
    def read(self, tables: Tables, rejects: Rejects, work: Path, progress: Progress) -> None:
        """Read all rows into `tables`, bad ones into `rejects`; `work` is for files a reader has to unpack."""

    @property
    @abc.abstractmethod
    def place(self) -> str:
        """What the source as a whole is called in a message."""

    @abc.abstractmethod
    def locate(self, problem: str) -> str:
        """A problem as shown to the user; `problem` starts with a place relative to this source."""

    def size(self) -> Size:
        """About how much there is, from a look at the files."""
        return Size()

    @property
    def scored(self) -> bool:
        """Whether its pairs have scores."""
        return False


class BeirFolder(Source):
    """corpus.jsonl, queries.jsonl and qrels/{train,dev,test}.tsv, as BEIR has them; each may also be a .parquet file.

    Reference: https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
    """

    kind: Literal["beir"] = "beir"
    path: LocalPath
    class_field: str | None = None  # of corpus and queries: what class a text is of, where it is of one

    def read(self, tables: Tables, rejects: Rejects, work: Path, progress: Progress) -> None:
        """Corpus and queries first; judgements only if both could be read."""
        for name, reader in (("corpus", read_documents), ("queries", read_queries)):
            if (path := _table(self.path, name, ".jsonl")) is None:
                rejects.faults.append(f"{name}.jsonl: no such file; a BEIR folder has corpus, queries and qrels")
                continue
            with progress(f"reading {path.name}", None) as advance:
                reader(tables, _counted(rows_of(path, path.name, rejects), advance), rejects, self.class_field)
        rejects.faults += _no_class(tables, self.class_field, rejects)
        splits = self._splits()
        if not splits:
            rejects.faults.append(f"qrels: holds none of {', '.join(f'{s}.tsv' for s in SPLITS)}")
        if not rejects.faults:
            for split, path in splits.items():
                read_judgements(tables, split, rows_of(path, f"qrels/{path.name}", rejects), rejects)

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.path)

    def locate(self, problem: str) -> str:
        """Places are files of the folder."""
        return f"{self.path}/{problem}"

    def size(self) -> Size:
        """Rows counted, lengths sampled, train queries read from the qrels."""
        corpus, queries = _table(self.path, "corpus", ".jsonl"), _table(self.path, "queries", ".jsonl")
        if corpus is None or queries is None:
            return Size()
        judged = {split: queries_in(path) for split, path in self._splits().items()}
        return Size(
            documents=rows_in(corpus),
            queries=rows_in(queries),
            pairs=judged.get("train", 0),
            held_out={split: n for split, n in judged.items() if split != "train"},
            document_tokens=mean_tokens(corpus, ("title", "text")),
            query_tokens=mean_tokens(queries, ("text",)),
        )

    def _splits(self) -> dict[str, Path]:
        names = {alias: split for alias, split in SPLIT_NAMES.items() if _table(self.path / "qrels", alias, ".tsv")}
        found = {split: _table(self.path / "qrels", alias, ".tsv") for alias, split in names.items()}
        return {split: path for split in SPLITS if (path := found.get(split)) is not None}


class PairFiles(Source):
    """A file of pairs, or a folder of them named by split (train.jsonl, dev.jsonl, test-00.parquet ...).

    A row has a query, one or more relevant documents, and perhaps documents known to be irrelevant.
    """

    kind: Literal["jsonl", "parquet"]
    path: LocalPath
    columns: Columns = Columns()

    def read(self, tables: Tables, rejects: Rejects, work: Path, progress: Progress) -> None:
        """Row by row, file by file."""
        files = self._files(rejects)
        if not files and not rejects.faults:
            wanted = f"train.{self.kind} and perhaps others"
            raise DataError(f"{self.place}: the folder has no .{self.kind} files; expected {wanted}")
        for path, split in files:
            with progress(f"reading {path.name}", None) as advance:
                rows = _counted(rows_of(path, path.name, rejects), advance)
                read_pair_rows(tables, split, rows, self.columns, rejects)

    @property
    def place(self) -> str:
        """The file or folder."""
        return str(self.path)

    def locate(self, problem: str) -> str:
        """Places are files beside `path`, or in it."""
        return f"{self.path if self.path.is_dir() else self.path.parent}/{problem}"

    def size(self) -> Size:
        """Rows counted and lengths sampled; every row is taken for a query with one document of its own."""
        files = self._files(Rejects())
        if not files:
            return Size()
        rows = {split: sum(rows_in(path) for path, s in files if s == split) for _, split in files}
        return Size(
            documents=sum(rows.values()),
            queries=sum(rows.values()),
            pairs=rows.get("train", 0),
            held_out={split: n for split, n in rows.items() if split != "train"},
            document_tokens=mean_tokens(files[0][0], (self.columns.positive,)),
            query_tokens=mean_tokens(files[0][0], (self.columns.query,)),
        )

    @property
    def scored(self) -> bool:
        """Whether a column has scores."""
        return self.columns.score is not None

    def _files(self, rejects: Rejects) -> list[tuple[Path, str]]:
        """Files and their splits."""
        suffix = f".{self.kind}"
        if not self.path.is_dir():
            if self.path.suffix == suffix and self.path.is_file():
                return [(self.path, "train")]
            found = "is not one" if self.path.is_file() else "does not exist"
            rejects.faults.append(f"{self.path.name}: {found}; expected a {suffix} file, or a folder of them")
            return []
        files = [(p, re.match(r"[a-z]*", p.name)) for p in sorted(self.path.glob(f"*{suffix}"))]
        named = [(path, SPLIT_NAMES.get(match[0], "") if match else "") for path, match in files]
        known = ", ".join(SPLIT_NAMES)
        rejects.faults += [
            f"{p.name}: its name does not start with a split ({known})" for p, split in named if not split
        ]
        return [(path, split) for path, split in named if split]


class BeirLayout(Spec):
    """A data set of three configs: documents, queries and judgements (the layout of mteb's retrieval sets)."""

    kind: Literal["beir"] = "beir"
    corpus: str = "corpus"
    queries: str = "queries"
    qrels: str = "default"
    class_field: str | None = None  # of corpus and queries


class PairLayout(Spec):
    """A data set whose rows are pairs."""

    kind: Literal["pairs"] = "pairs"
    config: str | None = None
    columns: Columns = Columns()


AnyLayout = Annotated[BeirLayout | PairLayout, Field(discriminator="kind")]


class HubDataset(Source):
    """A data set of the Hugging Face hub at one commit, or (`path`) a folder that holds one's files."""

    kind: Literal["hub"] = "hub"
    name: str | None = None
    revision: Commit | None = None
    path: LocalPath | None = None
    layout: AnyLayout = BeirLayout()
    splits: dict[str, Literal["train", "dev", "test"]] = Field(default_factory=dict)  # theirs -> ours; {}: by name

    @model_validator(mode="after")
    def _pinned(self) -> "HubDataset":
        if (self.name is None) == (self.path is None):
            raise ValueError(
                "expected either `name` and `revision` (a hub data set) or `path` (a folder with its files)"
            )
        if self.name is not None:
            check_commit(self.revision)
        return self

    def read(self, tables: Tables, rejects: Rejects, work: Path, progress: Progress) -> None:
        """Config by config, split by split."""
        layout = self.layout
        if isinstance(layout, PairLayout):
            for split, rows in self._known_splits(layout.config, rejects, work):
                read_pair_rows(tables, split, rows, layout.columns, rejects)
            return
        for config, reader in ((layout.corpus, read_documents), (layout.queries, read_queries)):
            for _, rows in self._config(config, work).items():
                with progress(f"reading {config}", None) as advance:
                    reader(tables, _counted(rows, advance), rejects, layout.class_field)
        rejects.faults += _no_class(tables, layout.class_field, rejects)
        for split, rows in self._known_splits(layout.qrels, rejects, work):
            read_judgements(tables, split, rows, rejects)

    @property
    def place(self) -> str:
        """The data set's name, or its folder."""
        return str(self.name or self.path)

    def locate(self, problem: str) -> str:
        """Places are rows of a config's split."""
        return f"{self.place}: {problem}"

    @property
    def scored(self) -> bool:
        """Whether a column has scores."""
        return isinstance(self.layout, PairLayout) and self.layout.columns.score is not None

    def _config(self, config: str | None, work: Path) -> Mapping[str, Iterator[Row]]:
        from embedkit.data.hub_datasets import read_config

        return read_config(str(self.path or self.name), self.revision if self.name else None, config, work)

    def _known_splits(self, config: str | None, rejects: Rejects, work: Path) -> Iterator[tuple[str, Iterator[Row]]]:
        found = self._config(config, work)
        wanted = self.splits or {name: SPLIT_NAMES.get(name, "") for name in found}
        for name, split in wanted.items():
            if split and name in found:
                yield split, found[name]
            elif split:
                rejects.faults.append(f"has no split {name!r}; it has {', '.join(found)}{did_you_mean(name, found)}")
            else:
                known = ", ".join(SPLIT_NAMES)
                rejects.faults.append(f"split {name!r} is none of {known}; say which splits to read with `splits`")


AnySource = Annotated[BeirFolder | PairFiles | HubDataset, Field(discriminator="kind")]


def _table(folder: Path, name: str, suffix: str) -> Path | None:
    """The table's file: the usual one, or Parquet."""
    return next((p for s in (suffix, ".parquet") if (p := folder / f"{name}{s}").is_file()), None)


def _no_class(tables: Tables, class_field: str | None, rejects: Rejects) -> list[str]:
    if class_field is None or tables.document_classes or tables.query_classes or rejects.rows or rejects.faults:
        return []
    return [f"corpus and queries: no row has a {class_field!r}, which `class_field` says is the class of a text"]


def _counted(rows: Iterator[Row], advance: Any) -> Iterator[Row]:
    for row in rows:
        advance(1)
        yield row
