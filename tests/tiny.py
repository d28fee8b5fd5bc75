"""A nano of a few thousand random numbers, made in code, with its own tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch

from sole.models.nano import SoleNanoConfig, SoleNanoForConditionalGeneration
from sole.models.nano.configuration import nano_text_config
from sole.models.nano.tokenizer import train_tokenizer
from sole.train.sft import export

TEXTS = ["Task: push the puck to the goal. Previous progress: 0%.", "the gripper moved closer."]


def make_tiny_nano(folder: Path, seed: int = 0) -> Path:
    """Write a random tiny nano checkpoint to ``folder``."""
    tokenizer = train_tokenizer(TEXTS * 3, 600)
    text = nano_text_config(
        len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    torch.manual_seed(seed)
    config = SoleNanoConfig(
        text_config=text,
        first_number_token_id=tokenizer.convert_tokens_to_ids("-100"),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projector_width=32,
    )
    export(SoleNanoForConditionalGeneration(config), tokenizer, folder)
    return folder
