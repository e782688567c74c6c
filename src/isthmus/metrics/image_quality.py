"""How close images are to clean ones: peak signal-to-noise ratio and structural similarity."""

from __future__ import annotations

import math

import numpy as np

from isthmus.metrics.estimate import Estimate, mean_and_error
from isthmus.terms.structure import K1, K2, WINDOW_PX, window_means

ROWS_AT_ONCE = 256
"""Images whose windows are held in memory at once."""


def psnr(squared_errors: np.ndarray, data_range: float, weight: np.ndarray | None = None) -> Estimate:
    """Peak signal-to-noise ratio 10 log10(range^2 / mean squared error), dB, of all images together; more is better.

    The squared error is averaged over images first: the ratio of one image that is restored perfectly is infinite.

    Args:
        squared_errors: (n,) mean squared error over the pixels of each image.
        data_range: the largest difference that two pixels can have.
        weight: (n,) how much images count; None for all the same.

    Returns:
        The ratio, infinite for images without any error, and its standard error by that of the mean.
    """
    mean, error = mean_and_error(squared_errors, weight=weight)
    if not mean:
        return Estimate(math.inf, 0.0)
    return Estimate(10 * math.log10(data_range**2 / mean), 10 / math.log(10) * error / mean)


def ssim(x: np.ndarray, y: np.ndarray, data_range: float) -> np.ndarray:
    """(n,) structural similarity of pairs of images, from -1 to 1 for equal ones (Wang et al., 2004).

    In each window, with its means m, variances v and covariance s,
    (2 m_x m_y + c1) (2 s_xy + c2) / ((m_x^2 + m_y^2 + c1) (v_x + v_y + c2)), averaged over windows and channels.
    Windows lie wholly within the image; they are smaller than 11 pixels where an image is.

    Args:
        x: (n, h, w) or (n, h, w, c) images.
        y: the images that they are compared with.
        data_range: the largest difference that two pixels can have.
    """
    blocks = range(0, len(x), ROWS_AT_ONCE)
    parts = [_ssim(x[i : i + ROWS_AT_ONCE], y[i : i + ROWS_AT_ONCE], data_range) for i in blocks]
    return np.concatenate(parts) if parts else np.zeros(0)


def _ssim(x: np.ndarray, y: np.ndarray, data_range: float) -> np.ndarray:
    x, y = ((a if a.ndim == 4 else a[..., None]).astype(np.float64) for a in (x, y))
    side = min(WINDOW_PX, *x.shape[1:3])
    down, across = (window_means(length, side) for length in x.shape[1:3])

    def local(a: np.ndarray) -> np.ndarray:  # weighted means over each window
        return np.einsum("ih,nhwc,jw->nijc", down, a, across, optimize=True)

    mean_x, mean_y = local(x), local(y)
    variances = local(x * x) - mean_x**2 + local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return (luminance * structure).mean((1, 2, 3))
