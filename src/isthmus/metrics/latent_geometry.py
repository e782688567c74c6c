"""How a latent space lies: what paths between codes pass through, how dimensions hang together, how images blur."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import subspace_angles
from sklearn.neighbors import NearestNeighbors

from isthmus.errors import InputError
from isthmus.metrics.estimate import Estimate
from isthmus.metrics.importance_weighting import mean_and_error
from isthmus.metrics.probes import share

STEPS = 5
"""Points of a path, its ends among them."""
MOST_PAIRS = 200
"""Paths looked at: a share of them is known to some three per cent then."""
MOST_ROWS = 5_000
"""Training rows among which a nearest one is sought."""
RARE = 0.95
"""Share of ends than which a hole must be worse: where the middle is like the ends, fewer than 5 in 100 are holes."""
STILL = 1e-3
"""Share of the largest spread of a dimension under which another one is not in use."""
ROUNDING = 1e-5
"""Share of the largest reach under which another one is the rounding of single precision."""

Interpolator = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""Codes (P, L), others (P, L) and how far to go from these to those, 0 to 1, to codes (P, L)."""


class Paths(NamedTuple):
    """What a measure says on the way between the codes of pairs of rows."""

    worse: Estimate
    """The middle against the mean of both ends, positive where it is worse: nats lost, or distance gained."""
    holes: Estimate
    """Share of paths whose middle is worse than both their ends, and than 95 of 100 ends of any path."""
    along: np.ndarray
    """(T,) the mean at each step, ends included."""


class Dependence(NamedTuple):
    """How the dimensions of codes hang together linearly; those that are constant are left out."""

    mean: float
    """Absolute correlation of two dimensions."""
    chance: float
    """What `mean` is of independent dimensions, from so many rows alone."""
    largest: float
    effective: float
    """Participation ratio of the covariance's eigenvalues: the number of dimensions if all had the same spread."""
    total: float
    """Total correlation of a Gaussian with these correlations, nats; infinite where a dimension follows from others."""


def line(start: np.ndarray, end: np.ndarray, t: float) -> np.ndarray:
    """Codes (P, L) on the straight lines from start (P, L) to end (P, L)."""
    return (1 - t) * start + t * end


def arc(start: np.ndarray, end: np.ndarray, t: float) -> np.ndarray:
    """Codes (P, L) on great circles around the origin (White, 2016), the way of codes whose norms are all alike.

    Straight where there is no such circle: between parallel or opposite codes, or from the origin.
    """
    norms = np.linalg.norm(start, axis=1) * np.linalg.norm(end, axis=1)
    cosine = (start * end).sum(1) / np.where(norms > 0, norms, 1.0)
    angle = np.arccos(np.clip(cosine, -1, 1))[:, None]
    sine = np.sin(angle)
    bent = (sine > 1e-6) & (norms > 0)[:, None]
    safe = np.where(bent, sine, 1.0)
    return np.where(bent, np.sin((1 - t) * angle) / safe * start + np.sin(t * angle) / safe * end, line(start, end, t))


