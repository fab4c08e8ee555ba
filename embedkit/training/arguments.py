"""From what a recipe says of optimisation to the arguments of the sentence-transformers trainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from embedkit.training.options import Training


def training_arguments(
    spec: Training,
    model: SentenceTransformer,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    batch_sampler: Any,
    prompts: Mapping[str, str] | None = None,
) -> SentenceTransformerTrainingArguments:
    """Checkpoints go below `folder`; `batch_size` counts rows of the trainer's data set."""
    schedule = "constant_with_warmup" if spec.schedule == "constant" else spec.schedule
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        batch_sampler=batch_sampler,
        prompts=dict(prompts) if prompts else None,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=spec.warmup_steps(steps),
        optim="adamw_torch",
        weight_decay=spec.weight_decay,
        max_grad_norm=spec.max_grad_norm,
        bf16=spec.precision == "bf16",
        seed=spec.seed,
        use_cache=bool(getattr(model.config, "use_cache", False)),  # else the trainer changes the saved configuration
        use_cpu=spec.device == "cpu" or not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        dataloader_drop_last=True,
        ddp_broadcast_buffers=False,  # a collective at every forward, and processes may have other numbers of chunks
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=spec.save_steps(steps),
        report_to=[],
        disable_tqdm=True,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # one process, one device: data-parallel threads would split the batch
    return arguments
