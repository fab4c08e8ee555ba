"""Everything the report shows, gathered before anything is drawn."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from embedkit.report import scoreboard
from embedkit.report.comparison import Bootstrap, Comparison, Evidence
from embedkit.report.lineage import Lineage, Node
from embedkit.report.scoreboard import Board, Headline, Question


@dataclass(frozen=True)
class Verdict:
    """One task: the headlines and the score table."""

    headlines: Sequence[Headline]  # none where the candidate has no score
    board: Board

    @property
    def metric(self) -> str:
        """The one that decides."""
        return self.board.metrics[0]


@dataclass(frozen=True)
class Line:
    """One row of the table of what ran: a stage, or all parts of one kind together."""

    node: Node
    name: str
    count: int
    seconds: float | None
    peak_memory: float | None


@dataclass(frozen=True)
class Contents:
    """What the report shows."""

    title: str
    question: Question
    how: Bootstrap
    names: Mapping[str, str]  # key -> what to call it
    verdicts: Sequence[Verdict]
    lineage: Lineage

    def peer_names(self) -> list[str]:
        """What the peers are called."""
        return [self.names[peer] for peer in self.question.peers]

    def summary(self) -> list[str]:
        """The headlines, one line each."""
        return [f"{v.board.task}: {h.title}: {h.figures} {h.meaning}" for v in self.verdicts for h in v.headlines]

    def intervals(self) -> int:
        """How many comparisons with the baseline the score tables make."""
        cells = (cell for v in self.verdicts for row in v.board.rows for cell in row.cells.values())
        return sum(
            c is not None and c.against_baseline is not None and c.against_baseline.interval is not None for c in cells
        )


def gather(title: str, lineage: Lineage, evidence: Evidence, question: Question, how: Bootstrap) -> Contents:
    """Compute every number of the report. Raises `StageError` if a model it is about was not evaluated."""
    keys = {*evidence.models()} | {question.baseline, question.candidate, *question.peers}
    names = {key: lineage.label(key) for key in keys | lineage.nodes.keys()}
    verdicts = [
        Verdict(
            headlines=scoreboard.headlines(evidence, task, question, names, how),
            board=scoreboard.board(evidence, task, question, how),
        )
        for task in scoreboard.check(evidence, question, names)
    ]
    return Contents(title, question, how, names, verdicts, lineage)


def lines(lineage: Lineage) -> list[Line]:
    """What ran, in order; parts of one kind on one line with their summed time and highest memory."""
    groups: dict[str, list[Node]] = {}
    for node in lineage:
        groups.setdefault(node.key if node.name else node.kind, []).append(node)
    return [
        Line(
            node=nodes[0],
            name=nodes[0].name,
            count=len(nodes),
            seconds=_known(sum, [node.made.get("seconds") for node in nodes]),
            peak_memory=_known(max, [node.made.get("peak_memory") for node in nodes]),
        )
        for nodes in groups.values()
    ]


def facts(contents: Contents) -> dict[str, Any]:
    """The report's numbers for machines. Times and machines are not among them: equal runs give equal bytes."""
    return {
        "title": contents.title,
        "metric": contents.question.metric,
        "baseline": contents.question.baseline,
        "candidate": contents.question.candidate,
        "peers": list(contents.question.peers),
        "bootstrap": asdict(contents.how),
        "names": {node.key: node.name for node in contents.lineage.stages()},
        "tasks": {verdict.board.task: _task(verdict) for verdict in contents.verdicts},
        "lineage": [
            {"key": n.key, "name": n.name, "kind": n.kind, "type": n.type, "inputs": dict(n.inputs), "stats": n.stats}
            for n in contents.lineage
        ],
    }


def _task(verdict: Verdict) -> dict[str, Any]:
    return {
        "metric": verdict.metric,
        "queries": verdict.board.queries,
        "units": verdict.board.units,
        "headlines": [_comparison(headline.comparison) for headline in verdict.headlines],
        "models": [
            {
                "model": row.model,
                "role": row.role,
                "metrics": {
                    metric: {
                        "value": cell.value,
                        "best": cell.best,
                        "against_baseline": _comparison(cell.against_baseline) if cell.against_baseline else None,
                    }
                    for metric, cell in row.cells.items()
                    if cell is not None
                },
            }
            for row in verdict.board.rows
        ],
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    return {**asdict(found), "difference": found.difference, "verdict": found.verdict}


def _known(combine: Any, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return combine(known) if known else None


def as_json(contents: Contents) -> str:
    """`facts` as the text of report.json."""
    return json.dumps(facts(contents), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
