"""What training makes anew from the weights it has come to: made once, kept, the same after every interruption."""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from embedkit.core.errors import ArtifactError, StageError
from embedkit.core.progress import Emit, ignore
from embedkit.core.store import sha256, sync_folder, write_atomically
from embedkit.retrieval.batches import encode
from embedkit.retrieval.identity import Precision, VectorIdentity
from embedkit.training.distributed import from_main, gather, in_shards, is_main, rank, world_size

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Floats = NDArray[np.float32]
Embed = Callable[[Sequence[str], str | None], Floats]  # texts of queries, and what stands before them -> (n, D)

_SHARD: Final = 4096  # texts tokenised at a time
_SHARED: Final = 64  # texts for each process, at least, to share them


class Renewals:
    """Arrays by number, in a folder that outlives the process.

    An array is made when it is first asked for, and written and sealed before anybody sees it. So whatever was built
    on it, a batch or a checkpoint, finds the same array after an interruption, though the weights have gone on.
    """

    def __init__(self, folder: Path, *, emit: Emit = ignore) -> None:
        self.folder = folder
        self._emit = emit
        self._last: tuple[int, NDArray[Any]] | None = None

    def get(self, number: int, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of that number. With several processes, all must ask together; each calls `make`, the main one's
        array is kept."""
        if self._last is None or self._last[0] != number:
            if not from_main(lambda: self._sealed(number)):
                made = make()
                if is_main():
                    self._seal(number, made)
            self._last = number, from_main(lambda: np.load(self._path(number), allow_pickle=False))
        return self._last[1]

    def kept(self) -> dict[int, NDArray[Any]]:
        """What has been made, by number."""
        numbers = sorted(int(path.stem) for path in self.folder.glob("*.json"))
        return {number: np.load(self._path(number), allow_pickle=False) for number in numbers}

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npy"

    def _sealed(self, number: int) -> bool:
        """Whether it is there, and whole."""
        path = self._path(number)
        seal = path.with_suffix(".json")
        if not seal.exists():
            return False
        if not path.exists() or json.loads(seal.read_text(encoding="utf-8")) != {"sha256": sha256(path)}:
            raise ArtifactError(
                f"{path}: changed since it was made, and the weights it was made from are gone; delete "
                f"{self.folder.parent.parent} to train from the start"
            )
        return True

    def _seal(self, number: int, array: NDArray[Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(number)
        draft = path.with_suffix(".tmp")
        with draft.open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(self.folder)
        self._emit("renewal_written", {"number": number})
        write_atomically(path.with_suffix(".json"), json.dumps({"sha256": sha256(path)}))
        self._emit("renewal_saved", {"number": number})


class Weights:
    """The weights of the moment, as what embeds queries: those of the start until training has its model."""

    def __init__(self, start: Embed) -> None:
        self._embed = start

    def follow(self, model: "SentenceTransformer", precision: Precision) -> None:
        """From now on, embed with `model`, which is being trained."""

        def embedded(texts: Sequence[str], prompt: str | None) -> Floats:
            by_model = partial(embed, model, prompt=prompt, precision=precision)
            return by_model(texts) if in_shards(model) else _shared(by_model, texts)  # shards compute in step

        self._embed = embedded

    def queries(self, texts: Sequence[str], prompt: str | None) -> Floats:
        """(n, D) vectors of unit length. With several processes, all must ask together for the same texts."""
        vectors = self._embed(texts, prompt)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(norms).all():
            raise StageError("training: the model gives vectors that are not finite; lower learning_rate")
        return np.ascontiguousarray(vectors / np.maximum(norms, 1e-30), dtype=np.float32)


def embed(
    model: "SentenceTransformer", texts: Sequence[str], *, prompt: str | None, precision: Precision = "float32"
) -> Floats:
    """(n, D) vectors of queries by a model in the middle of its training, which does not notice: modes of its modules,
    tokenizer and random generators are as before."""
    from embedkit.training.isolation import evaluating, randomness_restored, tokenizer_restored

    identity = VectorIdentity(
        model="",  # nothing is stored
        task="query",
        prompt=prompt or "",
        max_length=None,
        precision=precision,
        backend="torch",
        truncate_dim=model.truncate_dim,
        normalize=False,
    )
    shards = [texts[first : first + _SHARD] for first in range(0, len(texts), _SHARD)]
    with randomness_restored(), tokenizer_restored(model), evaluating(model):
        return np.concatenate(list(encode(model, shards, identity, workers=0)))


def _shared(embed: Callable[[Sequence[str]], Floats], texts: Sequence[str]) -> Floats:
    """What `embed` gives; the processes share the texts between them where there are enough."""
    if world_size() == 1 or len(texts) < _SHARED * world_size():
        return embed(texts)
    bounds = np.linspace(0, len(texts), world_size() + 1).astype(int)
    mine = embed(texts[bounds[rank()] : bounds[rank() + 1]])
    return np.asarray(gather({"vectors": torch.from_numpy(mine)})["vectors"].rows.numpy(), dtype=np.float32)
