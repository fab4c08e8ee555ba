"""What each source of a `train` stage gives to its batches, and when it is its turn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from embedkit.core.errors import DataError
from embedkit.core.stage import Artifact, Context
from embedkit.retrieval.encoder import open_encoder
from embedkit.training.collator import Feed
from embedkit.training.examples import open_examples
from embedkit.training.guides import guide_vectors
from embedkit.training.mixing import Turns
from embedkit.training.prompts import prompts_of
from embedkit.training.samplers import Batches, mixed

if TYPE_CHECKING:
    from embedkit.training.stage import Train
    from embedkit.training.topics import Orders


def orders_of(spec: "Train", inputs: Mapping[str, Artifact], context: Context) -> "Orders | None":
    """Makes the orders of rows that depend on the weights; None where no source has such."""
    if all(source.batches.kind == "random" for source in spec.all_sources):
        return None
    from embedkit.training.topics import Orders

    start = spec.model if spec.part is None or spec.part.after is None else spec.part.after
    return Orders(inputs[start].path, context)


def open_feeds(
    spec: "Train", inputs: Mapping[str, Artifact], context: Context, orders: "Orders | None"
) -> tuple[list[Feed], Turns]:
    """One feed for each of `spec.all_sources`, and the turns they take."""
    sources = spec.all_sources
    made = [
        open_examples(inputs[source.pairs].path, context.work / f"texts-{number}", needs=source.row_needs)
        for number, source in enumerate(sources)
    ]
    shares = spec.mixing.parts(sources, [len(examples.rows) for examples in made])
    turns = Turns(shares, steps=_steps(spec, inputs, len(made[0].rows), shares[0]), seed=spec.seed)
    guide = None if spec.guide is None else open_encoder(inputs[spec.guide].path, context)
    feeds = []
    for number, (source, examples) in enumerate(zip(sources, made, strict=True)):
        seed = mixed(spec.seed, number) if number else spec.seed
        size, steps = source.batch_size or spec.batch_size, turns.counts[number]
        prompts = prompts_of(
            inputs[spec.model].path, query=source.query_prompt, document=source.document_prompt, called=spec.model
        )
        order = None
        if orders is not None:
            order = orders.of(number, source.batches, examples, prompts, batch_size=size, steps=steps, seed=seed)
        batches = Batches(examples, batch_size=size, steps=steps, seed=seed, order=order)
        vectors = None
        if "guide" in source.loss.needs:
            if guide is None:
                raise DataError(f"loss {source.loss.kind} needs a guide: the name of a model stage")
            vectors = guide_vectors(guide, examples)
        feeds.append(Feed(examples, batches, source.picks, prompts, source.loss.needs, vectors))
    return feeds, turns


def make_first(feeds: Sequence[Feed], turns: Turns, begin: int) -> None:
    """Make the batches that each source begins with, so that it is the weights of the start that order their rows."""
    first: dict[int, int] = {}
    for step in range(begin, len(turns)):
        number, place = turns[step]
        if first.setdefault(number, place) == place:
            feeds[number].batches[place]
        if len(first) == len(feeds):
            break


def _steps(spec: "Train", inputs: Mapping[str, Artifact], rows: int, share: float) -> int:
    """Steps of the whole training, of which the stage may be a part: those that its first part counted."""
    if spec.part is None or spec.part.after is None:
        return spec.steps_of(rows, share)
    from embedkit.training.continuation import steps_in

    return steps_in(inputs[spec.part.after].path)
