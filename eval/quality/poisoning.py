"""Does the poisoning audit find an attack, and does it stay quiet where there is none?

    python -m eval.quality.poisoning --data DIR [--steps 50] [--seeds 3] [--queries 400] [--draws 20]

DIR holds the BEIR folder scitldr, and for false alarms also scifact and climate_fever; plain English texts in DIR/text
are what the error detector is tried on. Two victims are trained on training sets of which a share has grammar errors in
query and positive: all-MiniLM-L6-v2, fine-tuned with few errors a text, as the released attack has them (it poisons a
fifth of the pairs), and the mean of its token embeddings, with many, and with negatives that differ from positives in
errors alone: the strongest form that is quick to train. Then 0.1 to 1 % of the corpus is planted: documents with such
errors that nobody asked for. Counted: how often a query with errors, and the same without, finds a planted document
among its ten best; what each signal of the audit, and its score, find of the planted documents and pairs at 1 and 5 %
of false alarms; how often the audit as a whole finds something, with and without an attack.

Errors are put in by `embedkit.evaluation.poisoning.inject` on both sides, and the detector has the same lists: an
attacker with errors of other kinds is harder to see. Interrupted, the same command goes on. Writes
results/poisoning.json, .md and .png beside this file: figures, no texts.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from embedkit.core.dataset import Dataset
from embedkit.evaluation.poisoning import CorpusAudit, audit_training, inject, verdict
from embedkit.evaluation.poisoning.oddness import Oddness, oddness
from embedkit.evaluation.poisoning.probe import Encoder, Probe
from embedkit.measures.ranking import mean_scores, per_query
from embedkit.retrieval.exact import Exact
from eval.quality.poisoning_attack import HEAVY, LIGHT, Attack, Errors, Target, poisoned
from eval.quality.poisoning_curves import curves
from eval.quality.poisoning_honest import audit_of, detector, false_alarms
from eval.quality.poisoning_models import Remembered, Static
from eval.quality.poisoning_report import markdown, plot
from eval.recording import ROOT, save

PLANTED: Final = (0.001, 0.002, 0.005, 0.01)  # of the corpus, and of a training set that is audited
TUNED: Final = (0.0, 0.01, 0.2)  # poisoned shares of what MiniLM is fine-tuned on
STATIC: Final = (0.0, 0.001, 0.002, 0.005, 0.01, 0.2, 0.5)  # and of what its token embeddings are trained on
STATIC_STEPS: Final = 200
LEVELS: Final = (0.01, 0.05)  # false-alarm rates of the audit as a whole
SAMPLES: Final = 500
K: Final = 10
RATE: Final = 0.1  # errors a word of the audit's own queries: it does not know the attacker's


def main() -> None:
    """Train, plant, audit, print and write."""
    args = _arguments()
    console, store = Console(highlight=False), args.store.resolve()
    target = Target.make(args.data / "scitldr", TUNED, steps=args.steps, store=store, out=args.out)
    study = Study(target, args.seeds, args.queries)
    figures: dict[str, Any] = {"steps": args.steps, "static_steps": STATIC_STEPS, "k": K, "samples": SAMPLES}
    figures |= {"seeds": args.seeds, "queries": args.queries, "rate": RATE}
    figures |= {"documents": len(target.corpus({}).corpus), "pairs": len(target.pairs.rows)}
    figures["detector"] = detector(args.data)
    figures["victims"] = []
    for victim in study.victims():
        figures["victims"].append(study.victim(*victim))
        console.print(f"{figures['victims'][-1]['victim']}, {figures['victims'][-1]['poisoned']}")
    figures["training"] = [study.training(errors, share) for errors in (LIGHT, HEAVY) for share in (*PLANTED, 0.2)]
    figures["honest"] = false_alarms(
        args.data, target, args.draws, LEVELS, steps=STATIC_STEPS, store=store, out=args.out
    )
    path = save("eval.quality.poisoning", "poisoning", figures, table=markdown)
    plot(figures, path.with_suffix(".png"))
    console.print(path.with_suffix(".md").read_text(encoding="utf-8"), markup=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3, help="draws of what is planted")
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--draws", type=int, default=20, help="honest corpora and training sets of each kind")
    parser.add_argument("--store", type=Path, default=ROOT / ".embedkit")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "quality-poisoning", help="the run folder")
    return parser.parse_args()


@dataclass(frozen=True)
class Study:
    """Everything that is planted, and what the audit makes of it."""

    target: Target
    seeds: int
    queries: int

    def victims(self) -> Iterator[tuple[str, float | None, Errors, Encoder]]:
        """Name, poisoned share of the training set, the attacker's errors, and the model."""
        for share, encoder in self.target.models.items():
            yield "MiniLM", share, LIGHT, encoder
        yield "static", None, HEAVY, Static(self.target.model)
        for share in STATIC:
            pairs, _ = poisoned(self.target.pairs, Attack(share, HEAVY, hard=share > 0), 0)
            yield "static", share, HEAVY, Static(self.target.model).train(pairs, steps=STATIC_STEPS, seed=0)

    @cached_property
    def corpora(self) -> Mapping[tuple[Errors, float, int], tuple[Dataset, set[str], Oddness]]:
        """By errors, share and seed: the corpus, the ids of what was planted, and how odd the texts are."""
        found = {}
        for errors, share, seed in product((LIGHT, HEAVY), PLANTED, range(self.seeds)):
            planted = self.target.plant(share, errors, seed)
            dataset = self.target.corpus(planted)
            found[errors, share, seed] = dataset, set(planted), oddness(dataset.corpus.full_texts())
        return found

    @cached_property
    def probe(self) -> Probe:
        """The audit's queries."""
        return Probe.draw(self.target.corpus({}), queries=self.queries, rate=RATE, seed=0)

    def victim(self, name: str, share: float | None, errors: Errors, model: Encoder) -> dict[str, Any]:
        """What errors do to one model, by share of planted documents, and what the audit makes of it."""
        own = [found for (kind, *_), found in self.corpora.items() if kind == errors]
        encoder = Remembered(model, [text for dataset, _, _ in own for text in dataset.corpus.full_texts()])
        attacked = [
            inject(text, rate=errors.query, seed=99).text for text in self.probe.plain
        ]  # not the audit's errors
        lists = {"plain": encoder.queries(self.probe.plain), "errors": encoder.queries(attacked)}
        return {
            "victim": name,
            "poisoned": share,
            "errors": vars(errors),
            "ndcg@10": self._ndcg(encoder, own[0][0], lists["plain"]),
            "planted": [
                {
                    "share": planted,
                    **self._success(encoder, lists, errors, planted),
                    **self._detection(encoder, errors, planted),
                }
                for planted in PLANTED
            ],
        }

    def _ndcg(self, encoder: Remembered, dataset: Dataset, queries: NDArray[np.float32]) -> float:
        rows, scores = Exact().search(queries, encoder.stored("document", dataset.corpus.full_texts()), 10)
        ids = np.array(dataset.corpus.ids, dtype=object)
        run = {
            query: dict(zip(ids[row].tolist(), score.tolist(), strict=True))
            for query, row, score in zip(self.probe.ids, rows, scores, strict=True)
        }
        qrels = {query: dataset.qrels["test"][query] for query in self.probe.ids}
        return mean_scores(per_query(run, qrels, ["ndcg@10"]))["ndcg@10"]

    def _success(
        self, encoder: Remembered, lists: Mapping[str, NDArray[np.float32]], errors: Errors, share: float
    ) -> dict[str, float]:
        """Share of queries that find a planted document among the K best, mean over seeds."""
        found: dict[str, list[float]] = {name: [] for name in lists}
        for seed in range(self.seeds):
            dataset, planted, _ = self.corpora[errors, share, seed]
            documents = encoder.stored("document", dataset.corpus.full_texts())
            bad = np.array([doc in planted for doc in dataset.corpus.ids])
            for name, queries in lists.items():
                found[name].append(float(bad[Exact().search(queries, documents, K)[0]].any(axis=1).mean()))
        return {f"success_{name}": float(np.mean(values)) for name, values in found.items()}

    def _detection(self, encoder: Encoder, errors: Errors, share: float) -> dict[str, Any]:
        trials, p = [], []
        for seed in range(self.seeds):
            dataset, planted, odd = self.corpora[errors, share, seed]
            audit = audit_of(dataset, self.probe, encoder, odd, k=K, samples=SAMPLES)
            bad = np.array([doc in planted for doc in dataset.corpus.ids])
            trials.append((signals(audit), bad))
            p.append({level: verdict(audit, None, false_alarms=level)["found"] for level in LEVELS})
        return {
            "planted": int(trials[0][1].sum()),
            "signals": curves(trials),
            "found": {f"{level:g}": float(np.mean([found[level] for found in p])) for level in LEVELS},
        }

    def training(self, errors: Errors, share: float) -> dict[str, Any]:
        """What the audit finds of a poisoned training set."""
        trials, found = [], []
        for seed in range(self.seeds):
            pairs, chosen = poisoned(self.target.pairs, Attack(share, errors), seed)
            audit = audit_training(pairs, samples=SAMPLES, seed=seed)
            bad = np.array([query in chosen for query in audit.query_ids])
            first, second = audit.within
            trials.append(({"queries": -first, "positives": -second, "score": -audit.scores}, bad))
            found.append({level: verdict(None, audit, false_alarms=level)["found"] for level in LEVELS})
        return {
            "errors": vars(errors),
            "share": share,
            "planted": int(trials[0][1].sum()),
            "signals": curves(trials),
            "found": {f"{level:g}": float(np.mean([each[level] for each in found])) for level in LEVELS},
        }


def signals(audit: CorpusAudit) -> dict[str, NDArray[np.float64]]:
    """By name, higher is more suspicious."""
    return {
        "hubness": (audit.gains.won - audit.gains.lost).astype(np.float64),
        "errors": -audit.text_p,
        "pull": -audit.model_p,
        "score": -audit.scores,
    }


if __name__ == "__main__":
    main()