def pairs(n: int, seed: int = 0, most: int = MOST_PAIRS) -> tuple[np.ndarray, np.ndarray]:
    """Indices (P,) and (P,) of n rows, none of which comes twice: so the paths between them are independent."""
    if n < 4:
        raise InputError(f"{n} rows came; paths between them need four at least")
    order, count = np.random.default_rng(seed).permutation(n), min(n // 2, most)
    return order[:count], order[count : 2 * count]


def path_likelihood(
    draw: Callable[[np.ndarray], np.ndarray],
    score: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    end: np.ndarray,
    *,
    way: Interpolator = line,
    steps: int = STEPS,
) -> Paths:
    """Log p(x) of x drawn from p(x given z) along the way from codes start (P, L) to end (P, L), in nats.

    `draw` takes codes (P, L) of one step of all paths, in their order, to rows; `score` takes these to log p(x) (P,).
    Ends are drawn like the middle: a decoder's noise costs both the same, and no mean of bits is scored.
    """
    return against_ends(-np.stack([score(draw(codes)) for codes in walk(start, end, way, steps)]), -1)


def path_distance(
    decode: Callable[[np.ndarray], np.ndarray],
    train: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    *,
    way: Interpolator = line,
    steps: int = STEPS,
    seed: int = 0,
) -> Paths:
    """Distance to the nearest training row along the way from codes start (P, L) to end (P, L).

    `decode` takes codes (P, L) of one step of all paths, in their order, to rows in the units of train (N, *X), which
    should be alike for all columns. A hole is also farther from the data than 95 of 100 training rows are from their
    nearest other one.
    """
    rows = train.reshape(len(train), -1).astype(np.float64)
    if len(rows) > MOST_ROWS:
        rows = rows[np.random.default_rng(seed).permutation(len(rows))[:MOST_ROWS]]
    near = NearestNeighbors(n_neighbors=1).fit(rows)
    found = [near.kneighbors(decode(codes).reshape(len(codes), -1))[0][:, 0] for codes in walk(start, end, way, steps)]
    apart = near.kneighbors()[0][:, 0]  # of each training row from the nearest other one
    return against_ends(np.stack(found), 1, float(np.quantile(apart, RARE)))


def walk(start: np.ndarray, end: np.ndarray, way: Interpolator, steps: int) -> list[np.ndarray]:
    """Codes (P, L) at each of an odd number of steps: the middle is one of them."""
    if steps < 3 or steps % 2 == 0:
        raise InputError(f"steps={steps} came; an odd number of at least 3 is wanted, so that a path has a middle")
    return [way(start, end, t) for t in np.linspace(0, 1, steps)]


def against_ends(bad: np.ndarray, sign: int, bar: float = -math.inf) -> Paths:
    """The middle of paths against their ends, by a measure bad (T, P) that is larger where it is worse.

    `sign` is that of the measure beside the one that is told; a hole is also worse than `bar`.
    """
    ends, middle = bad[[0, -1]], bad[len(bad) // 2]
    bar = max(bar, float(np.quantile(ends, RARE)))
    holes = share(middle > np.maximum(ends.max(0), bar))
    return Paths(Estimate(*mean_and_error(middle - ends.mean(0))), holes, sign * bad.mean(1))


def dependence(codes: np.ndarray) -> Dependence:
    """Correlations of the dimensions of codes (n, L)."""
    n, kept = len(codes), moving(codes)
    d = kept.shape[1]
    if d == 0:
        return Dependence(0.0, 0.0, 0.0, 0.0, 0.0)
    covariance = np.cov(kept.T).reshape(d, d)
    effective = float(np.trace(covariance) ** 2 / np.square(covariance).sum())
    if d == 1:
        return Dependence(0.0, 0.0, 0.0, effective, 0.0)
    deviation = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(deviation, deviation)
    apart = np.abs(correlation[np.triu_indices(d, 1)])
    eigenvalues = np.linalg.eigvalsh(correlation)
    total = -0.5 * float(np.log(eigenvalues).sum()) if eigenvalues[0] > ROUNDING**2 else math.inf
    return Dependence(float(apart.mean()), math.sqrt(2 / (math.pi * n)), float(apart.max()), effective, max(total, 0.0))


def principal_angles(codes: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(k,) degrees, the largest first, between the spans of codes (n, L) and of as many principal components of x.

    x (n, *X) are the rows of the codes, in the units that the encoder reads. The cosines are the canonical correlations
    of codes and scores over rows (Björck & Golub, 1973): a linear autoencoder has 0 throughout (Baldi & Hornik, 1989),
    and so has any code of as many dimensions as rows vary in. k is how many dimensions codes vary in, or rows where
    these are fewer.
    """
    kept, rows = moving(codes), x.reshape(len(x), -1).astype(np.float64)
    own = basis(kept / kept.std(0))
    found = [own, basis(rows - rows.mean(0), own.shape[1])]
    return np.degrees(subspace_angles(*found)) if min(part.shape[1] for part in found) else np.zeros(0)


def basis(columns: np.ndarray, most: int | None = None) -> np.ndarray:
    """(n, k) an orthonormal basis of what centred columns (n, d) span, or of their first principal scores."""
    if not columns.size:
        return np.zeros((len(columns), 0))
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, singular > ROUNDING * singular[0]][:, :most]


def moving(codes: np.ndarray) -> np.ndarray:
    """(n, d) the centred dimensions of codes (n, L) that are not constant."""
    centred = codes.astype(np.float64) - codes.mean(0, dtype=np.float64)
    spread = centred.std(0)
    return centred[:, spread > STILL * spread.max(initial=0)]


def sharpness(images: np.ndarray) -> np.ndarray:
    """(n,) variance of the Laplacian of each of images (n, h, w) or (n, h, w, c), in the square of their units.

    A measure of focus (Pech-Pacheco et al., 2000): blur lowers it, and noise raises it as edges do. Raises InputError
    for other shapes, or a side of less than three pixels, which has no inside.
    """
    if images.ndim not in (3, 4) or min(images.shape[1:3]) < 3:
        raise InputError(f"images of shape {images.shape} came; (n, h, w) or (n, h, w, c) of 3 pixels a side is wanted")
    x = images.astype(np.float64)
    around = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    return (around - 4 * x[:, 1:-1, 1:-1]).var((1, 2)).reshape(len(x), -1).mean(1)


def relative_sharpness(images: np.ndarray, originals: np.ndarray) -> Estimate | None:
    """Mean sharpness of images (n, h, w[, c]) over that of originals (m, h, w[, c]): below 1 where they are blurred.

    The error is that of independent images; reconstructions of the same originals are known better. None where the
    originals are all flat.
    """
    (over, over_error), (under, under_error) = (mean_and_error(sharpness(part)) for part in (images, originals))
    if under == 0:
        return None
    ratio = over / under
    return Estimate(ratio, math.hypot(over_error, ratio * under_error) / under)
