"""CLIP of transformers: pictures and sentences as directions in one space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoProcessor, CLIPConfig, CLIPModel

from sole.errors import ConfigError
from sole.models.hf.loading import choose_device, explained, fetch_config, fingerprint

_WHEN_LOADING = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)
_MAX_BATCH = 32


class ClipEmbedder:
    """Embeds pictures and sentences; each by itself, so batches change nothing but rounding.

    Args:
        name: ``ORGANISATION/MODEL`` on Hugging Face, or a folder of ``save_pretrained``.
        revision: Branch, tag or commit on the hub.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        ConfigError: If there is no such model or device, or it is no CLIP.
        ModelError: If it cannot be downloaded or loaded.

    Attributes:
        version: Commit of the hub, or a fingerprint of the folder's weights.
    """

    def __init__(self, name: str, revision: str | None, device: str):
        where = choose_device(device)
        local = Path(name).is_dir()
        commit = None if local else fetch_config(name, revision).parent.name
        self._name = name
        with explained(name, _WHEN_LOADING):
            config = AutoConfig.from_pretrained(name, revision=commit or "main")
            if not isinstance(config, CLIPConfig):
                raise ConfigError(
                    f"model {name}: a {config.model_type}, but vlmrm needs a CLIP, such as "
                    "openai/clip-vit-base-patch32"
                )
            self._processor: Any = AutoProcessor.from_pretrained(name, revision=commit or "main")
            model: Any = CLIPModel.from_pretrained(
                name, config=config, revision=commit or "main", use_safetensors=True
            )
        self._model: Any = model.eval().to(where)
        text: Any = config.text_config
        self._most_tokens = text.max_position_embeddings
        self.version = commit[:10] if commit else fingerprint(Path(name))

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Embeddings ``(N, D)`` of uint8 RGB pictures, float64, each of length 1."""
        rows = []
        for start in range(0, len(pictures), _MAX_BATCH):
            images = [Image.fromarray(p) for p in pictures[start : start + _MAX_BATCH]]
            with explained(self._name):
                inputs = self._processor(images=images, return_tensors="pt").to(self._model.device)
                rows.append(_unit(self._model.get_image_features(**inputs)))
        return np.concatenate(rows)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings ``(N, D)`` of sentences, float64, each of length 1; long ones are cut."""
        with explained(self._name):
            inputs = self._processor(
                text=list(texts), return_tensors="pt", padding=True, truncation=True,
                max_length=self._most_tokens,
            ).to(self._model.device)  # fmt: skip
            return _unit(self._model.get_text_features(**inputs))


def _unit(found: Any) -> np.ndarray:
    rows: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return torch.nn.functional.normalize(rows.double(), dim=-1).cpu().numpy()
