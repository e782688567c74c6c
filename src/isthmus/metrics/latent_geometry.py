"""Geometry of a latent space: paths between codes, correlations of dimensions, angles with PCA; sharpness of images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import subspace_angles
from sklearn.neighbors import NearestNeighbors

from isthmus.errors import InputError
from isthmus.metrics.estimate import Estimate, mean_and_error, proportion

PATH_STEPS = 5
"""Points of a path, ends included."""
MAX_PATHS = 200
"""The standard error of a share of paths is then below 0.036."""
NEAREST_TRAIN_MAX_ROWS = 5_000
"""Training rows among which the nearest one is searched."""
HOLE_QUANTILE = 0.95
"""A hole is worse than 95 % of all ends: if middles are like ends, fewer than 5 % of paths have one."""
MIN_RELATIVE_STD = 1e-3
"""Dimensions below this share of the largest standard deviation count as constant."""
MIN_RELATIVE_SINGULAR_VALUE = 1e-5
"""Singular values below this share of the largest one are rounding errors of single precision."""


class PathStats(NamedTuple):
    """A measure along paths between the codes of pairs of rows."""

    midpoint_loss: Estimate
    """Middle compared with the mean of both ends, positive if the middle is worse: nats lost, or distance gained."""
    holes: Estimate
    """Share of paths whose middle is worse than both ends and than 95 % of all ends."""
    profile: np.ndarray
    """(T,) mean of the measure at each step, ends included."""


class LatentCorrelation(NamedTuple):
    """Linear dependence between latent dimensions; constant dimensions are left out."""

    mean: float
    """Mean absolute correlation of two dimensions."""
    expected: float
    """Expectation of `mean` for independent dimensions and this number of rows."""
    largest: float
    """Largest absolute correlation of two dimensions."""
    effective_dimensions: float
    """Participation ratio of the eigenvalues of the covariance, (sum l)^2 / sum l^2: the number of dimensions if all
    are independent and have the same variance."""
    total_correlation: float
    """Of a normal distribution with these correlations, -1/2 log det R nats; infinite for linearly dependent
    dimensions."""


def lerp(start: np.ndarray, end: np.ndarray, t: float) -> np.ndarray:
    """Linear interpolation between codes (P, L)."""
    return (1 - t) * start + t * end


def random_pairs(n: int, seed: int = 0, max_pairs: int = MAX_PATHS) -> tuple[np.ndarray, np.ndarray]:
    """Indices (P,) and (P,) of random pairs of n rows; no row is used twice, so paths between pairs are independent."""
    if n < 4:
        raise InputError(f"Paths between rows need at least 4 rows, got {n}.")
    order, count = np.random.default_rng(seed).permutation(n), min(n // 2, max_pairs)
    return order[:count], order[count : 2 * count]


def path_likelihood(
    draw: Callable[[np.ndarray], np.ndarray],
    score: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    end: np.ndarray,
    *,
    steps: int = PATH_STEPS,
) -> PathStats:
    """Log p(x), in nats, of x drawn from p(x | z) along straight paths between codes.

    Ends are drawn from p(x | z) like the middle: the noise of the decoder then costs both the same, and discrete data
    are scored at values that they can take.

    Args:
        draw: maps codes (P, L) to rows (P, *X) drawn from p(x | z). It is called with one step of all paths at a time,
            in their order.
        score: maps these rows to log p(x) (P,).
        start: (P, L) codes at one end.
        end: (P, L) codes at the other end.
        steps: points of a path, odd.
    """
    return midpoint_vs_ends(-np.stack([score(draw(codes)) for codes in interpolate(start, end, steps)]), -1)


def path_distance(
    decode: Callable[[np.ndarray], np.ndarray],
    train: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    *,
    steps: int = PATH_STEPS,
    seed: int = 0,
) -> PathStats:
    """Distance to the nearest training row along straight paths between codes.

    A hole is also farther from the data than 95 % of training rows are from their nearest neighbor.

    Args:
        decode: maps codes (P, L) to rows (P, *X). It is called with one step of all paths at a time, in their order.
        train: (N, *X) training rows in the same units, which should be standardized.
        start: (P, L) codes at one end.
        end: (P, L) codes at the other end.
        steps: points of a path, odd.
        seed: chooses at most `NEAREST_TRAIN_MAX_ROWS` training rows.
    """
    rows = train.reshape(len(train), -1).astype(np.float64)
    if len(rows) > NEAREST_TRAIN_MAX_ROWS:
        rows = rows[np.random.default_rng(seed).permutation(len(rows))[:NEAREST_TRAIN_MAX_ROWS]]
    search = NearestNeighbors(n_neighbors=1).fit(rows)
    distances = [
        search.kneighbors(decode(codes).reshape(len(codes), -1))[0][:, 0] for codes in interpolate(start, end, steps)
    ]
    between_rows = search.kneighbors()[0][:, 0]  # of each training row to its nearest neighbor
    return midpoint_vs_ends(np.stack(distances), 1, float(np.quantile(between_rows, HOLE_QUANTILE)))


def interpolate(start: np.ndarray, end: np.ndarray, steps: int) -> list[np.ndarray]:
    """Codes (P, L) at each step of straight paths; the number of steps is odd, so that a path has a middle."""
    if steps < 3 or steps % 2 == 0:
        raise InputError(f"steps must be an odd integer >= 3, got {steps}.")
    return [lerp(start, end, t) for t in np.linspace(0, 1, steps)]


def midpoint_vs_ends(loss: np.ndarray, sign: int, min_hole_loss: float = -math.inf) -> PathStats:
    """Compare the middle of paths with their ends.

    Args:
        loss: (T, P) a measure that is larger where it is worse.
        sign: 1 if `profile` should hold the loss, -1 if it should hold minus the loss.
        min_hole_loss: a hole must also be worse than this.
    """
    ends, middle = loss[[0, -1]], loss[len(loss) // 2]
    threshold = max(min_hole_loss, float(np.quantile(ends, HOLE_QUANTILE)))
    holes = proportion(middle > np.maximum(ends.max(0), threshold))
    return PathStats(mean_and_error(middle - ends.mean(0)), holes, sign * loss.mean(1))


def latent_correlation(codes: np.ndarray) -> LatentCorrelation:
    """Correlations between the dimensions of codes (n, L)."""
    n, centred = len(codes), nonconstant(codes)
    d = centred.shape[1]
    if d == 0:
        return LatentCorrelation(0.0, 0.0, 0.0, 0.0, 0.0)
    covariance = np.cov(centred.T).reshape(d, d)
    effective_dimensions = float(np.trace(covariance) ** 2 / np.square(covariance).sum())
    if d == 1:
        return LatentCorrelation(0.0, 0.0, 0.0, effective_dimensions, 0.0)
    std = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(std, std)
    absolute = np.abs(correlation[np.triu_indices(d, 1)])
    expected = math.sqrt(2 / (math.pi * n))  # E|r| for r ~ Normal(0, 1 / n), the limit for independent dimensions
    eigenvalues = np.linalg.eigvalsh(correlation)
    independent = eigenvalues[0] > MIN_RELATIVE_SINGULAR_VALUE**2
    total = max(0.0, -0.5 * float(np.log(eigenvalues).sum())) if independent else math.inf
    return LatentCorrelation(float(absolute.mean()), expected, float(absolute.max()), effective_dimensions, total)


def principal_angles(codes: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Principal angles between the column spaces of codes and of the first principal component scores of x.

    Their cosines are the canonical correlations of codes and scores (Björck & Golub, 1973). All angles are 0 for a
    linear autoencoder (Baldi & Hornik, 1989), and for any code with as many dimensions as x varies in.

    Args:
        codes: (n, L).
        x: (n, *X) rows of these codes, in network units.

    Returns:
        (k,) degrees, largest first; k is the rank of the codes or of x, whichever is smaller.
    """
    centred, rows = nonconstant(codes), x.reshape(len(x), -1).astype(np.float64)
    of_codes = orthonormal_basis(centred / centred.std(0))
    of_rows = orthonormal_basis(rows - rows.mean(0), of_codes.shape[1])
    if not of_codes.shape[1] or not of_rows.shape[1]:
        return np.zeros(0)
    return np.degrees(subspace_angles(of_codes, of_rows))


