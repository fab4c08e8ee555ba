"""What is known of an artifact before it is made, and what making it will take."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Size:
    """The size of an artifact, as far as it is known; 0 where it is not."""

    documents: int = 0
    queries: int = 0  # all splits
    pairs: int = 0  # rows a training stage would see in one epoch
    held_out: dict[str, int] = field(default_factory=dict)  # split -> queries
    document_tokens: float = 0.0  # mean, before any length limit
    query_tokens: float = 0.0
    documents_per_pair: float = 1.0  # positives + negatives
    parameters: int = 0  # of the model, all
    active_parameters: int = 0  # of the model, without embedding tables: what a token's forward pass multiplies
    dimensions: int = 0
    max_tokens: int = 0  # the model's length limit


@dataclass(frozen=True)
class Estimate:
    """What a stage will take. `flops` counts multiply-adds twice; time is flops / this machine's speed + overhead."""

    rows: int = 0
    tokens: int = 0
    steps: int = 0
    flops: float = 0.0
    memory: int = 0  # bytes, peak, over the process before the stage
    overhead: float = 0.0  # seconds that do not scale with flops: imports, files, plots
    size: Size = field(default_factory=Size)  # of the artifact


def encode_flops(size: Size, *, texts: int, tokens: float) -> float:
    """Floating-point operations of one forward pass over `texts` of `tokens` each: 2 x parameters x tokens."""
    return 2.0 * size.active_parameters * texts * tokens


def encode_memory(size: Size, *, texts: int, batch_tokens: int = 16_384) -> int:
    """Bytes: weights, activations of one batch of about `batch_tokens` tokens, and the float32 vectors."""
    return 4 * size.parameters + 64 * batch_tokens * max(size.dimensions, 1) + 4 * texts * size.dimensions


def encode_all(data: Size, model: Size, *, queries: int) -> Estimate:
    """What encoding the corpus of `data` and so many of its queries takes."""
    limit = model.max_tokens or float("inf")
    document_tokens, query_tokens = min(data.document_tokens, limit), min(data.query_tokens, limit)
    return Estimate(
        rows=data.documents + queries,
        tokens=int(data.documents * document_tokens + queries * query_tokens),
        flops=encode_flops(model, texts=data.documents, tokens=document_tokens)
        + encode_flops(model, texts=queries, tokens=query_tokens),
        memory=encode_memory(model, texts=data.documents + queries),
    )
