"""The joint objective of GRPO and supervised training: ``sole rlvr --model NAME --sft-weight``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sole.train.vlm_collate import IGNORED, Collator

#: Supervised examples are of other draws than the questions of a step, as nano's are.
APART = 1_000_033


def joint_trainer(base: type, collator: Collator, weight: float) -> type:
    """A GRPO trainer whose loss is ``L_RLVR + weight * L_SFT``.

    Each optimiser step takes as many supervised examples as replies, and cuts them in the same
    parts. Which they are depends on the step alone; every token of them has the same weight.

    Args:
        base: TRL's GRPOTrainer, or a class made of it.
        collator: Of the supervised examples.
        weight: Above 0.
    """

    class Trainer(base):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, **rest: Any
        ) -> Tensor:
            """Add this part's supervised loss."""
            loss = super().compute_loss(model, inputs, return_outputs, **rest)
            part = self._step % self.args.gradient_accumulation_steps
            if not part:
                self._supervised, self._n_tokens = self._collate_step()
            with self.accelerator.autocast():
                said = summed_loss(model, self._prepare_input(self._supervised[part]))
            # Processes' gradients are averaged, so each counts for all of them.
            said = said * self.accelerator.num_processes / self._n_tokens
            self._metrics["train"]["sft_loss"].append(self._of_all(said.detach()))
            return loss + weight * said

        def _collate_step(self) -> tuple[list[dict[str, Tensor]], Tensor]:
            """This process's parts of the step, and the learned tokens of all processes' parts."""
            n_parts, n_rows = self.args.gradient_accumulation_steps, self.args.train_batch_size
            n, rank = self.accelerator.num_processes, self.accelerator.process_index
            begin = self.state.global_step * n_parts * n
            firsts = [(begin + part * n + rank) * n_rows for part in range(n_parts)]
            parts = [collator([{"index": first + k} for k in range(n_rows)]) for first in firsts]
            own = torch.stack([(part["labels"] != IGNORED).sum() for part in parts]).sum()
            return parts, self.accelerator.gather(own.to(self.accelerator.device)).sum()

        def _of_all(self, share: Tensor) -> float:
            """The whole loss, where the mean of the parts is logged and each has a share."""
            mean = self.accelerator.gather(share).mean()
            return float(mean) * self.args.gradient_accumulation_steps

    return Trainer


def summed_loss(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Sum of the negative log-probabilities of all labels.

    By the model's own numbers: TRL's head divides them by the temperature that replies are drawn
    at. Only from the first label on, because a vocabulary's numbers of a whole prompt are large.

    Args:
        model: Any image-text-to-text model.
        batch: Its inputs, padded on the right, with ``labels`` ``(N, T)``.
    """
    labels = batch["labels"]
    first = int((labels != IGNORED).any(dim=0).nonzero()[0])
    asked = {name: tensor for name, tensor in batch.items() if name != "labels"}
    kept = labels.shape[1] - first + 1
    numbers = model(**asked, logits_to_keep=kept, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        numbers.float().flatten(0, 1),
        labels[:, first:].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )
