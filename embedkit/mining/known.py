"""Which documents can be no query's negative, by what is already known. Pure.

Judgements are closed over equal texts: what is relevant to a query is relevant to every query of the same text, and
what has the text of a relevant document is as relevant as that. Texts are the same when `normalised` says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.core.text import normalised
from embedkit.mining.filters import Rows


@dataclass(frozen=True)
class Known:
    """Per query, corpus rows in ascending order; no row is in two of the lists of one query."""

    relevant: Sequence[Rows]  # judged relevant to the query, or to a query of the same text
    same_text: Sequence[Rows]  # not so judged, but of the same text as one that is
    same_as_query: Sequence[Rows]  # of the query's own text

    def reasons(self) -> Mapping[str, Sequence[Rows]]:
        """Why a document is excluded -> the documents of each query, in the order the reasons apply."""
        return {
            "known_positive": self.relevant,
            "duplicate_of_positive": self.same_text,
            "same_text_as_query": self.same_as_query,
        }

    def positives(self, query: int) -> Rows:
        """All rows that count as relevant to the query."""
        return np.concatenate([self.relevant[query], self.same_text[query]])

    def most(self) -> int:
        """The most documents any query excludes."""
        lists = zip(*self.reasons().values(), strict=True)
        return max((sum(len(rows) for rows in query) for query in lists), default=0)


def close(queries: Sequence[str], documents: Sequence[str], relevant: Sequence[Rows]) -> Known:
    """What is known for Q query texts and N document texts, given the rows judged relevant to each query."""
    texts = [normalised(text) for text in documents]
    of_text: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        of_text.setdefault(text, []).append(row)
    questions = [normalised(text) for text in queries]
    of_question: dict[str, set[int]] = {}
    for question, rows in zip(questions, relevant, strict=True):
        of_question.setdefault(question, set()).update(rows.tolist())
    judged = [of_question[question] for question in questions]
    same = [{other for row in rows for other in of_text[texts[row]]} - rows for rows in judged]
    asked = [set(of_text.get(q, ())) - rows - more for q, rows, more in zip(questions, judged, same, strict=True)]
    return Known(_sorted(judged), _sorted(same), _sorted(asked))


def _sorted(sets: Sequence[set[int]]) -> list[Rows]:
    return [np.array(sorted(rows), dtype=np.int64) for rows in sets]
