"""From what a recipe says of optimisation to the arguments of the sentence-transformers trainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Router

from embedkit.training.options import Training
from embedkit.training.sharding import sharding_arguments
from embedkit.training.trackers import PROJECT, named


def training_arguments(
    spec: Training,
    model: SentenceTransformer,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    batch_sampler: Any,
    prompts: Mapping[str, str] | None = None,
    rates: Mapping[str, float] | None = None,
    name: str = "",
) -> SentenceTransformerTrainingArguments:
    """Checkpoints go below `folder`; `batch_size` counts rows of the trainer's data set; `rates` are learning rates by
    patterns of names, see `rates.learning_rates`; `name` is what trackers show."""
    schedule = spec.schedule.chosen(steps, spec.rising(steps))
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        batch_sampler=batch_sampler,
        prompts=dict(prompts) if prompts else None,
        router_mapping=_routes(model, prompts),
        learning_rate=spec.learning_rate,
        learning_rate_mapping=dict(rates or {}),
        lr_scheduler_type=schedule.name,
        lr_scheduler_kwargs=schedule.arguments,
        warmup_steps=schedule.warmup_steps,
        **spec.optimizer.arguments(),
        weight_decay=spec.weight_decay,
        max_grad_norm=spec.max_grad_norm,
        bf16=spec.precision == "bf16",
        seed=spec.seed,
        use_cache=bool(getattr(model.config, "use_cache", False)),  # else the trainer changes the saved configuration
        use_cpu=spec.device == "cpu" or not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        dataloader_drop_last=True,
        ddp_broadcast_buffers=False,  # a collective at every forward, and processes may have other numbers of chunks
        logging_strategy="no",  # it waits for the device; see `stepping`
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=spec.save_steps(steps),
        report_to=named(spec.trackers),
        run_name=name or spec.kind,
        project=PROJECT,
        disable_tqdm=True,
        **sharding_arguments(spec.sharding, model),
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # one process, one device: data-parallel threads would split the batch
    return arguments


def _routes(model: SentenceTransformer, columns: Mapping[str, str] | None) -> dict[str, str] | None:
    """Which tower each column of texts goes to; None for a model that has none. A collator that says so itself needs
    no columns, but the trainer wants to see some."""
    if not isinstance(model[0], Router):
        return None
    return {name: "query" if name == "query" else "document" for name in columns or ("query", "document")}
