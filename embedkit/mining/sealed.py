"""What a stage makes block by block: tables in its work folder, complete or absent, so that it can be interrupted."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from embedkit.core.store import sha256, write_atomically


@dataclass(frozen=True)
class Sealed:
    """The tables of one block, by name, and facts of it. The seal has the digests of the files and is written last:
    without it there is no block."""

    files: Mapping[str, Path]
    seal: Path

    @staticmethod
    def of(block: range, work: Path, names: Sequence[str]) -> "Sealed":
        """Where this block's tables are or will be."""
        place = f"{block.start:09d}-{block.stop:09d}"
        return Sealed({name: work / f"{name}-{place}.parquet" for name in names}, work / f"part-{place}.json")

    def facts(self) -> Mapping[str, Any] | None:
        """Those it was published with; None unless it was written to its end and is what was written."""
        try:
            found = json.loads(self.seal.read_text(encoding="utf-8"))
            return dict(found["facts"]) if found["files"] == self._digests() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def publish(self, tables: Mapping[str, pa.Table], facts: Mapping[str, JsonValue] | None = None) -> None:
        """Write the tables so that a later run finds all of them or nothing."""
        self.seal.unlink(missing_ok=True)
        for name, path in self.files.items():
            with path.open("wb") as file:
                pq.write_table(tables[name], file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
        write_atomically(self.seal, json.dumps({"files": self._digests(), "facts": dict(facts or {})}))

    def _digests(self) -> dict[str, str]:
        return {path.name: sha256(path) for path in self.files.values()}
