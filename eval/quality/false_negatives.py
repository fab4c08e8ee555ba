"""How many false negatives each filter lets through, against how hard the negatives are that it leaves.

    python -m eval.quality.false_negatives --data DIR [--sets NAME:SPLIT ...] [--hidings 10] [--negatives 4]

DIR holds BEIR folders of sets with several known positives a query. Half of each query's positives are hidden, the
queries are mined with the others, and hidden positives among the negatives are counted: once for each of `--hidings`
draws. all-MiniLM-L6-v2 finds 100 candidates a query, and a rule's first `--negatives` are taken. A filter that drops
more makes negatives easier too, so rules are held against each other at equal hardness (the mean score, and the mean
rank, of the negatives that are not hidden positives), on the queries for which both give all negatives.

The default's threshold was set on the first set: the highest, in quarters, that leaves at most half of the hidden
positives that sentence-transformers' relative margin of 0.05 leaves. The other sets were no part of that. Writes
results/false_negatives.json, .md and .png beside this file.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from embedkit.mining.filters import Filter, MarginToPositive, PercentOfPositive
from eval.quality.hidden import Collection, Trial
from eval.quality.hidden_parity import agreement
from eval.quality.hidden_plot import plot
from eval.quality.hidden_rules import DEFAULT, OURS, PEERS, SHIFT
from eval.quality.hidden_table import markdown
from eval.quality.survivors import Hardness, Outcome, apply, compare, minus
from eval.recording import ROOT, save

SETS: Final = ("climate_fever:dev", "climate_fever:test", "cranfield:test", "cisi:test", "medquad_liveqa:test")
TOP_K: Final = 100
FEWEST: Final = 0.3  # of all queries: settings that leave fewer are in no common set of queries
REFERENCE: Final = ("relative_margin", 0.05)  # what the default is held against


def main() -> None:
    """Mine, count, print and write."""
    args = _arguments()
    sets: dict[str, Any] = {}
    parity: dict[str, float] = {}
    for name in args.sets:
        folder, split = name.split(":")
        collection = Collection.open(args.data / folder, args.store.resolve(), args.out)
        trials = [collection.trial(split, seed=seed, top_k=TOP_K) for seed in range(args.hidings)]
        parity = parity or _parity(trials[0], args.negatives)
        sets[name] = Sample(trials, args.negatives).figures()
        Console(highlight=False).print(f"{name}: {sets[name]['queries']} queries")
    figures = {"negatives": args.negatives, "hidings": args.hidings, "top_k": TOP_K}
    figures |= {"default": DEFAULT.model_dump(mode="json"), "parity": parity, "sets": sets}
    path = save("eval.quality.false_negatives", "false_negatives", figures, table=markdown)
    plot(figures, path.with_suffix(".png"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="NAME:SPLIT")
    parser.add_argument("--hidings", type=int, default=10)
    parser.add_argument("--negatives", type=int, default=4)
    parser.add_argument("--store", type=Path, default=ROOT / ".embedkit")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "quality-false-negatives", help="the run folder")
    return parser.parse_args()


def _parity(trial: Trial, count: int) -> dict[str, float]:
    """By argument of sentence-transformers' function: the share of queries for which it chooses the same."""
    rules: list[tuple[str, float, Filter]] = [
        ("relative_margin", 0.05, PercentOfPositive(ratio=0.95)),
        ("relative_margin", 0.2, PercentOfPositive(ratio=0.8)),
        ("absolute_margin", 0.05, MarginToPositive(margin=0.05)),
    ]
    return {f"{name} {value:g}": agreement(trial, (rule,), {name: value}, count=count) for name, value, rule in rules}


@dataclass(frozen=True)
class Sample:
    """All hidings of one set, one after the other, and what every rule makes of them."""

    trials: Sequence[Trial]
    count: int

    @cached_property
    def queries(self) -> list[str]:
        """(Q,) ids; each is there once a trial."""
        return [query for trial in self.trials for query in trial.candidates.query_ids]

    @cached_property
    def hidden(self) -> NDArray[np.int64]:
        """(Q,) how many positives are hidden."""
        return np.concatenate([trial.counts for trial in self.trials])

    @cached_property
    def peers(self) -> Mapping[tuple[str, float], Outcome]:
        """By family and setting."""
        return {
            (name, setting): apply(self.trials, filters, self.count)
            for name, family in PEERS.items()
            for setting, filters in family.settings.items()
        }

    @cached_property
    def curves(self) -> Mapping[str, Sequence[Outcome]]:
        """By family, a point a setting."""
        families = {**OURS, "rank_shift": SHIFT}
        return {
            name: [apply(self.trials, filters, self.count) for filters in family.settings.values()]
            for name, family in families.items()
        }

    def figures(self) -> dict[str, Any]:
        """All of it."""
        nothing, default = apply(self.trials, (), self.count), apply(self.trials, (DEFAULT,), self.count)
        everyone = np.ones(len(self.queries), dtype=np.bool_)
        return {
            "queries": len(set(self.queries)),
            "hidden": float(self.hidden.mean()),
            "unfiltered": nothing.figures(everyone, self.hidden),
            "default": {"full": float(default.full.mean()), **default.figures(default.full, self.hidden)},
            "peers": [self._peer(*key, default) for key in self.peers],
            "ablation": self._ablation(),
            "common": self._common(),
        }

    def _peer(self, name: str, setting: float, default: Outcome) -> dict[str, Any]:
        """One setting of sentence-transformers, and what embedkit leaves on the same queries."""
        rule = self.peers[name, setting]
        found: dict[str, Any] = {"rule": name, "setting": setting, "full": float(rule.full.mean())}
        if not rule.full.any():
            return found
        both = rule.full & default.full
        return {
            **found,
            **rule.figures(rule.full, self.hidden),
            **{f"equal_{of}": self._held(rule, "agreement", of) for of in get_args(Hardness)},
            "default": default.figures(both, self.hidden)
            | minus(default.survivors / self.count, rule.survivors / self.count, self.queries, both),
        }

    def _held(self, rule: Outcome, curve: str, of: Hardness) -> dict[str, Any] | None:
        return compare(rule, self.curves[curve], self.queries, count=self.count, of=of)

    def _ablation(self) -> dict[str, Any]:
        """What other signals, and a rank shift, leave at the hardness of the reference."""
        rule = self.peers[REFERENCE]
        return {name: {of: self._held(rule, name, of) for of in get_args(Hardness)} for name in self.curves}

    def _common(self) -> dict[str, Any]:
        """Curves on the same queries: those that all settings leave but the ones that would leave too few."""
        kept = np.ones(len(self.queries), dtype=np.bool_)
        peers = {}
        for key in sorted(self.peers, key=lambda key: -self.peers[key].full.mean()):
            if (kept & self.peers[key].full).mean() >= FEWEST:
                kept &= self.peers[key].full
                peers[key] = self.peers[key]
        families = {name: [point for key, point in peers.items() if key[0] == name] for name in PEERS}
        families |= {
            name: [point for point in self.curves[name] if point.full[kept].all()]
            for name in ("agreement", "rank_shift")
        }
        default = apply(self.trials, (DEFAULT,), self.count)
        lines = {name: [point.figures(kept, self.hidden) for point in points] for name, points in families.items()}
        return {"queries": float(kept.mean()), "default": default.figures(kept, self.hidden), "curves": lines}


if __name__ == "__main__":
    main()
