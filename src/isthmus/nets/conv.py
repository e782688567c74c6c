"""Residual convolutional networks for images of any height, width and channels."""

from __future__ import annotations

import math

from torch import Tensor, nn

from isthmus.nets.layers import Conv2d, ConvTranspose2d, Linear, activation, concat_condition


class Residual(nn.Module):
    """Residual block of two convolutions; dropout lies between them (Zagoruyko & Komodakis, 2016)."""

    def __init__(self, channels: int, act: str, dropout: float = 0.0):
        super().__init__()
        self.body = nn.Sequential(
            activation(act),
            Conv2d(channels, channels, 3, padding=1),
            activation(act, dropout),
            Conv2d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def stage_sizes(height: int, width: int, stages: int) -> list[tuple[int, int]]:
    """Height and width before and after each halving; odd sizes are rounded up."""
    sizes = [(height, width)]
    for _ in range(stages):
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes


def upsampling(wide: int, narrow: int, small: tuple[int, int], large: tuple[int, int]) -> ConvTranspose2d:
    """Convolution that undoes a halving: (N, wide, *small) to (N, narrow, *large)."""
    extra = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)  # an even side needs one more pixel
    return ConvTranspose2d(wide, narrow, 3, stride=2, padding=1, output_padding=extra)


class ConvEncoder(nn.Module):
    """Images (*batch, h, w[, c]) to (*batch, out); each stage halves height and width, then applies a residual block.

    Args:
        shape: (h, w) or (h, w, c) of one image.
        channels: channels of each stage.
        out: number of outputs.
        condition: width of the condition.
        act: name of the activation.
        dropout: share of the units within residual blocks that is set to zero in training.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        channels: tuple[int, ...],
        out: int,
        *,
        condition: int = 0,
        act: str = "silu",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.shape = shape
        depth = shape[2] if len(shape) == 3 else 1
        stages: list[nn.Module] = []
        for wide in channels:
            stages += [Conv2d(depth, wide, 3, stride=2, padding=1), Residual(wide, act, dropout)]
            depth = wide
        self.stages = nn.Sequential(*stages, activation(act))
        h, w = stage_sizes(shape[0], shape[1], len(channels))[-1]
        self.out = Linear(depth * h * w + condition, out)

    def hidden_layers(self) -> list[nn.Module]:
        """The modules before the output layer."""
        return [self.stages]

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        batch = x.shape[: x.ndim - len(self.shape)]
        image = x.reshape(-1, *self.shape)
        image = image.movedim(-1, 1) if len(self.shape) == 3 else image[:, None]  # (N, C, h, w)
        return self.out(concat_condition(self.stages(image).flatten(1).unflatten(0, batch), c))


class ConvDecoder(nn.Module):
    """Codes (*batch, D) to (*batch, n, h, w[, c]), the mirror image of `ConvEncoder`.

    Args:
        dim: size D of a code.
        channels: channels of each stage of the encoder, which the decoder reverses.
        n: outputs for each element of the image.
        shape: (h, w) or (h, w, c) of one image.
        condition: width of the condition.
        act: name of the activation.
        dropout: share of the units within residual blocks that is set to zero in training.
    """

    def __init__(
        self,
        dim: int,
        channels: tuple[int, ...],
        n: int,
        shape: tuple[int, ...],
        *,
        condition: int = 0,
        act: str = "silu",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.dim, self.n, self.shape = dim, n, shape
        depth = shape[2] if len(shape) == 3 else 1
        sizes = stage_sizes(shape[0], shape[1], len(channels))
        self.start = (channels[-1], *sizes[-1])
        self.inp = Linear(dim + condition, math.prod(self.start))
        narrower = (*channels[-2::-1], n * depth)  # channels after each doubling
        stages: list[nn.Module] = []
        for wide, narrow, small, large in zip(channels[::-1], narrower, sizes[:0:-1], sizes[-2::-1]):
            stages += [Residual(wide, act, dropout), activation(act), upsampling(wide, narrow, small, large)]
        self.stages = nn.Sequential(*stages)

    def hidden_layers(self) -> list[nn.Module]:
        """The modules before the output layer."""
        return [self.inp, *list(self.stages)[:-1]]

    def input_column_norms(self) -> Tensor:
        """(D,) norm of the first layer's weights for each input: how far a unit step of it moves the layer."""
        return self.inp.weight[:, : self.dim].norm(dim=0)

    def forward(self, z: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        batch = z.shape[:-1]
        start = self.inp(concat_condition(z, c)).reshape(-1, *self.start)
        image: Tensor = self.stages(start)  # (N, n * C, h, w)
        image = image.unflatten(1, (self.n, -1))
        image = image.movedim(2, -1) if len(self.shape) == 3 else image[:, :, 0]
        return image.unflatten(0, batch)


def conv_applicable(shape: tuple[int, ...]) -> bool:
    """Whether to use convolutions: images of at least 16 x 16 pixels with at most 4 channels."""
    return len(shape) in (2, 3) and min(shape[:2]) >= 16 and (len(shape) == 2 or shape[2] <= 4)
