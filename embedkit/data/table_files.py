"""Sources of three tables, corpus, queries and judgements: a BEIR folder, or a file each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from embedkit.core.estimate import Size
from embedkit.core.progress import Progress
from embedkit.core.records import SPLITS
from embedkit.core.spec import LocalPath
from embedkit.data.assemble import USUAL_COLUMNS, TableColumns, Tables, read_documents, read_judgements, read_queries
from embedkit.data.pair_rows import SPLIT_NAMES
from embedkit.data.rows import SUFFIXES, Rejects, rows_of
from embedkit.data.sizes import mean_tokens, queries_in, rows_in
from embedkit.data.source import Source, counted, no_class

_JUDGED: Final = (".tsv", *SUFFIXES)  # what judgements may be in


class BeirFolder(Source):
    """corpus.jsonl, queries.jsonl and qrels/{train,dev,test}.tsv, as BEIR has them; or Parquet or Arrow files so named.

    Reference: https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
    """

    kind: Literal["beir"] = "beir"
    path: LocalPath
    class_field: str | None = None  # of corpus and queries: what class a text is of, where it is of one

    def read(self, tables: Tables, rejects: Rejects, work: Path, progress: Progress) -> None:
        """Corpus and queries first; judgements only if both could be read."""
        for name, reader in (("corpus", read_documents), ("queries", read_queries)):
            if (path := find_table(self.path, name)) is None:
                rejects.faults.append(f"{name}.jsonl: no such file; a BEIR folder has corpus, queries and qrels")
                continue
            with progress(f"reading {path.name}", None) as advance:
                reader(tables, counted(rows_of(path, path.name, rejects), advance), rejects, self.class_field)
        rejects.faults += no_class(tables, self.class_field, rejects)
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
        corpus, queries = find_table(self.path, "corpus"), find_table(self.path, "queries")
        return _size(corpus, queries, self._splits(), USUAL_COLUMNS) if corpus and queries else Size()

    def _splits(self) -> dict[str, Path]:
        return splits_in(self.path / "qrels")


class TableFiles(Source):
    """A corpus, queries and judgements in a file each: JSON lines, Parquet or Arrow, judgements also BEIR's TSV."""

    kind: Literal["tables"] = "tables"
    corpus: LocalPath
    queries: LocalPath
    qrels: LocalPath | dict[Literal["train", "dev", "test"], LocalPath]  # one file judges queries of train
    columns: TableColumns = TableColumns()
    class_field: str | None = None  # of corpus and queries: what class a text is of, where it is of one

    def read(self, tables: Tables, rejects: Rejects, work: Path, progress: Progress) -> None:
        """Corpus and queries first; judgements only if both could be read."""
        for path, reader in ((self.corpus, read_documents), (self.queries, read_queries)):
            if _is_table(path, SUFFIXES, rejects):
                with progress(f"reading {path.name}", None) as advance:
                    rows = counted(rows_of(path, str(path), rejects), advance)
                    reader(tables, rows, rejects, self.class_field, self.columns)
        rejects.faults += no_class(tables, self.class_field, rejects)
        judged = [(split, path) for split, path in self._splits().items() if _is_table(path, _JUDGED, rejects)]
        for split, path in [] if rejects.faults else judged:
            read_judgements(tables, split, rows_of(path, str(path), rejects), rejects, self.columns)

    @property
    def place(self) -> str:
        """The corpus."""
        return str(self.corpus)

    def locate(self, problem: str) -> str:
        """Places are whole paths."""
        return problem

    def size(self) -> Size:
        """Rows counted, lengths sampled, train queries read from the judgements."""
        paths = {path: path.is_file() for path in (self.corpus, self.queries, *self._splits().values())}
        known = all(there and path.suffix in _JUDGED for path, there in paths.items())
        return _size(self.corpus, self.queries, self._splits(), self.columns) if known else Size()

    def _splits(self) -> dict[str, Path]:
        if isinstance(self.qrels, Path):
            return {"train": self.qrels}
        return {split: self.qrels[split] for split in SPLITS if split in self.qrels}


def find_table(folder: Path, name: str, suffixes: Sequence[str] = SUFFIXES) -> Path | None:
    """The table's file in the folder, by the first suffix there is one with."""
    return next((path for suffix in suffixes if (path := folder / f"{name}{suffix}").is_file()), None)


def splits_in(folder: Path) -> dict[str, Path]:
    """Files of judgements in a folder by split, train first; they may have other trainers' names of splits."""
    found = {split: path for alias, split in SPLIT_NAMES.items() if (path := find_table(folder, alias, _JUDGED))}
    return {split: found[split] for split in SPLITS if split in found}


def _is_table(path: Path, suffixes: Sequence[str], rejects: Rejects) -> bool:
    if path.is_file() and path.suffix in suffixes:
        return True
    found = "is not one" if path.exists() else "does not exist"
    rejects.faults.append(f"{path}: {found}; expected a file that ends in {', '.join(suffixes)}")
    return False


def _size(corpus: Path, queries: Path, splits: Mapping[str, Path], columns: TableColumns) -> Size:
    judged = {split: queries_in(path, columns) for split, path in splits.items()}
    return Size(
        documents=rows_in(corpus),
        queries=rows_in(queries),
        pairs=judged.get("train", 0),
        held_out={split: n for split, n in judged.items() if split != "train"},
        document_tokens=mean_tokens(corpus, (columns.title, columns.text)),
        query_tokens=mean_tokens(queries, (columns.query,)),
    )
