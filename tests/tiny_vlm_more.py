"""SmolVLM and InternVL of a few thousand random numbers: pictures cut into several pieces."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_vlm import TEMPLATE, _save, make_tokenizer
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

_TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16,
}  # fmt: skip


def make_tiny_smolvlm(folder: Path, seed: int = 0) -> Path:
    """SmolVLM: pieces of 32 px and the whole picture beside them, four features each."""
    tokenizer = make_tokenizer(TEMPLATE.replace("PICTURE", "<image>"))
    row_marks = [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
    tokenizer.add_tokens(
        ["<image>", "<fake_token_around_image>", "<global-img>", *row_marks], special_tokens=True
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = SmolVLMConfig(
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
        },
        text_config={
            **_TEXT, "model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0,
        },
        image_token_id=image,
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    pictures = SmolVLMImageProcessorPil(
        size={"longest_edge": 128}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    )
    _save(folder, SmolVLMForConditionalGeneration(config), tokenizer, pictures)
    (folder / "processor_config.json").write_text(
        '{"processor_class": "SmolVLMProcessor", "image_seq_len": 4}'
    )
    return folder


def make_tiny_internvl(folder: Path, seed: int = 0) -> Path:
    """InternVL: square pieces of 28 px, one feature each."""
    tokenizer = make_tokenizer(TEMPLATE.replace("PICTURE", "<IMG_CONTEXT>"))
    marks = {"start_image_token": "<img>", "end_image_token": "</img>"}
    marks |= {"context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"}
    tokenizer.add_tokens(list(marks.values()), special_tokens=True)
    tokenizer._set_model_specific_special_tokens(marks)
    config = InternVLConfig(
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": [28, 28], "patch_size": [14, 14],
        },
        text_config={**_TEXT, "model_type": "qwen2", "vocab_size": len(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=1,
        downsample_ratio=0.5,
    )  # fmt: skip
    torch.manual_seed(seed)
    pictures = GotOcr2ImageProcessorPil(
        size={"height": 28, "width": 28}, crop_to_patches=True, max_patches=6
    )
    _save(folder, InternVLForConditionalGeneration(config), tokenizer, pictures)
    (folder / "processor_config.json").write_text(
        '{"processor_class": "InternVLProcessor", "image_seq_length": 1}'
    )
    return folder
