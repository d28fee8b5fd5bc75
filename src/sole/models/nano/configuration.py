"""What nano is made of, saved beside its weights."""

from __future__ import annotations

from typing import Any

from transformers import LlamaConfig, PretrainedConfig

#: Columns of the composite picture (first | previous | current) and its rows (external, wrist).
N_COLUMNS = 3
N_ROWS = 2


class SoleNanoConfig(PretrainedConfig):
    """Configuration of :class:`SoleNanoForConditionalGeneration`.

    Args:
        text_config: The decoder's own configuration (a Llama), or None for nano's.
        tile_px: Height and width of one view in the composite picture.
        image_token_id: The placeholder that picture tokens replace.
        first_number_token_id: Token of "-100"; the tokens of -99 .. 100 follow it.
        projector_width: Hidden width between the eye and the decoder.
        readout_temperature: Divides the logits of the numbers where progress is read; above 0.
    """

    model_type = "sole_nano"
    sub_configs = {"text_config": LlamaConfig}  # type: ignore[assignment]

    def __init__(
        self,
        text_config: dict[str, Any] | LlamaConfig | None = None,
        tile_px: int = 96,
        image_token_id: int = 3,
        first_number_token_id: int = 8,
        projector_width: int = 512,
        readout_temperature: float = 1.0,
        **kwargs: Any,
    ):
        if isinstance(text_config, dict):
            text_config = LlamaConfig(**text_config)
        self.text_config = text_config or nano_text_config()
        self.tile_px = tile_px
        self.image_token_id = image_token_id
        self.first_number_token_id = first_number_token_id
        self.projector_width = projector_width
        if not readout_temperature > 0:
            raise ValueError(f"readout_temperature: expected above 0, got {readout_temperature}")
        self.readout_temperature = readout_temperature
        kwargs.setdefault("tie_word_embeddings", True)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            kwargs.setdefault(name, getattr(self.text_config, name))
        super().__init__(**kwargs)

    @property
    def n_image_tokens(self) -> int:
        """Tokens of one composite picture: a 3x3 grid for each row."""
        return N_ROWS * (self.tile_px // 32) ** 2


def nano_text_config(vocab_size: int = 2048, **changes: Any) -> LlamaConfig:
    """The decoder of the shipped model: a Llama of width 256 and 5 layers."""
    settings: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return LlamaConfig(**{**settings, **changes})
