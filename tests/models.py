"""Every registered model, small, and data of every kind: a new model joins the laws by being registered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import isthmus
from isthmus.evaluation.evaluate import MEASURES
from isthmus.model_registry import models
from isthmus.report.from_run import MeasuredRun

LABELLED = [name for name in models() if getattr(isthmus, name)().capabilities.wants_labels]
"""Models that learn from labels, whose laws are those of `test_semi_supervised`."""
NAMES = [name for name in models() if name not in LABELLED]
TRAINED = [name for name in NAMES if name != "ProbabilisticPCA"]  # solved exactly: no loop to test
FEW = ("VAE", "SparseAutoencoder", "ContractiveAutoencoder")  # bounds, moving buffers, a penalty by gradients
OTHER_DEFAULTS = (
    "BetaVAE",
    "IWAE",
    "BetaTCVAE",
    "FactorVAE",
    "DIPVAE",
    "InfoVAE",
    "VampPriorVAE",
    "VAEGAN",
    "WassersteinAutoencoder",
    "AdversarialAutoencoder",
)
"""Models that are another one with other defaults: `conftest` leaves them to the grid."""
MOSTLY_GRID = [name if name in FEW else pytest.param(name, marks=pytest.mark.grid) for name in TRAINED]
"""All models; those that add a mechanism in every run, the others in the full one."""
NOT_BY_LIKELIHOOD = ("VAEGAN",)
"""Models that give up likelihood for what a critic of rows says, which draws rows from the prior."""
OWN_PRIOR = ("VQVAE",)
"""Models whose prior no field names."""
LAYERED = ("LadderVAE",)
"""Models with layers of codes above those of `latent_dim`."""
DENSE = [name for name in NAMES if getattr(isthmus, name)().capabilities.scores != "none"]


def small(name: str, **fields: Any):
    """A model that trains in a moment on one thread."""
    if name == "ProbabilisticPCA":
        defaults: dict[str, Any] = {"latent_dim": 3, "random_state": 0}
    else:
        defaults = {"hidden": (16,), "epochs": 4, "batch_size": 16, "threads": 1, "random_state": 0}
        known = models()[name].fields
        if known["latent_dim"].default in (16, "auto"):
            defaults["latent_dim"] = 3
        if known["prior"].default == "auto":
            defaults["prior"] = "normal"
        if name == "VQVAE":
            defaults |= {"latent_dim": 3, "quantization": "vq(8, 1)"}
        defaults["learning_rate"] = 1e-3
    return getattr(isthmus, name)(**(defaults | fields))


class MeanAndLogVariance(nn.Module):
    """The encoder of a fitted model as most people write one, for `wrap`."""

    def __init__(self, model):
        super().__init__()
        self.net = model.model_.posterior.net

    def forward(self, x):
        loc, log_scale = self.net(x).chunk(2, -1)
        return loc, 2 * log_scale


def rows_of(model: Any, X: Any, condition: Any = None, lengths: Any = None, bits: str = "mean"):
    """Rows as the networks of a fitted estimator read them."""
    fitted = model.fitted_
    return fitted.dataset(fitted.check(X, condition, lengths), bits)


def table(n: int = 90, d: int = 5, seed: int = 0) -> np.ndarray:
    """Correlated floats of different scales."""
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)) @ random.normal(size=(d, d)) * np.logspace(-1, 2, d) + 7


def images(n: int = 90, shape: tuple[int, ...] = (6, 5), seed: int = 0) -> np.ndarray:
    """Grey bytes with structure: bars whose place and brightness vary."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 20, (n, *shape))
    for image, row, light in zip(x, random.integers(0, shape[0], n), random.integers(60, 230, n)):
        image[row] += light
    return x.astype(np.uint8)


def bits(n: int = 90, d: int = 8, seed: int = 0) -> np.ndarray:
    """Zeros and ones, of two kinds of rows."""
    random = np.random.default_rng(seed)
    rate = np.where(random.random((n, 1)) < 0.5, 0.15, 0.8)
    return (random.random((n, d)) < rate).astype(np.uint8)


def counts(n: int = 90, d: int = 5, seed: int = 0) -> np.ndarray:
    """Counts of different means."""
    random = np.random.default_rng(seed)
    return random.poisson(random.gamma(2, 3, (n, 1)) * np.linspace(0.2, 3, d)).astype(np.int64)


DATA = {"table": table, "images": images, "bits": bits, "counts": counts}


SLOW = ("inference_gap", "classifier", "samples", "copies", "paths", "paths.distance", "training", "sharpness")
"""Measures that take seconds, and that are tested elsewhere."""


def without_slow_measures(patch) -> None:
    """Let commands that measure a run on their way do so in a moment."""
    for name in SLOW:
        patch.setitem(MEASURES, name, lambda context: None)
    patch.setattr("isthmus.report.affordable.MAX_DRAWS", 50)


def without_page(patch) -> None:
    """Let runs end without the page and the figures, which are tested elsewhere."""
    patch.setattr(MeasuredRun, "write_page", empty_page)
    patch.setattr(MeasuredRun, "write_figures", lambda measured: [])


def empty_page(measured: MeasuredRun, path: str | Path | None = None) -> Path:
    written = measured.run.folder / "report.html" if path is None else Path(path)
    written.touch()
    return written
