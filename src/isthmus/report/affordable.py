"""What is measured at the end of a run: as much as is short beside training, by the numbers of rows and operations."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import torch

from isthmus.evaluation.baseline_data import max_fit_rows
from isthmus.evaluation.context import ENCODED_TRAIN_MAX_ROWS
from isthmus.evaluation.generalization import GAP_DRAWS, GAP_MAX_ROWS
from isthmus.evaluation.latent_space import MAX_PATHS
from isthmus.evaluation.prior_fit import SPREAD_SAMPLES
from isthmus.metrics.latent_geometry import PATH_STEPS
from isthmus.metrics.memorization import MAX_OPERATIONS
from isthmus.persistence.run_dir import Run
from isthmus.train.runtime import count_flops

FIXED_FLOPS, SHARE_OF_TRAINING = 2e11, 0.05
"""Floating-point operations for measuring: of two seconds, and this share of those of training. A rule on operations,
never a clock: a run measures the same wherever it is repeated."""
MAX_SCORING_FLOPS = 1.5e12
"""Operations that draws for log p(x) take beyond the fewest: about a minute of one core."""
MIN_PASS_FLOPS = 2e5
"""Least operations that a pass of one row counts as: small networks are bound by memory, not arithmetic."""
MAX_DRAWS, MIN_DRAWS, MIN_ROWS = 1000, 10, 100
"""Draws per row for log p(x); and the fewest rows that it is measured on where there are more."""
LEFT_OUT = ("inference_gap", "samples")
"""The slowest measures, which `isthmus evaluate` takes."""


class Sizes(NamedTuple):
    """What the work of measures depends on."""

    rows: int
    """Held-out rows."""
    train_rows: int
    columns: int
    """Numbers in a row."""
    pass_flops: float
    """Operations of one row's pass through the networks."""

    def numbers(self, most: int) -> int:
        """Numbers in the training rows, or in at most so many rows."""
        return min(self.train_rows, most) * self.columns

    @property
    def fitted_numbers(self) -> int:
        """Numbers that baselines are fitted to."""
        return self.numbers(max_fit_rows(self.columns))

    @property
    def decomposition(self) -> float:
        """Numbers times those of a row or of a column: the work of a decomposition, but for a factor."""
        return float(self.fitted_numbers * min(self.columns, self.fitted_numbers / self.columns))

    @property
    def path_codes(self) -> int:
        """Codes on the paths between the codes of two rows."""
        return MAX_PATHS * PATH_STEPS if self.rows > 2 * MAX_PATHS else self.rows * PATH_STEPS // 2

    @property
    def distances(self) -> float:
        """Multiplications for the distances of all training rows from as many samples, and other rows, as are rows."""
        return 2.0 * self.rows * self.train_rows * self.columns


class Measured(NamedTuple):
    """A measure that may be left out."""

    words: str
    flops: Callable[[Sizes], float]
    """Operations that it takes, or products of matrices would take in its time: sorts do less in a second."""


# The factors are from images of 28 to 96 pixels a side and from tables, at 1e11 operations a second.
SLOW: dict[str, Measured] = {
    "density_baselines": Measured("probabilistic PCA", lambda s: 25 * s.decomposition),
    "baselines": Measured("PCA", lambda s: 15 * s.decomposition),
    "refit_gain": Measured(
        "the gain of another prior", lambda s: 0.5 * s.pass_flops * min(s.train_rows, ENCODED_TRAIN_MAX_ROWS)
    ),
    "linear_dimensions": Measured("the dimensions of linear models", lambda s: 2.5e4 * s.numbers(2000)),
    "training": Measured(
        "training rows", lambda s: s.pass_flops * MIN_DRAWS * (GAP_MAX_ROWS + min(s.rows, GAP_MAX_ROWS))
    ),
    "sample_spread": Measured("the spread of samples", lambda s: SPREAD_SAMPLES * (s.pass_flops + 2.5e4 * s.columns)),
    "column_shift": Measured("shifts of columns", lambda s: 2e4 * (s.numbers(2000) + s.rows * s.columns)),
    "classifier": Measured("a classifier of samples", lambda s: 1.4e11 + 1.5e8 * s.rows),
    "paths": Measured("paths between codes", lambda s: s.pass_flops * MIN_DRAWS * s.path_codes),
    "copies": Measured("copies of training rows", lambda s: 6 * min(MAX_OPERATIONS, s.distances)),
    "paths.distance": Measured(
        "the distances of these paths", lambda s: s.path_codes * (s.pass_flops + 5 * s.train_rows * s.columns)
    ),
    "density_baselines.iterative": Measured("factor analysis and a mixture", lambda s: 5e4 * s.fitted_numbers),
}
"""Those that may take long, in the order in which they are chosen."""
OF_DENSITIES = ("log_likelihood", "density_baselines", "density_baselines.iterative", "training", "paths")
OF_SAMPLES = ("sample_spread", "classifier", "copies")
"""Those that cost nothing where a model has no density, or is not sampled from."""


class Affordable(NamedTuple):
    """What the end of a run measures."""

    rows: int
    """Held-out rows."""
    draws: int
    """Draws per row for log p(x)."""
    left_out: tuple[str, ...]
    """Measures, of `SLOW`, for which training was too short."""


def affordable(run: Run, rows: int) -> Affordable:
    """What can be measured of at most so many held-out rows in a time that is short compared with training."""
    train = run.job.train_rows
    one = run.job.to_device(train.take(np.arange(1))).batch(torch.arange(1, device=run.job.device))
    of_pass = max(MIN_PASS_FLOPS, count_flops(run.fitted.model, one))
    training = 3 * of_pass * len(train) * len(run.fitted.history)  # a gradient is two passes more
    can = run.fitted.capabilities
    free = (() if can.has_density else OF_DENSITIES) + (() if can.samples else OF_SAMPLES)
    return chosen(Sizes(rows, len(train), one.x[0].numel(), of_pass), training, free)


def chosen(sizes: Sizes, training: float, free: Collection[str] = ()) -> Affordable:
    """What the operations for measuring reach for: the fewest draws, then measures in their order, then more draws.

    Args:
        sizes: of the data and the networks.
        training: operations of training.
        free: measures that cost nothing, as they do not apply.
    """
    left = FIXED_FLOPS + SHARE_OF_TRAINING * training
    passes, left_out = 1 if "log_likelihood" in free else MIN_DRAWS, []
    of_row = passes * sizes.pass_flops
    rows = min(sizes.rows, max(MIN_ROWS, int(left / of_row)))
    sizes, left = sizes._replace(rows=rows), left - rows * of_row
    for name, measure in SLOW.items():
        flops = 0.0 if name in free else measure.flops(sizes)
        if flops > left:
            left_out.append(name)
        else:
            left -= flops
    # Training rows, as many others, and points on paths are scored too, by as many draws up to `GAP_DRAWS`.
    others = 0 if "training" in left_out else GAP_MAX_ROWS + min(rows, GAP_MAX_ROWS)
    others += 0 if "paths" in left_out else sizes.path_codes
    more = min(left, MAX_SCORING_FLOPS) / sizes.pass_flops  # passes of a row
    draws = min(GAP_DRAWS, MIN_DRAWS + more / (rows + others))
    more -= (draws - MIN_DRAWS) * (rows + others)
    return Affordable(rows, int(min(MAX_DRAWS, draws + more / rows)), tuple(left_out))
