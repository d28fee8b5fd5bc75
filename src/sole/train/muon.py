"""AdamW and Muon as one optimiser: Muon for hidden matrices, AdamW for everything else.

Muon (Jordan et al. 2024; :class:`torch.optim.Muon`) makes each update of a matrix nearly
orthogonal. Its authors leave embeddings, heads, biases and convolutions to AdamW, and so do we.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

_ADAM_BETAS = (0.9, 0.99)
#: Muon's rate against AdamW's: with updates scaled to AdamW's size it can bear about twice as much.
RATE_FACTOR = 2.0


class MuonWithAdamW:
    """Two optimisers that step, save and load as one.

    Args:
        matrices: Hidden weight matrices, for Muon.
        others: Groups of everything else, as :class:`torch.optim.AdamW` takes them; all groups have
            a ``factor`` on the learning rate.
        learning_rate: AdamW's; Muon's is :data:`RATE_FACTOR` times as large.
        weight_decay: Of both, decoupled.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Sequence[dict[str, Any]],
        learning_rate: float,
        weight_decay: float,
    ):
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.AdamW(
                others, lr=learning_rate, betas=_ADAM_BETAS, weight_decay=weight_decay
            ),
            torch.optim.Muon(
                [{"params": list(matrices), "factor": RATE_FACTOR}],
                lr=learning_rate,
                weight_decay=weight_decay,
                adjust_lr_fn="match_rms_adamw",
            ),
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Groups of both, AdamW's first; setting a rate here sets it there."""
        return [group for part in self._parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Update every parameter."""
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """State and groups of both, parameters numbered on from one to the other."""
        state: dict[int, Any] = {}
        groups: list[dict[str, Any]] = []
        offset = 0
        for part in self._parts:
            own = part.state_dict()
            state |= {index + offset: values for index, values in own["state"].items()}
            groups += [_moved(group, offset) for group in own["param_groups"]]
            offset += _n_parameters(part)
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave."""
        offset, first_group = 0, 0
        for part in self._parts:
            n, end = _n_parameters(part), first_group + len(part.param_groups)
            inside = {i - offset: v for i, v in saved["state"].items() if 0 <= i - offset < n}
            groups = [_moved(group, -offset) for group in saved["param_groups"][first_group:end]]
            part.load_state_dict({"state": inside, "param_groups": groups})
            offset, first_group = offset + n, end


def _n_parameters(part: torch.optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in part.param_groups)


def _moved(group: dict[str, Any], offset: int) -> dict[str, Any]:
    return {**group, "params": [index + offset for index in group["params"]]}
