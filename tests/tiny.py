"""What tests run on: a random two-layer BERT and a few hundred words of text, made on the spot."""

import json
import random
from pathlib import Path

WORDS = (
    "list show copy move find sort count print read write open close start stop create remove update merge split join "
    "file folder image video sound text page table user group key port host disk memory process service network log"
).split()


def build_tiny_model(folder: Path, *, seed: int = 0) -> Path:
    """A sentence-transformers model folder: BERT of 2 layers x 32, one token per word of `WORDS`, mean pooling."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    raw = folder / "transformer"
    raw.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *"abcdefghijklmnopqrstuvwxyz"]
    (raw / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(raw)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(raw)
    torch.set_rng_state(state)
    transformer = Transformer(str(raw), max_seq_length=32)
    model = SentenceTransformer(modules=[transformer, Pooling(32, pooling_mode="mean"), Normalize()], device="cpu")
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def build_tiny_beir(folder: Path, *, documents: int = 60, seed: int = 0) -> Path:
    """A BEIR folder. Document i has words of its own; its queries are three of them: learnable, not trivial."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "qrels").mkdir(exist_ok=True)
    corpus, queries, qrels = [], [], {"train": [], "dev": [], "test": []}
    for i in range(documents):
        words = rng.sample(WORDS, 8)
        corpus.append({"_id": f"d{i}", "title": words[0], "text": " ".join(words[1:] + rng.sample(WORDS, 4))})
        split = "test" if i % 5 == 0 else "dev" if i % 5 == 1 else "train"
        for j in range(2):
            queries.append({"_id": f"q{i}-{j}", "text": " ".join(rng.sample(words, 4))})
            qrels[split].append((f"q{i}-{j}", f"d{i}", 1))
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", queries)
    for split, rows in qrels.items():
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
