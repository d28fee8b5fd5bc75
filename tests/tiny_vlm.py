"""Vision-language models of a few thousand random numbers, shaped like real ones, made in code."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from sole.protocol.prompt import SOLE_R1

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
# As Qwen's: digits one by one, and ">-" may become one token.
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'image' %}PICTURE{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def make_tokenizer(template: str, groups_of_digits: int = 1) -> PreTrainedTokenizerFast:
    """Byte-level BPE; ``groups_of_digits`` 3 makes ``100`` one token, as Llama 3 does."""
    words = _WORDS.replace(r"\p{N}|", rf"\p{{N}}{{1,{groups_of_digits}}}|", 1)
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [f"<think>it moved.</think><answer>{n}%</answer>" for n in range(-100, 101)] * 2
    question = [text for text in vars(SOLE_R1).values() if isinstance(text, str)]
    inner.train_from_iterator([*texts, *question * 3], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=template,
    )


def _ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    named = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
    named |= {"vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}
    return {f"{k}_token_id": tokenizer.convert_tokens_to_ids(v) for k, v in named.items()}


def make_tiny_qwen3(folder: Path, seed: int = 0) -> Path:
    """Qwen3-VL: patch 16, so that the released picture is resized again to 1184 x 768."""
    tokenizer = make_tokenizer(TEMPLATE.replace("PICTURE", _PICTURE))
    config = Qwen3VLConfig(
        text_config={
            **_TEXT,
            "head_dim": 16,
            "vocab_size": len(tokenizer),
            "rope_parameters": {**_ROPE, "mrope_section": [4, 2, 2], "mrope_interleaved": True},
        },
        vision_config={
            "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 16, "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        **_ids(tokenizer),
    )  # fmt: skip
    torch.manual_seed(seed)
    return _save(
        folder, Qwen3VLForConditionalGeneration(config), tokenizer, _qwen_pictures(patch_size=16)
    )


def make_tiny_qwen2_5(folder: Path, seed: int = 0) -> Path:
    """Qwen2.5-VL: patch 14, so that the released picture of 1176 x 784 fits as it is."""
    tokenizer = make_tokenizer(TEMPLATE.replace("PICTURE", _PICTURE))
    config = Qwen2_5_VLConfig(
        text_config={
            **_TEXT,
            "vocab_size": len(tokenizer),
            "rope_parameters": {**_ROPE, "mrope_section": [4, 2, 2]},
        },
        vision_config={
            "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2,
            "out_hidden_size": 32, "fullatt_block_indexes": [1],
        },
        **_ids(tokenizer),
    )  # fmt: skip
    torch.manual_seed(seed)
    return _save(
        folder, Qwen2_5_VLForConditionalGeneration(config), tokenizer, _qwen_pictures(patch_size=14)
    )


def make_tiny_llava(folder: Path, seed: int = 0) -> Path:
    """LLaVA: a square picture of a fixed size, and numbers of up to three digits in one token."""
    tokenizer = make_tokenizer(TEMPLATE.replace("PICTURE", "<|image_pad|>"), groups_of_digits=3)
    image = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=56, patch_size=14, projection_dim=16,
    )  # fmt: skip
    text = LlamaConfig(**_TEXT, vocab_size=len(tokenizer))
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image)
    torch.manual_seed(seed)
    pictures = CLIPImageProcessorPil(
        size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}
    )
    tokenizer.image_token = "<|image_pad|>"
    processor = LlavaProcessor(
        pictures, tokenizer, patch_size=14, vision_feature_select_strategy="default",
        image_token="<|image_pad|>", num_additional_image_tokens=1,
    )  # fmt: skip
    processor.chat_template = tokenizer.chat_template
    _save(folder, LlavaForConditionalGeneration(config), tokenizer, pictures)
    processor.save_pretrained(folder)
    return folder


def _qwen_pictures(patch_size: int) -> Qwen2VLImageProcessorPil:
    size = {"shortest_edge": 3136, "longest_edge": 12_845_056}
    return Qwen2VLImageProcessorPil(patch_size=patch_size, merge_size=2, size=size)


def _save(folder: Path, model, tokenizer, pictures) -> Path:
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    # As they are made, all answers are about equally likely whatever is asked.
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    # What a real one brings along and must not decide how we read it.
    model.generation_config.update(do_sample=True, temperature=0.7, top_p=0.8, top_k=20)
    for part in (model, tokenizer, pictures):
        part.save_pretrained(folder)
    return folder
