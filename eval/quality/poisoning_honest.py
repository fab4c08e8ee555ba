"""How often the audit finds something where nothing was planted, and how often its detector is wrong about English."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from embedkit.core.dataset import Dataset
from embedkit.core.pairs import Pairs, pairs_of
from embedkit.core.progress import silent
from embedkit.evaluation.poisoning import CorpusAudit, audit_training, error_counts, inject, verdict
from embedkit.evaluation.poisoning.injection import KINDS
from embedkit.evaluation.poisoning.oddness import Oddness, oddness
from embedkit.evaluation.poisoning.probe import Encoder, Probe, look
from eval.quality.poisoning_attack import LIGHT, Target, open_set
from eval.quality.poisoning_models import Remembered, Static

DOCUMENTS: Final = 1000  # of a corpus that is drawn
PAIRS: Final = 1000
QUERIES: Final = 200
SAMPLES: Final = 300
LINES: Final = 2000  # of each plain text
OTHERS: Final = ("scifact", "climate_fever")
PLAIN: Final = ("wikitext2_valid.txt", "wikitext2_test.txt", "wiki_sents_clinc.txt", "nltk_state_union.txt")


def audit_of(
    dataset: Dataset, probe: Probe, encoder: Encoder, odd: Oddness, *, k: int, samples: int, seed: int = 0
) -> CorpusAudit:
    """What `audit_corpus` gives, of queries and oddness that are there already."""
    found = look(probe, dataset, encoder, k=k, progress=silent)
    return CorpusAudit(dataset.corpus.ids, dataset.corpus.full_texts(), probe, found, odd, samples, seed)


def false_alarms(
    data: Path, target: Target, draws: int, levels: Sequence[float], *, steps: int, store: Path, out: Path
) -> list[dict[str, Any]]:
    """For corpora and training sets drawn from honest ones: how often the audit finds something, at each level."""
    static = Static(target.model)
    models: dict[str, Encoder] = {
        "MiniLM": target.models[None],
        "MiniLM fine-tuned": target.models[0.0],
        "static": static,
    }
    models["static trained"] = Static(target.model).train(target.pairs, steps=steps, seed=0)
    full = target.corpus({})
    rows = [_corpora(f"scitldr, {name}", full, model, draws, levels) for name, model in models.items()]
    rows.append(_trainings("scitldr", target.pairs, draws, levels))
    for name in OTHERS:
        if (data / name).is_dir():
            dataset, encoder = open_set(data / name, store, out)
            rows.append(_corpora(f"{name}, MiniLM", dataset, encoder, draws, levels))
            train = pairs_of(dataset.qrels["train"])
            rows.append(_trainings(name, Pairs(dataset.corpus, dataset.queries, train), draws, levels))
    return rows


def _corpora(name: str, full: Dataset, encoder: Encoder, draws: int, levels: Sequence[float]) -> dict[str, Any]:
    """Corpora of some documents each, drawn without replacement, and queries of their own."""
    remembered = Remembered(encoder, full.corpus.full_texts())
    found, below = list[dict[str, Any]](), list[list[float]]()
    for seed in range(draws):
        rows = np.sort(np.random.default_rng(seed).permutation(len(full.corpus))[:DOCUMENTS])
        dataset = Dataset(full.corpus.take(rows), full.queries, full.qrels)
        probe = Probe.draw(dataset, queries=QUERIES, rate=LIGHT.query, seed=seed)
        audit = audit_of(
            dataset, probe, remembered, oddness(dataset.corpus.full_texts()), k=10, samples=SAMPLES, seed=seed
        )
        found.append(verdict(audit, None, false_alarms=levels[0]))
        below.append([float((audit.scores <= rate).mean()) for rate in (0.01, 0.05)])
    return _told("corpus", name, found, levels) | {
        "documents": len(rows),
        "below": {"0.01": float(np.mean(below, axis=0)[0]), "0.05": float(np.mean(below, axis=0)[1])},
    }


def _trainings(name: str, pairs: Pairs, draws: int, levels: Sequence[float]) -> dict[str, Any]:
    found = []
    for seed in range(draws):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(pairs.rows))[:PAIRS]).tolist()
        some = Pairs(pairs.corpus, pairs.queries, [pairs.rows[row] for row in chosen])
        found.append(verdict(None, audit_training(some, samples=SAMPLES, seed=seed), false_alarms=levels[0]))
    return _told("training", name, found, levels) | {"pairs": len(chosen)}


def _told(what: str, name: str, found: Sequence[Mapping[str, Any]], levels: Sequence[float]) -> dict[str, Any]:
    """Shares of draws with a corrected p-value at or below each level, and for each test alone with its own."""
    smallest = [min(test["adjusted"] for test in each["tests"]) for each in found]
    alone = {test["test"]: [each["tests"][i]["p"] for each in found] for i, test in enumerate(found[0]["tests"])}
    return {
        "what": what,
        "set": name,
        "draws": len(found),
        "found": {f"{level:g}": float(np.mean(np.array(smallest) <= level)) for level in levels},
        "tests": {
            test: {f"{level:g}": float(np.mean(np.array(p) <= level)) for level in levels}
            | {"median": float(np.median(p))}
            for test, p in alone.items()
        },
    }


def detector(data: Path) -> list[dict[str, Any]]:
    """By plain text: errors that rules find in 1,000 words as they are, and what share of injected ones they find."""
    return [_tried(path) for name in PLAIN if (path := data / "text" / name).is_file()]


def _tried(path: Path) -> dict[str, Any]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 60][:LINES]
    errors, words = error_counts(lines)
    kinds = {}
    for kind in KINDS:
        perturbed = [inject(line, rate=LIGHT.document, seed=0, kinds=(kind,), fewest=0) for line in lines]
        made = sum(len(each.edits) for each in perturbed)
        kinds[kind] = float(error_counts(each.text for each in perturbed)[0].sum() - errors.sum()) / max(made, 1)
    return {
        "text": path.name,
        "words": int(words.sum()),
        "per_1000_words": 1000 * float(errors.sum()) / int(words.sum()),
        "found": kinds,
    }
