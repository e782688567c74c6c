"""A U-Net as encoder and decoder, for restoring images: what its paths exchange, at every scale, is the code."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.nets.conv import Residual, stage_sizes, upsampling

MIN_SIDE = 8
"""Pixels a side from which an image has scales to speak of."""
CORRECTION_GAIN = 0.3
"""What a correction is multiplied by: its layer sums over hundreds of features that Adam moves together, and at the
high rate that the other layers need its first updates would overshoot."""


def code_shapes(shape: tuple[int, ...], channels: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Channels, height and width of each part of the code of an image: its pixels, then its features at each scale.

    >>> code_shapes((28, 28), (16, 32))
    [(1, 28, 28), (16, 14, 14), (32, 7, 7)]
    """
    depth = shape[2] if len(shape) == 3 else 1
    return [(c, *size) for c, size in zip((depth, *channels), stage_sizes(shape[0], shape[1], len(channels)))]


def code_size(shape: tuple[int, ...], channels: tuple[int, ...]) -> int:
    """Numbers in the code of an image."""
    return sum(map(math.prod, code_shapes(shape, channels)))


class UNetEncoder(nn.Module):
    """The contracting path: images (*batch, h, w[, c]) to codes (*batch, D), their pixels and features at each scale.

    Args:
        shape: (h, w) or (h, w, c) of one image.
        channels: channels of each scale, the finest first, which has half the image's height and width.
        offset: what is added to the pixels that features are made of, a number or one for each element (*shape).
        condition: width of the condition, which enters at the coarsest scale.
        act: name of the activation.
        dropout: share of the units within residual blocks that is set to zero in training.
    """

    offset: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        channels: tuple[int, ...],
        *,
        offset: Tensor | float = 0.0,
        condition: int = 0,
        act: str = "silu",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.shape = shape
        self.register_buffer("offset", torch.as_tensor(offset), persistent=False)
        depth = shape[2] if len(shape) == 3 else 1
        halvings: list[nn.Module] = [nn.Conv2d(4 * depth, channels[0], 3, padding=1)]  # four pixels become one
        halvings += [nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(channels)]
        self.halvings = nn.ModuleList(halvings)
        self.blocks = nn.ModuleList(Residual(wide, act, dropout) for wide in channels)
        self.condition = nn.Linear(condition, channels[-1]) if condition else None

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        batch = x.shape[: x.ndim - len(self.shape)]
        pixels = x.reshape(-1, *self.shape)
        parts, image = [self.channels_first(pixels)], self.channels_first(pixels + self.offset)
        h, w = image.shape[-2:]
        even = F.pad(image, (0, w % 2, 0, h % 2), mode="replicate") if h % 2 or w % 2 else image
        features = F.pixel_unshuffle(even, 2)
        for i, (halving, block) in enumerate(zip(self.halvings, self.blocks)):
            features = halving(features)
            if self.condition is not None and i == len(self.blocks) - 1:
                features = features + at_every_pixel(self.condition, c, batch)
            features = block(features)
            parts.append(features)
        return torch.cat([part.flatten(1) for part in parts], 1).unflatten(0, batch)

    def channels_first(self, image: Tensor) -> Tensor:
        """(N, h, w[, c]) to (N, c, h, w)."""
        return image.movedim(-1, 1) if len(self.shape) == 3 else image[:, None]


class UNetDecoder(nn.Module):
    """The expanding path: codes (*batch, D) to (*batch, n, h, w[, c]), the pixels of the code with a correction.

    The correction is 0 before training, so that training starts at the image as it came. Of n outputs for each element
    the first is its location; the others, which pixels say nothing of, are the network's alone.

    Args:
        channels, condition, act, dropout: those of the encoder.
        n: outputs for each element of the image.
        shape: (h, w) or (h, w, c) of one image.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        n: int,
        shape: tuple[int, ...],
        *,
        condition: int = 0,
        act: str = "silu",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.n, self.shape, self.parts = n, shape, code_shapes(shape, channels)
        sizes = [part[1:] for part in self.parts[1:]]
        self.blocks = nn.ModuleList(Residual(wide, act, dropout) for wide in channels)
        self.doublings = nn.ModuleList(
            upsampling(wide, narrow, small, large)
            for wide, narrow, small, large in zip(channels[1:], channels, sizes[1:], sizes)
        )
        self.condition = nn.Linear(condition, channels[-1]) if condition else None
        last = nn.Conv2d(channels[0], 4 * n * self.parts[0][0], 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.correction = nn.Sequential(last, nn.PixelShuffle(2))  # linear, as the noise that it takes away

    def forward(self, z: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        batch, (depth, height, width) = z.shape[:-1], self.parts[0]
        flat = z.reshape(-1, z.shape[-1]).split([math.prod(part) for part in self.parts], 1)
        pixels, *scales = (values.unflatten(1, part) for values, part in zip(flat, self.parts))
        features = scales[-1]
        if self.condition is not None:
            features = features + at_every_pixel(self.condition, c, batch)
        features = self.blocks[-1](features)
        for i in reversed(range(len(self.doublings))):
            features = self.blocks[i](scales[i] + self.doublings[i](features))
        image = CORRECTION_GAIN * self.correction(features)[..., :height, :width].unflatten(1, (self.n, depth))
        image = image + F.pad(pixels[:, None], (0, 0, 0, 0, 0, 0, 0, self.n - 1))  # (N, n, C, h, w)
        image = image.movedim(2, -1) if len(self.shape) == 3 else image[:, :, 0]
        return image.unflatten(0, batch)


def at_every_pixel(layer: nn.Linear, c: Tensor | None, batch: torch.Size) -> Tensor:
    """(N, C, 1, 1) what a condition (B, k) adds to all pixels, repeated over leading draws of `batch` (..., B)."""
    assert c is not None
    return layer(c.expand(*batch, c.shape[-1]).reshape(-1, c.shape[-1]))[..., None, None]


def unet_applicable(shape: tuple[int, ...]) -> bool:
    """Whether to restore images by a U-Net: images of at least 8 x 8 pixels with at most 4 channels."""
    return len(shape) in (2, 3) and min(shape[:2]) >= MIN_SIDE and (len(shape) == 2 or shape[2] <= 4)
