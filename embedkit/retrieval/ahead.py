"""The next shards are tokenised while the model computes this one."""

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from torch.utils.data import DataLoader, Dataset

from embedkit.retrieval.identity import VectorIdentity
from embedkit.retrieval.tokens import Tokens, tokenise

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_GPU_WORKERS: Final = 4  # at most, where nobody says how many
_AHEAD: Final = 2  # shards a worker has in hand

Item = TypeVar("Item")


def tokenised_ahead(
    model: "SentenceTransformer", shards: Iterable[Sequence[str]], identity: VectorIdentity, *, workers: int | None
) -> Iterator[Tokens]:
    """The tokens of each shard, the next ones made meanwhile, by a thread (`workers` 0) or by processes.

    A tokenizer's thread lets the model's go on while it splits texts, but not while it makes lists of what it found.
    Beside a CPU, which takes a hundred times as long for a shard, that is nothing; a GPU would wait for it. None: a
    thread on a CPU, processes on a GPU. Processes are forked, so where the system cannot, it is a thread.
    """
    if workers is None:
        workers = 0 if model.device.type == "cpu" else min(_GPU_WORKERS, (os.cpu_count() or 1) // 2)
    if not workers or "fork" not in multiprocessing.get_all_start_methods():
        return one_ahead(tokenise(model, texts, identity) for texts in shards)
    loader: DataLoader[Tokens] = DataLoader(
        _Tokeniser(model, identity),
        sampler=shards,  # a sampler's "indices" are whatever the data set takes
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=_AHEAD,
        multiprocessing_context="fork",  # a model that is on a GPU cannot be sent to a fresh process; nor need it be
        worker_init_fn=_begin_worker,
    )
    return iter(loader)


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; the next is made in a thread while this one is used."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, source, end)
            yield item  # type: ignore[misc]


class _Tokeniser(Dataset[Tokens]):
    """Texts -> tokens, for a `DataLoader`."""

    def __init__(self, model: "SentenceTransformer", identity: VectorIdentity) -> None:
        self._model, self._identity = model, identity

    def __getitem__(self, texts: Sequence[str]) -> Tokens:
        return tokenise(self._model, texts, self._identity)


def _as_it_is(item: Any) -> Any:
    return item


def _begin_worker(number: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # of this process: threads do not survive a fork
