"""nano's words: a small byte-level BPE in which every integer from -100 to 100 is one token."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, IMAGE = "<pad>", "<s>", "</s>", "<image>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
SPECIAL_TOKENS = (PAD, BOS, EOS, IMAGE, *TAGS)
NUMBERS = tuple(str(n) for n in range(-100, 101))
#: A number stands alone whatever its neighbours; otherwise words keep their leading space.
_SPLIT = r"-?\d+| ?\p{L}+|-| ?[^\s\p{L}\p{N}\-]+|\s"

#: A picture, the user's words, then the reply; the same text at training and at serving.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int = 2048) -> PreTrainedTokenizerFast:
    """Learn merges from ``texts``; any other text still encodes, byte by byte.

    Returns:
        A fast tokenizer with ids: 8 special tokens, -100 .. 100 from id 8, bytes, merges.
    """
    bpe = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])  # type: ignore[assignment]
    bpe.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *NUMBERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return _as_fast(_without_special_numbers(bpe))


def _without_special_numbers(bpe: Tokenizer) -> Tokenizer:
    """Numbers took part in training as special tokens for their ids; now they are plain words.

    As added tokens they would match inside longer digit strings ("2026" -> 20, 26).
    """
    import json

    state = json.loads(bpe.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] in SPECIAL_TOKENS]
    return Tokenizer.from_str(json.dumps(state))


def _as_fast(bpe: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
