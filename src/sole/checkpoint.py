"""Tensors of optimisers to safetensors and back: resumable training without pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


class Optimizer(Protocol):
    """What of an optimiser is needed to write it and to put it back."""

    def state_dict(self) -> dict[str, Any]:
        """State by parameter number, and groups."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Take over what :meth:`state_dict` gave."""
        ...


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write named tensors (copied, so that shared storage is no error)."""
    save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, path)


def save_optimizer(path: Path, optimizer: Optimizer) -> None:
    """Write an optimiser as ``path`` (tensors) and ``path``.json (settings)."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state["state"].items()
        for name, value in values.items()
    }
    save_tensors(path, tensors)
    path.with_suffix(".json").write_text(json.dumps(state["param_groups"]))


def load_optimizer(path: Path, optimizer: Optimizer) -> None:
    """Put back what :func:`save_optimizer` wrote."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(path).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = json.loads(path.with_suffix(".json").read_text())
    optimizer.load_state_dict({"state": state, "param_groups": groups})
