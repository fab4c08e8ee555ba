"""Tables in the layout of a hub repository: Parquet files, and a card that says of what config and split each is.

Parquet, because its types are stated: `datasets` guesses those of JSON and CSV, and takes the id "007" for a number
and the text "2020-01-01" for a time.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

_GROUP: Final = 8192  # rows of a row group, and so the most that are in memory


class HubLayout:
    """Writes tables into `folder`, one at a time, and a digest of their content as it goes by.

    The digest is of configs, splits, column names and values: the same for the same rows by any version of any
    library, whatever file format they were read from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._configs: dict[str, list[dict[str, str]]] = {}
        self._hash = sha256()

    def write(self, config: str, split: str, schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> int:
        """Write one split of one config, a value a column of the schema in every row; says how many rows there were."""
        path = self._folder / config / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._note([config, split, schema.names])
        count = 0
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for group in _groups(iter(rows)):
                for row in group:
                    self._note(row)
                columns = [pa.array(c, type=f.type) for c, f in zip(zip(*group, strict=True), schema, strict=True)]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
                count += len(group)
        place = path.relative_to(self._folder).as_posix()
        self._configs.setdefault(config, []).append({"split": split, "path": place})
        return count

    def finish(self, origin: str) -> str:
        """Write the card; the revision of what was written: its origin and the start of the digest."""
        configs = [{"config_name": name, "data_files": files} for name, files in self._configs.items()]
        card = yaml.safe_dump({"configs": configs}, sort_keys=False)
        (self._folder / "README.md").write_text(f"---\n{card}---\n", encoding="utf-8")
        return f"{origin}-{self._hash.hexdigest()[:16]}"

    def _note(self, values: Sequence[Any]) -> None:
        self._hash.update(json.dumps(list(values), separators=(",", ":")).encode() + b"\n")


def _groups(rows: Iterator[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    while group := list(islice(rows, _GROUP)):
        yield group
