"""InfoNCE blended with graded targets from a teacher."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor
from torch.nn.functional import pad

from embedkit.core.errors import DataError
from embedkit.losses.base import Loss, Need
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import negatives
from embedkit.losses.infonce import InfoNCE
from embedkit.losses.listwise import ABSENT, Divergence, Normalization, Targets, divergence, graded, teacher_logits
from embedkit.losses.ragged import Ragged


class SoftLabelInfoNCE(Loss):
    """A teacher's grades of a list of documents as the target, with hard InfoNCE as an anchor. [R]

        L = (1 − α) · InfoNCE + α · 1/B Σ_i D(P_i, Q_i),   Q_ij = e^{q_i·d_j / τ} / Σ_k e^{q_i·d_k / τ}

    D is the `divergence` of the student's Q from the `targets` P, made of teacher scores t after their `normalization`
    over the list:

        cross_entropy    D = −Σ_j P_ij log Q_ij
        forward_kl       D = KL(P‖Q)
        reverse_kl       D = KL(Q‖P)
        symmetric_kl     D = ½ KL(P‖Q) + ½ KL(Q‖P)
        js               D = ½ KL(P‖M) + ½ KL(Q‖M), M = ½ P + ½ Q
        softmax          P_ij = e^{t_ij / τ_t} / Σ_k e^{t_ik / τ_t}
        linear           P_ij = t_ij / Σ_k t_ik   [R]
        min_max          t = (t − min) / (max − min)
        z_score          t = (t − mean) / standard deviation

    j and k run over the query's list: its own positives and negatives, with their teacher scores t and, with
    `in_batch_targets`, all other documents of the batch that the teacher has scored for it. With `in_batch_negatives`
    [R] k also runs over every other negative of the batch, whose target is 0. What is or may be relevant to a query
    is in its list if the teacher has scored it, else nowhere. τ is `temperature`, τ_t `teacher_temperature`, α
    `alpha`; no gradient goes through the targets. Normalised scores that spread no wider than 1e-6 are equal targets.
    cross_entropy and forward_kl have one gradient, but the latter is 0 where student and teacher agree; js is at most
    ln 2. With `hard_negatives: false` the hard term sees the batch without mined negatives: a false negative among
    them then meets nothing there, and in the list the teacher's judgement of it.
    Reference: [R] this project's blend: soft targets as in https://arxiv.org/abs/1503.02531, over candidate lists;
    symmetric_kl: https://arxiv.org/abs/2510.13515 (UniME-V2, which calls it JS); min_max:
    https://arxiv.org/abs/2411.04403, section 3.2.
    """

    kind: Literal["soft_label_infonce"] = "soft_label_infonce"
    tiled: ClassVar[bool] = True
    hard: InfoNCE = InfoNCE()
    hard_negatives: bool = True  # whether mined negatives count in the hard term too
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: PositiveFloat = 0.05
    teacher_temperature: PositiveFloat = 0.1  # of softmax targets
    divergence: Divergence = "cross_entropy"
    targets: Targets = "softmax"
    normalization: Normalization = "none"
    in_batch_targets: bool = False
    in_batch_negatives: bool = False

    @model_validator(mode="after")
    def _stays_finite(self) -> "SoftLabelInfoNCE":
        if self.targets == "linear" and self.normalization == "z_score":
            raise ValueError("linear targets need scores of 0 or more, and z-scores are on both sides of 0")
        if self._punishes_zeros and self.in_batch_negatives:
            raise ValueError(f"{self.divergence} is infinite where a target is 0, as in_batch_negatives makes them")
        if self._punishes_zeros and self.targets == "linear" and self.normalization == "min_max":
            raise ValueError(f"{self.divergence} is infinite where a target is 0, as linear after min_max makes them")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        """See `Loss`."""
        more: frozenset[Need] = frozenset({"taught"} if self.in_batch_targets else ())
        return self.hard.needs | more | {"targets", "negatives"}

    @property
    def contrasts(self) -> bool:
        """See `Loss`."""
        return self.alpha < 1 or self.in_batch_negatives

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        if self.alpha == 1:
            return self._soft(batch)
        hard = self.hard(batch if self.hard_negatives else batch.without_negatives())
        return (1 - self.alpha) * hard + self.alpha * self._soft(batch)

    def _soft(self, batch: Batch) -> Tensor:
        listed, scores = graded(batch, in_batch=self.in_batch_targets)
        columns, present = listed.padded()  # (B, L)
        documents = batch.pick(columns.flatten()).view(*columns.shape, -1)  # (B, L, D)
        logits = torch.einsum("bd,bld->bl", batch.local_queries, documents) / self.temperature
        student = logits.masked_fill(~present, ABSENT)
        teacher = self._teacher(scores.padded()[0].to(student.dtype), present)
        if self.in_batch_negatives:
            # Documents of target 0 are one document to every divergence that allows them: their probabilities add.
            student = torch.cat([student, self._rest(batch, listed)[:, None]], dim=1)
            teacher = pad(teacher, (0, 1), value=ABSENT)
        return divergence(teacher, student, of=self.divergence).mean()

    def _teacher(self, scores: Tensor, present: Tensor) -> Tensor:
        if self._punishes_zeros and self.targets == "linear" and bool((present & (scores == 0)).any()):
            raise DataError(f"batch: {self.divergence} is infinite where a linear target is 0; use js or forward_kl")
        return teacher_logits(
            scores,
            present,
            targets=self.targets,
            temperature=self.teacher_temperature,
            normalization=self.normalization,
        )

    def _rest(self, batch: Batch, listed: Ragged) -> Tensor:
        """(B,) log Σ e^logit over the negatives of the batch that are not in a query's list."""
        block = negatives(batch)
        out = torch.cat([block.out[0], listed.rows]), torch.cat([block.out[1], listed.values])
        return replace(block, out=out).log_sum_exp(self.temperature).clamp(min=ABSENT)

    @property
    def _punishes_zeros(self) -> bool:
        return self.divergence in ("reverse_kl", "symmetric_kl")
