"""Where a dataset comes from: a BEIR folder, tables, files of pairs, a data set of the hub at a pinned commit."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from embedkit.core.errors import DataError, did_you_mean
from embedkit.core.estimate import Size
from embedkit.core.progress import Progress
from embedkit.core.spec import LocalPath, Spec
from embedkit.data.assemble import Tables, read_documents, read_judgements, read_queries
from embedkit.data.commit import Commit, check_commit
from embedkit.data.pair_rows import SPLIT_NAMES, Columns, read_pair_rows
from embedkit.data.rows import Rejects, Row, rows_of
from embedkit.data.sizes import mean_tokens, rows_in
from embedkit.data.source import Source, counted, no_class
from embedkit.data.table_files import BeirFolder, TableFiles

__all__ = ["AnySource", "BeirFolder", "HubDataset", "PairFiles", "TableFiles"]


class PairFiles(Source):
    """A file of pairs, or a folder of them named by split (train.jsonl, dev.jsonl, test-00.parquet ...).

    A row has a query, one or more relevant documents, and perhaps documents known to be irrelevant.
    """

    kind: Literal["jsonl", "parquet", "arrow"]
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
                rows = counted(rows_of(path, path.name, rejects), advance)
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
        suffixes = (".arrow", ".feather") if self.kind == "arrow" else (f".{self.kind}",)
        if not self.path.is_dir():
            if self.path.suffix in suffixes and self.path.is_file():
                return [(self.path, "train")]
            found = "is not one" if self.path.is_file() else "does not exist"
            rejects.faults.append(f"{self.path.name}: {found}; expected a {suffixes[0]} file, or a folder of them")
            return []
        paths = sorted(path for path in self.path.iterdir() if path.suffix in suffixes)
        files = [(path, re.match(r"[a-z]*", path.name)) for path in paths]
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
                    reader(tables, counted(rows, advance), rejects, layout.class_field)
        rejects.faults += no_class(tables, layout.class_field, rejects)
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


AnySource = Annotated[BeirFolder | TableFiles | PairFiles | HubDataset, Field(discriminator="kind")]
