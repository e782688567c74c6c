"""Structural similarity as a term: images are compared window by window, at several sizes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.distributions.independent import location_of
from isthmus.forward_pass import Pass
from isthmus.latent_model import Model
from isthmus.objective import Term

WINDOW_PX, WINDOW_DEVIATION_PX = 11, 1.5
"""Side and standard deviation of the window in which structures are compared (Wang et al., 2004)."""
K1, K2 = 0.01, 0.03
"""Constants that keep ratios finite, relative to the range of the data (Wang et al., 2004)."""
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of five sizes, each half of the one before, from the full image down (Wang et al., 2003)."""
LEAST = 1e-6
"""Least similarity of a size: powers of negative numbers are none, and that of 0 has no gradient."""


def window_means(length: int, side: int) -> np.ndarray:
    """(length - side + 1, length) matrix that takes the normal-weighted mean of each window along an axis."""
    offsets = np.arange(side) - (side - 1) / 2
    weights = np.exp(-0.5 * (offsets / WINDOW_DEVIATION_PX) ** 2)
    weights /= weights.sum()
    return np.stack([np.convolve(np.eye(length)[i], weights[::-1])[side - 1 : length] for i in range(length)], 1)


class Dissimilarity(nn.Module):
    """1 less the multi-scale structural similarity of rows and of their reconstructions E[x given z].

    As many sizes as have room for a window of 11 pixels, up to five; the exponents of fewer sizes add up to 1, too. Of
    images that are smaller than a window the window is smaller.

    Args:
        shape: (h, w) or (h, w, c) of an image.
        data_range: the largest difference that two pixels can have, as networks read them.
    """

    def __init__(self, shape: tuple[int, ...], data_range: float):
        super().__init__()
        sides, self.has_channels = shape[:2], len(shape) == 3
        fits = [level for level in range(len(SCALE_WEIGHTS)) if min(sides) // 2**level >= WINDOW_PX]
        self.levels = max(1, len(fits))
        self.weights = [weight / sum(SCALE_WEIGHTS[: self.levels]) for weight in SCALE_WEIGHTS[: self.levels]]
        self.c1, self.c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
        for level in range(self.levels):
            for name, side in zip(("down", "across"), sides, strict=True):
                length = side // 2**level
                means = torch.as_tensor(window_means(length, min(WINDOW_PX, *(s // 2**level for s in sides))))
                self.register_buffer(f"{name}_{level}", means.to(torch.get_default_dtype()), persistent=False)

    def local(self, images: Tensor, level: int) -> Tensor:
        """Weighted means over each window of images (N, h, w)."""
        return getattr(self, f"down_{level}") @ images @ getattr(self, f"across_{level}").T

    def similarity(self, x: Tensor, y: Tensor) -> Tensor:
        """(N,) of pairs of images (N, h, w) of one channel."""
        product = x.new_ones(len(x))
        for level, weight in enumerate(self.weights):
            mean_x, mean_y = self.local(x, level), self.local(y, level)
            variances = self.local(x * x, level) - mean_x**2 + self.local(y * y, level) - mean_y**2
            covariance = self.local(x * y, level) - mean_x * mean_y
            similar = (2 * covariance + self.c2) / (variances + self.c2)
            if level + 1 == self.levels:  # brightness counts at the smallest size alone
                similar = similar * (2 * mean_x * mean_y + self.c1) / (mean_x**2 + mean_y**2 + self.c1)
            else:
                x, y = (F.avg_pool2d(each[:, None], 2)[:, 0] for each in (x, y))
            of_size = similar.mean((1, 2))  # one size alone may be below 0, and has a gradient there
            product = product * (of_size if self.levels == 1 else of_size.clamp(min=LEAST) ** weight)
        return product

    def forward(self, model: Model, batch: Batch, out: Pass) -> Tensor:
        """(B,) from 0 for equal images to 1, the mean over draws and channels."""
        decoded = location_of(out.px)  # (K, B, *X)
        k, x = len(decoded), batch.target

        def by_channel(images: Tensor) -> Tensor:  # (K, B, h, w[, c]) to (K B C, h, w)
            images = images.movedim(-1, 2) if self.has_channels else images[:, :, None]
            return images.flatten(0, 2)

        pictures = x.expand(k, *x.shape)
        if batch.observed is not None:  # what is not known is as it should be
            pictures = torch.where(batch.observed, pictures, decoded)
        similar = self.similarity(by_channel(pictures), by_channel(decoded))
        return 1 - out.expectation(similar.view(k, len(x), -1).mean(-1))


def dissimilarity(shape: tuple[int, ...], data_range: float) -> Term:
    """1 less the multi-scale structural similarity, from 0 to 1 (Snell et al., 2017, train autoencoders on it)."""
    return Term(Dissimilarity(shape, data_range), "dissimilarity")
