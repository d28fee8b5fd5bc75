"""Randomly initialised Qwen3-VL models of any size, made in code: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from sole.protocol.prompt import SOLE_R1

_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

#: By name: the decoder, the part that sees, and how its positions are split (config.json of the
#: released Qwen3-VL-8B-Instruct; the tiny one keeps its form).
SHAPES: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "tiny": {
        "text": {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
        },
        "vision": {
            "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 16, "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        "rope": {"mrope_section": [4, 2, 2]},
    },
    "8b": {
        "text": {
            "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
            "vocab_size": 151_936,
        },
        "vision": {
            "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16,
            "out_hidden_size": 4096, "patch_size": 16, "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        "rope": {"mrope_section": [24, 20, 20]},
    },
}  # fmt: skip


def make_random(folder: Path, shape: str, device: str, dtype: torch.dtype) -> int:
    """Write a random model with a small tokenizer of its own to ``folder``.

    Args:
        folder: Where ``from_pretrained`` then finds it.
        shape: A name of :data:`SHAPES`.
        device: Where the numbers are drawn; a GPU takes seconds for billions.
        dtype: Of the numbers.

    Returns:
        How many there are.
    """
    tokenizer = make_tokenizer()
    parts = SHAPES[shape]
    named = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
    named |= {"vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True, **parts["rope"]}
    text = {"vocab_size": len(tokenizer), **parts["text"], "rope_parameters": rope}
    text |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    ids: dict[str, Any] = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(mark) for name, mark in named.items()
    }
    config = Qwen3VLConfig(text_config=text, vision_config=dict(parts["vision"]), **ids)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Qwen3VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    pictures = Qwen2VLImageProcessorPil(
        patch_size=parts["vision"]["patch_size"], merge_size=2,
        size={"shortest_edge": 3136, "longest_edge": 12_845_056},
    )  # fmt: skip
    for part in (model, tokenizer, pictures):
        part.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen's marks and single digits; it knows our questions and answers."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    answers = [f"<think>it moved.</think><answer>{n}%</answer>" for n in range(-100, 101)]
    words = [text for text in vars(SOLE_R1).values() if isinstance(text, str)]
    inner.train_from_iterator([*answers * 2, *words * 3], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        **{"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        chat_template=_TEMPLATE,
    )
