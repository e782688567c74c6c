"""Squared errors of reconstructions, and what the residuals look like."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from isthmus.distributions.continuous import Normal
from isthmus.evaluation.context import EvalContext, squared_errors
from isthmus.examples import Examples
from isthmus.families import SCALE_FLOOR, FixedScale, LocationScale
from isthmus.metrics.importance_weighting import NOISE_SEED
from isthmus.metrics.metric import HIDDEN, LINE, Metric, mean_over_rows, setting
from isthmus.train.runtime import seeded

DATA_UNIT = "squared data units, summed"
SCALED_UNIT = "squared scaled units, summed"
"""Units of a squared error, summed over features: of the data, and of the scaled columns that networks read."""
RESIDUAL_DRAWS = 8
"""Codes drawn per row for the residuals."""
ROWS_AT_ONCE = 128
"""Rows decoded at once, with every draw."""
MAX_ROWS = 1_000
FLOOR_RATIO = 1.5
"""Times the floor below which a learned scale has reached the floor."""


def reconstruction_error(context: EvalContext) -> Metric:
    """Squared error of the reconstructions, in the data's units and in scaled units."""
    return error_metric("reconstruction", "reconstruction error", context, context.errors, context.scaled_errors)


def error_metric(
    name: str, label: str, context: EvalContext, errors: np.ndarray, scaled_errors: np.ndarray, *details: Metric
) -> Metric:
    """Squared errors (n,), with the same in scaled units as a detail that text shows if columns differ in scale."""
    differ = bool(np.ptp(context.model.schema_.scale))
    kwargs: dict[str, Any] = {"digits": ""}
    scaled = mean_over_rows(
        f"{name}.scaled",
        "in scaled columns",
        SCALED_UNIT,
        "squared error",
        scaled_errors,
        details=(setting(f"{name}.scaled.uneven", "columns differ in scale", differ, HIDDEN),),
        shown=LINE if differ else HIDDEN,
        **kwargs,
    )
    return mean_over_rows(name, label, DATA_UNIT, "squared error", errors, details=(scaled, *details), **kwargs)


def residuals(context: EvalContext) -> tuple[Metric, ...] | None:
    """The scale of a normal p(x given z) beside the root mean square of the residuals, both in scaled units.

    The best scale of a normal is that root mean square (Rybkin et al., 2021), and a fixed scale s in its place is a
    weight of s^2 / rms^2 on the KL term. None for other likelihoods.
    """
    model, rows = context.model, context.model.lay(context.subsample(MAX_ROWS), "fixed")
    family = model.model_.likelihood.family
    if not isinstance(family, LocationScale) or family.distribution is not Normal:
        return None
    latent, total, count = model.model_, 0.0, 0
    with torch.no_grad(), seeded(NOISE_SEED, rows.device):
        for index in torch.arange(len(rows), device=rows.device).split(ROWS_AT_ONCE):
            batch = rows.batch(index)
            z = latent.infer(batch).rsample((RESIDUAL_DRAWS,))  # (K, B, L)
            residual = batch.target - latent.decode(z, batch.c, batch.mask).mean  # (K, B, *X)
            if batch.mask is not None:
                residual = residual[:, batch.mask]
            total, count = total + float(residual.double().square().sum()), count + residual.numel()
        log_scale = torch.as_tensor(family.log_scale(), dtype=torch.float64).reshape(-1)
    rms, scale = math.sqrt(total / count), float((2 * log_scale).exp().mean().sqrt())
    at_floor = float((log_scale.exp() < FLOOR_RATIO * SCALE_FLOOR).double().mean())
    parts: tuple[tuple[str, str, str, str, float | bool], ...] = (
        ("rms", "residuals: root mean square", "scaled units", "scale", rms),
        ("scale", "scale of p(x|z)", "scaled units", "scale", scale),
        ("fixed", "scale of p(x|z) is fixed", "", "flag", isinstance(family.log_scale, FixedScale)),
        ("at_floor", "scales at the floor", "share of features", "share", at_floor),
        (
            "hidden_beta",
            "weight of the KL term that a fixed scale implies",
            "",
            "ratio",
            scale**2 / rms**2 if rms else math.inf,
        ),
    )
    return tuple(
        Metric(f"residuals.{key}", label, unit, kind, value, digits=".4g", shown=HIDDEN, plain=True)
        for key, label, unit, kind, value in parts
    )


def column_spread(context: EvalContext) -> Metric | None:
    """The largest standard deviation of a column over the smallest, in the units that networks read.

    None for images, sequences, shares and discrete data, whose columns have one unit; constant columns do not count.
    """
    schema = context.model.schema_
    if schema.image or schema.sequence or schema.discrete or schema.kind == "unit":
        return None
    x = context.scaled_x if context.train is None else context.scaled(context.train.x)
    deviation = x.reshape(len(x), -1).std(0, dtype=np.float64)
    deviation = deviation[deviation > 0]
    if len(deviation) < 2:
        return None
    label = "widest over narrowest scaled column"
    return Metric("column_spread", label, "times", "ratio", float(deviation.max() / deviation.min()), shown=HIDDEN)


def residual_eigenvalue_ratio(context: EvalContext) -> Metric | None:
    """How far the strongest direction of the residuals stands out of noise.

    The largest eigenvalue of the residuals' covariance in scaled units, over what independent noise of the same total
    would show in so many rows and columns (Marchenko & Pastur, 1967): 1 if no structure is left. None for sequences,
    and if there are no residuals.
    """
    rows = np.random.default_rng(context.seed).permutation(len(context))[:MAX_ROWS]
    if context.model.schema_.sequence or (n := len(rows)) < 2:
        return None
    residual = context.scaled_x[rows] - context.scaled(context.reconstructions[rows])
    residual = residual.reshape(n, -1).astype(np.float64)
    residual -= residual.mean(0)
    residual = residual[:, residual.std(0) > 0]
    total, d = float(np.square(residual).sum()), residual.shape[1]
    if not total:
        return None
    largest = float(np.linalg.norm(residual, 2)) ** 2
    value = largest * d / total / (1 + math.sqrt(d / n)) ** 2
    label = "strongest residual direction, over noise"
    return Metric("residual_eigenvalue_ratio", label, "times", "ratio", value, shown=HIDDEN)


def identity_test(context: EvalContext) -> Metric | None:
    """The share of their variance that rows with shuffled columns lose on the way through a plain autoencoder.

    Shuffled columns have no structure that a code could represent: a network that returns them nevertheless has learned
    the identity map, not the data. None for other models.
    """
    model, x = context.model, context.examples.x
    if model.density or model.schema_.sequence or model.schema_.condition is not None or len(x) < 2:
        return None
    random = np.random.default_rng(context.seed)
    flat = x.reshape(len(x), -1)
    shuffled = np.stack([random.permutation(column) for column in flat.T], 1).reshape(x.shape)
    codes = model.codes_of(model.lay(Examples(shuffled)))
    lost = squared_errors(shuffled, model.decoded(codes, None, drawn=False)).mean()
    total = squared_errors(shuffled, np.broadcast_to(shuffled.mean(0, dtype=np.float64), shuffled.shape)).mean()
    if not total:
        return None
    label, unit = "variance lost by rows with shuffled columns", "share of the variance"
    return Metric("identity_test", label, unit, "squared error", float(lost / total), digits=".1%", shown=HIDDEN)
