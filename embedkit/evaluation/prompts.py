"""The prompts of a task must be those that the model was made for."""

from collections.abc import Mapping

from embedkit.core.errors import ModelError
from embedkit.evaluation.tasks.base import Role
from embedkit.retrieval.identity import ModelConfig


def check_declared(prompts: Mapping[Role, str], config: ModelConfig, model: str) -> None:
    """Raise `ModelError` for a task's prompt that `model`, which declares prompts, does not have.

    A model that declares none for a role says nothing about it, as most models of the hub: then a task may.
    """
    declared = [text for text in config.named_prompts.values() if text]
    for role, text in prompts.items():
        own = config.prompts[role]
        if own and text != own and text not in declared:
            raise ModelError(
                f"prompts.{role}: the task puts {text!r} before its texts, but {model!r} was made with {own!r}; leave "
                "the task's prompt out, declare it where the model comes from (`prompts: {named: ...}`) before it is "
                "trained, or set `undeclared_prompts: true` to see what happens"
            )