def orthonormal_basis(columns: np.ndarray, max_vectors: int | None = None) -> np.ndarray:
    """(n, k) an orthonormal basis of the span of centred columns (n, d), ordered by singular value."""
    if not columns.size:
        return np.zeros((len(columns), 0))
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, singular > MIN_RELATIVE_SINGULAR_VALUE * singular[0]][:, :max_vectors]


def nonconstant(codes: np.ndarray) -> np.ndarray:
    """(n, d) the dimensions of codes (n, L) that are not constant, centred."""
    centred = codes.astype(np.float64) - codes.mean(0, dtype=np.float64)
    std = centred.std(0)
    return centred[:, std > MIN_RELATIVE_STD * std.max(initial=0)]


def sharpness(images: np.ndarray) -> np.ndarray:
    """(n,) variance of the Laplacian of each image, in the square of its units (Pech-Pacheco et al., 2000).

    Blur lowers it; noise raises it as edges do.

    Args:
        images: (n, h, w) or (n, h, w, c), at least 3 x 3 pixels.
    """
    if images.ndim not in (3, 4) or min(images.shape[1:3]) < 3:
        raise InputError(
            f"images must have shape (n, h, w) or (n, h, w, c) with at least 3 x 3 pixels, got {images.shape}."
        )
    x = images.astype(np.float64)
    neighbors = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    return (neighbors - 4 * x[:, 1:-1, 1:-1]).var((1, 2)).reshape(len(x), -1).mean(1)


def relative_sharpness(images: np.ndarray, originals: np.ndarray) -> Estimate | None:
    """Mean sharpness of images (n, h, w[, c]) divided by that of originals (m, h, w[, c]): below 1 if blurred.

    The error is that of independent sets, sd(a / b) = sqrt(sd(a)^2 + (a / b)^2 sd(b)^2) / b; for reconstructions of the
    same originals it is conservative. None if all originals are flat.
    """
    (image, image_error), (original, original_error) = (mean_and_error(sharpness(x)) for x in (images, originals))
    if original == 0:
        return None
    ratio = image / original
    return Estimate(ratio, math.hypot(image_error, ratio * original_error) / original)
