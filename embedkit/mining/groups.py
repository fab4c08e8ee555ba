"""What a corpus says of which documents belong together."""

import json
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from embedkit.core.errors import DataError
from embedkit.core.records import Corpus
from embedkit.core.spec import Spec
from embedkit.mining.filters import NONE, Rows


def _valid_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


class ByMetadata(Spec):
    """Documents with the same value of a metadata key: a page's address, a book's number. Without it: no group."""

    kind: Literal["metadata"] = "metadata"
    key: str

    def names(self, corpus: Corpus) -> Iterator[str | None]:
        """The group of each document."""
        for text in corpus.metadata or ("",) * len(corpus):
            value: Any = json.loads(text).get(self.key) if text else None
            yield None if value is None or value == "" else json.dumps(value, sort_keys=True)


class ById(Spec):
    """Documents whose ids are the same up to a separator: of "page-7#3" that is "page-7"."""

    kind: Literal["id"] = "id"
    separator: Annotated[str, Field(min_length=1)] = "#"

    def names(self, corpus: Corpus) -> Iterator[str | None]:
        """The group of each document."""
        return (doc_id.split(self.separator, 1)[0] for doc_id in corpus.ids)


class ByPattern(Spec):
    """Documents whose ids match a regular expression in the same way: by its first group, or all of it if it has none.

    It is searched anywhere in the id; an id without a match, or of an empty one, has no group.
    """

    kind: Literal["pattern"] = "pattern"
    pattern: Annotated[str, AfterValidator(_valid_pattern)]

    def names(self, corpus: Corpus) -> Iterator[str | None]:
        """The group of each document."""
        compiled = re.compile(self.pattern)
        number = min(compiled.groups, 1)
        return (match[number] or None if (match := compiled.search(doc_id)) else None for doc_id in corpus.ids)


AnyGrouping = Annotated[ByMetadata | ById | ByPattern, Field(discriminator="kind")]


def number_groups(grouping: ByMetadata | ById | ByPattern, corpus: Corpus) -> Rows:
    """(N,) the number of each document's group; -1 for none. Raises `DataError` if no document has one."""
    names = grouping.names(corpus)
    digests = np.fromiter((0 if name is None else _digest(name) for name in names), dtype=np.uint64)
    if not digests.any():
        how = ", ".join(f"{name}: {value}" for name, value in grouping.model_dump().items())
        raise DataError(f"groups: no document of the corpus has a group by {{{how}}}")
    numbers = np.unique(digests, return_inverse=True)[1].astype(np.int64)
    return np.where(digests == 0, NONE, numbers)


def _digest(name: str) -> int:
    found = int.from_bytes(blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "little")
    return found or 1  # 0 is no group
