"""nano's network: tiles -> map -> one token per cell for first, previous and current together.

Each of the six tiles of the composite picture is encoded once; the three columns of a row are then
joined cell by cell, so that what moved between two moments is visible to one linear layer. A small
Llama reads these tokens and the prompt, and writes the reasoning and the number.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, LlamaModel, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from sole.models.nano.configuration import N_COLUMNS, N_ROWS, SoleNanoConfig
from sole.models.nano.encoder import TileEncoder

N_TILES = N_ROWS * N_COLUMNS
N_NUMBERS = 201
_POOL = 2  # 6x6 cells of stride 16 become 3x3 tokens of four cells each


class SoleNanoForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Reads a composite picture and a prompt, writes ``<think>..</think><answer>N%</answer>``."""

    config_class = SoleNanoConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = False
    _tied_weights_keys = {"lm_head.weight": "decoder.embed_tokens.weight"}

    def __init__(self, config: SoleNanoConfig):
        super().__init__(config)
        width = config.text_config.hidden_size
        self.encoder = TileEncoder()
        self.absent_tile = nn.Parameter(torch.zeros(self.encoder.out_channels))
        cell = N_COLUMNS * _POOL * _POOL * self.encoder.out_channels
        self.projector = nn.Sequential(
            nn.LayerNorm(cell),
            nn.Linear(cell, config.projector_width),
            nn.GELU(),
            nn.Linear(config.projector_width, width),
        )
        self.image_positions = nn.Parameter(torch.zeros(config.n_image_tokens, width))
        self.decoder = LlamaModel(config.text_config)
        self.lm_head = nn.Linear(width, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:  # noqa: D102
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:  # noqa: D102
        self.decoder.embed_tokens = value

    def get_output_embeddings(self) -> nn.Module:  # noqa: D102
        return self.lm_head

    def encode_tiles(self, tiles: Tensor) -> Tensor:
        """``(N, 3, 96, 96)`` -> maps ``(N, C, 6, 6)``; a caller may keep and reuse them."""
        return self.encoder(tiles)

    def join(self, maps: Tensor, tile_mask: Tensor) -> Tensor:
        """Turn the maps of six tiles into picture tokens.

        Args:
            maps: ``(B, 6, C, h, w)`` in the composite's reading order (row by row).
            tile_mask: ``(B, 6)`` bool, False where a tile is absent (from-zero, single view).

        Returns:
            ``(B, n_image_tokens, width)``.
        """
        absent = self.absent_tile.to(maps.dtype)[None, None, :, None, None]
        maps = torch.where(tile_mask[:, :, None, None, None], maps, absent)
        batch, _, channels, height, width = maps.shape
        rows = maps.reshape(batch * N_ROWS, N_COLUMNS * channels, height, width)
        cells = nn.functional.pixel_unshuffle(rows, _POOL).flatten(2).transpose(1, 2)
        tokens = self.projector(cells.to(self.image_positions.dtype))
        return tokens.reshape(batch, -1, tokens.shape[-1]) + self.image_positions

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        tile_mask: Tensor | None = None,
        tile_maps: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Next-token logits; ``pixel_values`` ``(B, 6, 3, 96, 96)`` or ready ``tile_maps``."""
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self.decoder.embed_tokens(input_ids)
            assert inputs_embeds is not None
            past = 0 if past_key_values is None else past_key_values.get_seq_length()
            if past == 0 and (pixel_values is not None or tile_maps is not None):
                inputs_embeds = self._place(
                    input_ids, inputs_embeds, pixel_values, tile_mask, tile_maps
                )
        out = self.decoder(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            **kwargs,
        )
        hidden = (
            out.last_hidden_state[:, -logits_to_keep:] if logits_to_keep else out.last_hidden_state
        )
        logits = self.lm_head(hidden)
        loss = None
        if labels is not None:
            shifted = logits[:, :-1].flatten(0, 1).float()
            loss = nn.functional.cross_entropy(shifted, labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=out.past_key_values)  # type: ignore[arg-type]

    def _place(
        self,
        input_ids: Tensor,
        embeds: Tensor,
        pixel_values: Tensor | None,
        tile_mask: Tensor | None,
        tile_maps: Tensor | None,
    ) -> Tensor:
        if tile_maps is None:
            assert pixel_values is not None
            tile_maps = self.encode_tiles(pixel_values.flatten(0, 1)).unflatten(0, (-1, N_TILES))
        if tile_mask is None:
            tile_mask = torch.ones(tile_maps.shape[:2], dtype=torch.bool, device=tile_maps.device)
        tokens = self.join(tile_maps, tile_mask.bool()).to(embeds.dtype)
        where = input_ids == self.config.image_token_id
        if int(where.sum()) != tokens.shape[0] * tokens.shape[1]:
            raise ValueError(
                f"nano: {int(where.sum())} image placeholders in the prompt for "
                f"{tokens.shape[0]} pictures of {tokens.shape[1]} tokens"
            )
        return embeds.masked_scatter(where[..., None], tokens)

    def number_logits(self, logits: Tensor) -> Tensor:
        """The part of ``(..., vocab)`` logits that names -100 .. 100: ``(..., 201)``."""
        first = self.config.first_number_token_id
        return logits[..., first : first + N_NUMBERS]
