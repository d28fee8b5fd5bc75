"""A CLIP of a few thousand random numbers, made in code."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_vlm import TEMPLATE, make_tokenizer
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.clip.processing_clip import CLIPProcessor


def make_tiny_clip(folder: Path, seed: int = 0) -> Path:
    """Two layers each, pictures of 32 px in patches of 8, 24 tokens of text."""
    tokenizer = make_tokenizer(TEMPLATE)
    ids = {n: tokenizer.convert_tokens_to_ids(t)
           for n, t in {"pad_token_id": "<|endoftext|>", "bos_token_id": "<|im_start|>",
                        "eos_token_id": "<|im_end|>"}.items()}  # fmt: skip
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
              "num_attention_heads": 2}  # fmt: skip
    config = CLIPConfig(
        text_config={
            **shared, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 24,
        },
        vision_config={**shared, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = CLIPModel(config)
    pictures = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    model.save_pretrained(folder)
    CLIPProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder
