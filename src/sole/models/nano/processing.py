"""Composite pictures and chat messages -> nano's tensors, as transformers' processors do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

from sole.models.nano.configuration import N_COLUMNS, N_ROWS
from sole.models.nano.tokenizer import IMAGE
from sole.protocol.composite import NANO, split_tiles

N_IMAGE_TOKENS = 18


class SoleNanoImageProcessor(BaseImageProcessor):
    """Cuts composite pictures (96 px tiles, 1 px separators) back into their tiles.

    A picture of two columns has no middle one (from-zero); a picture of one row has no wrist view.
    """

    model_input_names = ["pixel_values", "tile_mask"]

    def preprocess(self, images: Any, **kwargs: Any) -> BatchFeature:
        """Return ``pixel_values`` ``(B, 6, 3, 96, 96)`` uint8 and ``tile_mask`` ``(B, 6)``."""
        pictures = images if isinstance(images, list | tuple) else [images]
        cut = [self._cut(np.asarray(picture)) for picture in _flatten(pictures)]
        return BatchFeature(
            {
                "pixel_values": torch.from_numpy(np.stack([tiles for tiles, _ in cut])),
                "tile_mask": torch.from_numpy(np.stack([mask for _, mask in cut])),
            }
        )

    def __call__(self, images: Any, **kwargs: Any) -> BatchFeature:
        """Same as :meth:`preprocess`."""
        return self.preprocess(images, **kwargs)

    def _cut(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pitch = NANO.tile_px + NANO.separator_px
        n_rows, rows_left = divmod(picture.shape[0] + NANO.separator_px, pitch)
        n_columns, columns_left = divmod(picture.shape[1] + NANO.separator_px, pitch)
        if rows_left or columns_left or n_rows not in (1, 2) or n_columns not in (2, 3):
            raise ValueError(
                f"nano: expected a composite of 1-2 rows, 2-3 columns of {NANO.tile_px} px tiles, "
                f"got {picture.shape}"
            )
        tiles = np.zeros((N_ROWS, N_COLUMNS, 3, NANO.tile_px, NANO.tile_px), np.uint8)
        mask = np.zeros((N_ROWS, N_COLUMNS), bool)
        columns = [0, 1, 2] if n_columns == N_COLUMNS else [0, 2]
        found = split_tiles(picture, NANO, n_rows, n_columns)
        found = found.reshape(n_rows, n_columns, *found.shape[1:]).transpose(0, 1, 4, 2, 3)
        tiles[:n_rows, columns] = found
        mask[:n_rows, columns] = True
        return tiles.reshape(-1, *tiles.shape[2:]), mask.reshape(-1)


def _flatten(pictures: Sequence[Any]) -> list[Any]:
    return [p for item in pictures for p in (item if isinstance(item, list | tuple) else [item])]


class SoleNanoProcessor(ProcessorMixin):
    """Image processor and tokenizer of nano behind the usual call."""

    attributes = ["image_processor", "tokenizer"]
    image_processor_class = "SoleNanoImageProcessor"
    tokenizer_class = "PreTrainedTokenizerFast"

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, **kwargs: Any):
        super().__init__(image_processor, tokenizer, chat_template=tokenizer.chat_template)

    def __call__(self, images: Any = None, text: Any = None, **kwargs: Any) -> BatchFeature:
        """Expand each ``<image>`` to nano's picture tokens, tokenise, and cut the pictures."""
        texts = [text] if isinstance(text, str) else list(text)
        texts = [t.replace(IMAGE, IMAGE * N_IMAGE_TOKENS) for t in texts]
        kwargs.setdefault("return_tensors", "pt")
        kwargs.setdefault("padding", True)
        encoded = dict(self.tokenizer(texts, add_special_tokens=False, **kwargs))
        encoded.pop("token_type_ids", None)
        if images is not None:
            encoded.update(self.image_processor(images))
        return BatchFeature(encoded)
