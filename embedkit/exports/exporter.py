"""Writes a pairs folder as one file of a format, and what stands beside it. Memory holds a few hundred queries."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.core.errors import ArtifactError, DataError, RecipeError
from embedkit.core.pair_files import check_folder, pair_batches
from embedkit.core.progress import Progress, silent
from embedkit.core.store import check_outside
from embedkit.exports.choice import widths
from embedkit.exports.examples import Examples
from embedkit.exports.files import writing
from embedkit.exports.format import Format


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    format: Format  # with the number of negatives that was settled on
    files: Mapping[str, Path]  # `train`, and `queries` and `documents` where rows have ids
    rows: int
    queries: int
    left_out: Mapping[str, int]  # reason -> how many
    fills: int  # exported negatives that no search found
    keeps_all: int | None = None  # with so many negatives no query that has any would have been left out

    def summary(self) -> list[str]:
        """Lines for people."""
        lines = [f"{self.rows:,} rows of {self.queries:,} queries, {self.format.kind}"]
        lines += [f"left out: {count:,} {reason}" for reason, count in self.left_out.items()]
        if self.keeps_all is not None:
            lines.append(f"{self.keeps_all} negatives a query would leave out no query that has any")
        if self.fills:
            lines.append(f"{self.fills:,} of the negatives were found by no search: a fill policy put them there")
        return lines


def export(folder: Path, to: Path, *, format: Format, force: bool = False, progress: Progress = silent) -> Exported:
    """Write the pairs in `folder` to the file `to`, as Parquet, Arrow or JSON lines by its suffix.

    `folder` is a pairs or dataset artifact, or any folder with pairs.parquet, corpus.parquet and queries.parquet as
    `embedkit.core.records` lays them out. Where the format writes ids, tables of the queries and documents that are
    named go beside: `<to>-queries` and `<to>-documents`. Every negative is one of its query's; queries with too few
    give no row and are counted. The same folder and format give the same bytes. While it runs, a folder beside `to`
    holds a memory-mapped copy of corpus and queries.

    Raises `DataError` if the folder is not such, there is nothing to write or a file is there already (`force` writes
    it anew), `RecipeError` if the format cannot be written to such a file.
    """
    check_folder(folder, "pairs are")
    files = target_files(folder, to, format, force=force)
    settled, keeps_all = _settle(folder, format)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as work:
        return _write(folder, settled, files, Path(work), keeps_all, progress)


def target_files(folder: Path, to: Path, form: Format, *, force: bool) -> dict[str, Path]:
    """What an export of `folder` to the file `to` writes: `train`, and the tables beside it. Raises as `export` does
    where it cannot be written there."""
    if to.suffix not in form.suffixes:
        raise RecipeError(f"{to}: {form.kind} is written to files that end in {' or '.join(form.suffixes)}")
    check_outside(to, folder)
    beside = {name: to.with_name(f"{to.stem}-{name}{to.suffix}") for name in form.tables()}
    files = {"train": to, **beside}
    for path in files.values():
        if path.is_dir():
            raise DataError(f"{path}: is a folder; name a file that ends in {' or '.join(form.suffixes)}")
        if path.exists() and not force:
            raise DataError(f"{path}: is there already; --force writes it anew")
    return files


def _settle(folder: Path, form: Format) -> tuple[Format, int | None]:
    """The format with the number of its negatives, and the number that would keep every query that has any."""
    if not form.rectangular or form.negatives is not None:
        return form, None
    found: Counter[int] = Counter()
    for pairs in pair_batches(folder):
        found.update(widths(pairs, form))
    some = [count for count in found if count]
    if not some:
        raise DataError(f"{folder}: no query has a negative; mine them first")
    return form.model_copy(update={"negatives": max(some)}), min(some) if len(some) > 1 else None


def _write(
    folder: Path, form: Format, files: Mapping[str, Path], work: Path, keeps_all: int | None, progress: Progress
) -> Exported:
    examples, schema = Examples(folder, form, work), form.layout()
    rows = queries = 0
    with progress("exporting", _count(folder)) as advance, writing(files["train"], schema, work) as put:
        for group in examples.groups(advance):
            made = [row for example in group for row in form.rows(example)]
            put(made)
            rows, queries = rows + len(made), queries + len(group)
        if not rows:
            reasons = ", ".join(f"{count} {reason}" for reason, count in examples.counts.items())
            raise DataError(f"{folder}: there is nothing to export as {form.kind} ({reasons or 'it has no pairs'})")
        for name, columns in form.tables().items():  # inside: the rows appear when their texts are there
            _write_table(examples, name, columns, files[name], work)
    fills = examples.counts.pop("fills", 0)
    return Exported(form, files, rows, queries, +examples.counts, fills, keeps_all)


def _write_table(examples: Examples, name: str, columns: tuple[str, str], path: Path, work: Path) -> None:
    names = (*columns, "metadata") if examples.form.metadata else columns
    with writing(path, pa.schema([(column, pa.string()) for column in names]), work) as put:
        for rows in examples.table(name):
            put(rows)


def _count(folder: Path) -> int:
    try:
        return int(pq.read_metadata(folder / "pairs.parquet").num_rows)
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{folder / 'pairs.parquet'}: cannot be read ({error})") from None
