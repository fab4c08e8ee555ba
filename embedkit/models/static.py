"""Static embeddings: a vector for every token, and of a text their mean. No attention, and hundreds of times faster."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat

from embedkit.core.progress import Progress
from embedkit.core.spec import Spec


class RandomVectors(Spec):
    """Normally distributed vectors, for training from nothing."""

    kind: Literal["random"] = "random"
    seed: NonNegativeInt = 0

    def make(self, model: Any, dimensions: int, progress: Progress) -> Any:
        """(V, dimensions) tensor."""
        import torch

        size = model[0].tokenizer.backend_tokenizer.get_vocab_size()
        return torch.randn(size, dimensions, generator=torch.Generator().manual_seed(self.seed))


class DistilledVectors(Spec):
    """What a model says of each token alone, its principal components, frequent tokens weighed less, as model2vec does
    it (Tulkens and van Dongen, 2024, https://github.com/MinishLab/model2vec)."""

    kind: Literal["distilled"] = "distilled"
    sif: PositiveFloat | None = 1e-4  # a of the weights a / (a + p); null: all tokens weigh the same

    def make(self, model: Any, dimensions: int, progress: Progress) -> Any:
        """(V, dimensions) tensor."""
        import torch

        from embedkit.models.distillation import reduced, token_vectors, zipf_weights

        model.float()  # language models are mostly stored in bfloat16, and would compute in it
        vectors = reduced(token_vectors(model, progress), dimensions)
        if self.sif is not None:
            vectors = vectors * zipf_weights(len(vectors), self.sif)[:, None]
        return torch.from_numpy(vectors)


AnyVectors = Annotated[RandomVectors | DistilledVectors, Field(discriminator="kind")]


def static_model(model: Any, vectors: Any) -> Any:
    """The sentence-transformers model of these (V, D) token vectors, with the tokenizer of `model`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = model[0].tokenizer.backend_tokenizer
    tokenizer.no_truncation()  # a static embedding reads all of a text
    modules: list[Any] = [StaticEmbedding(tokenizer, embedding_weights=vectors.contiguous()), Normalize()]
    return SentenceTransformer(modules=modules, device="cpu", prompts=dict(model.prompts), similarity_fn_name="cosine")
