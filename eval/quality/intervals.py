"""Which bootstrap interval to trust: how often each holds the truth, on real differences between real systems.

    python -m eval.quality.intervals --data DIR [--queries 8000] [--trials 2000]

DIR holds tldr_pages, a BEIR folder with some 25,000 judged queries. BM25 at three settings ranks them; the per-query
differences in nDCG@10 of two settings are taken for the whole population, whose mean is then known. Samples of n
queries are drawn from it, each interval is made from the sample alone, and counted where it holds that mean; where it
does not, the mean is above or below it. Of the same samples, moved so that nothing differs in truth, the share of tests
that see a difference at 5 %. Writes results/intervals.json and .md beside this file.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import bm25s
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from embedkit.core.text import document_text
from embedkit.evaluation.trec import read_qrels
from embedkit.measures.bootstrap import bootstrap_means
from embedkit.measures.randomization import randomize_means
from embedkit.measures.ranking import per_query
from eval.recording import save

Floats = NDArray[np.float64]
SETTINGS: Final = {"usual": (1.2, 0.75), "flat": (0.9, 0.4), "far": (3.0, 0.0)}  # k1, b
PAIRS: Final = (("flat", "usual"), ("far", "usual"))
SIZES: Final = (20, 50, 150, 500)
SAMPLES: Final = 1000
TAILS: Final = np.array([0.025, 0.975])


def main() -> None:
    """Rank, resample, count, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=8000)
    parser.add_argument("--trials", type=int, default=2000)
    arguments = parser.parse_args()
    values = ranked(arguments.data / "tldr_pages", arguments.queries)
    studies = {}
    for ours, theirs in PAIRS:
        population = values[ours] - values[theirs]
        studies[f"{ours} - {theirs}"] = {
            "mean": float(population.mean()),
            "zeros": float((population == 0).mean()),
            "skewness": float(((population - population.mean()) ** 3).mean() / population.std() ** 3),
            "sizes": {str(n): study(population, n, arguments.trials) for n in SIZES},
        }
    path = save("eval.quality.intervals", "intervals", {"queries": arguments.queries, "studies": studies})
    path.with_suffix(".md").write_text(markdown(studies, arguments.trials), encoding="utf-8")


def ranked(folder: Path, most: int) -> dict[str, Floats]:
    """nDCG@10 of `most` queries, by setting."""
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").open(encoding="utf-8")]
    texts = {row["_id"]: row["text"] for row in map(json.loads, (folder / "queries.jsonl").open(encoding="utf-8"))}
    qrels = {
        q: docs
        for split in ("train", "dev", "test")
        for q, docs in read_qrels(folder / "qrels" / f"{split}.tsv").items()
    }
    queries = np.random.default_rng(0).permutation(sorted(qrels))[:most].tolist()
    tokens = bm25s.tokenize([document_text(row["title"], row["text"]) for row in corpus], show_progress=False)
    asked = bm25s.tokenize([texts[query] for query in queries], show_progress=False)
    found = {}
    for name, (k1, b) in SETTINGS.items():
        engine = bm25s.BM25(k1=k1, b=b)
        engine.index(tokens, show_progress=False)
        rows, scores = engine.retrieve(asked, k=20, show_progress=False)
        run = {
            query: {corpus[row]["_id"]: float(score) for row, score in zip(*pair, strict=True) if score > 0}
            for query, pair in zip(queries, zip(rows, scores, strict=True), strict=True)
        }
        metrics = per_query(run, {query: qrels[query] for query in queries}, ["ndcg@10"])
        found[name] = np.array([metrics[query]["ndcg@10"] for query in queries])
    return found


def study(population: Floats, n: int, trials: int) -> dict[str, Any]:
    """Of each interval, the share of samples in which it holds the mean, has it below, has it above; of each test, the
    share in which it sees a difference that is not there."""
    mean, rng = float(population.mean()), np.random.default_rng(n)
    inside: dict[str, list[tuple[bool, bool, bool]]] = {}
    seen: dict[str, list[bool]] = {"bootstrap": [], "randomization": []}
    for _ in range(trials):
        sample = rng.choice(population, n, replace=False)
        for name, (low, high) in intervals(sample, rng).items():
            inside.setdefault(name, []).append((low <= mean <= high, mean < low, mean > high))
        null = sample - mean
        seen["bootstrap"].append(bootstrap_means(null, samples=SAMPLES, rng=rng).p <= 0.05)
        seen["randomization"].append(randomize_means(null, samples=SAMPLES, rng=rng).p <= 0.05)
    names = ("covered", "below", "above")
    shares = {name: dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True)) for name, rows in inside.items()}
    return {"intervals": shares, "false_alarms": {name: float(np.mean(rows)) for name, rows in seen.items()}}


def intervals(sample: Floats, rng: np.random.Generator) -> Mapping[str, tuple[float, float]]:
    """95 % intervals of a sample's mean, of four kinds."""
    n, mean = len(sample), sample.mean()
    drawn = sample[rng.integers(0, n, (SAMPLES, n))]
    means, moved = drawn.mean(axis=1), sample - mean
    bias = ndtri(np.clip(((means < mean).mean() + (means <= mean).mean()) / 2, 1 / SAMPLES, 1 - 1 / SAMPLES))
    spread = (moved**2).sum() ** 1.5
    z = bias + ndtri(TAILS)
    tails = ndtr(bias + z / (1 - (moved**3).sum() / (6 * spread) * z)) if spread else TAILS
    error, errors = sample.std(ddof=1) / np.sqrt(n), drawn.std(axis=1, ddof=1) / np.sqrt(n)
    t = (means - mean)[errors > 0] / errors[errors > 0]
    students = mean - np.quantile(t, TAILS[::-1]) * error if t.size else np.array([mean, mean])
    ends = {"percentile": np.quantile(means, TAILS), "bca": np.quantile(means, tails), "bootstrap_t": students}
    found = {name: (float(low), float(high)) for name, (low, high) in ends.items()}
    return found | {"expanded": bootstrap_means(sample, samples=SAMPLES, rng=rng).interval(0.95)}


def markdown(studies: Mapping[str, Any], trials: int) -> str:
    """A row for every pair of settings and sample size."""
    kinds = {"percentile": "percentile", "bca": "BCa", "bootstrap_t": "bootstrap-t", "expanded": "expanded percentile"}
    lines = [
        f"Shares of {trials:,} samples in which the 95 % interval holds the mean (and has it below or above, which "
        "should be 2.5 % each); false alarms at 5 % of the two tests.",
        "",
        f"| systems | queries | {' | '.join(kinds.values())} | bootstrap | randomisation |",
        "|---|---|" + "---|" * (len(kinds) + 2),
    ]
    for name, found in studies.items():
        for n, one in found["sizes"].items():
            cells = [one["intervals"][kind] for kind in kinds]
            shown = [f"{100 * c['covered']:.1f} ({100 * c['below']:.1f}, {100 * c['above']:.1f})" for c in cells]
            alarms = [f"{100 * share:.1f}" for share in one["false_alarms"].values()]
            lines.append(f"| {name} | {n} | {' | '.join([*shown, *alarms])} |")
    facts = [
        f"{n}: {100 * f['zeros']:.0f} % of the differences are 0, skewness {f['skewness']:.1f}"
        for n, f in studies.items()
    ]
    return "\n".join([*lines, "", "; ".join(facts) + ".", ""])


if __name__ == "__main__":
    main()
