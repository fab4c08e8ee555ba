"""What embedkit's pooling modules have in common: how they are saved and loaded."""

from typing import Any, Self

from sentence_transformers.base.modules import Module


class TrainedPooling(Module):
    """A pooling with weights: `config_keys` are its arguments. Its vectors have as many dimensions as tokens have."""

    embedding_dimension: int

    def get_embedding_dimension(self) -> int:
        """Dimensions of the vectors it makes."""
        return self.embedding_dimension

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write config.json and model.safetensors."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=True)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """The module saved in `subfolder` of a model."""
        where: Any = {
            "subfolder": subfolder,
            "token": token,
            "cache_folder": cache_folder,
            "revision": revision,
            "local_files_only": local_files_only,
        }
        module = cls(**cls.load_config(model_name_or_path, **where))
        cls.load_torch_weights(model_name_or_path, model=module, **where)
        return module
