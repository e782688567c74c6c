"""Squared errors of reconstructions, and what the residuals look like."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from isthmus.evaluation.context import EvalContext
from isthmus.examples import Examples
from isthmus.families import Family
from isthmus.latent_model import Model
from isthmus.metrics.estimate import mean_and_error
from isthmus.metrics.image_quality import psnr, ssim
from isthmus.metrics.importance_weighting import NOISE_SEED
from isthmus.metrics.metric import HIDDEN, INLINE, LINE, Metric, from_estimate, mean_over_rows, setting
from isthmus.random_streams import seeded
from isthmus.scales import SCALE_FLOOR

DATA_UNIT = "squared data units, summed"
SCALED_UNIT = "squared scaled units, summed"
"""Units of a squared error, summed over features: of the data, and of the scaled columns that networks read."""
RESIDUAL_DRAWS = 8
"""Codes drawn per row for the residuals."""
RESIDUAL_MAX_ROWS = 1_000
"""Rows whose residuals are measured, at most."""
FLOOR_RATIO = 1.5
"""Times the floor below which a learned scale has reached the floor."""


def reconstruction_error(context: EvalContext) -> Metric | None:
    """Squared error of the reconstructions, in the data's units and in scaled units; None without a code."""
    if not context.has_code:
        return None
    return error_metric("reconstruction", "reconstruction error", context, context.errors, context.scaled_errors)


def error_metric(
    name: str, label: str, context: EvalContext, errors: np.ndarray, scaled_errors: np.ndarray, *details: Metric
) -> Metric:
    """Squared errors (n,), with the same in scaled units as a detail that text shows if columns differ in scale."""
    differ = bool(np.ptp(context.schema.scale))
    scaled = mean_over_rows(
        f"{name}.scaled",
        "in scaled columns",
        SCALED_UNIT,
        "squared error",
        scaled_errors,
        weight=context.weight,
        details=(setting(f"{name}.scaled.uneven", "columns differ in scale", differ, HIDDEN),),
        shown=LINE if differ else HIDDEN,
        digits="",
    )
    more: dict[str, Any] = {"weight": context.weight, "details": (scaled, *details), "digits": ""}
    return mean_over_rows(name, label, DATA_UNIT, "squared error", errors, **more)


def image_quality(context: EvalContext) -> tuple[Metric, ...] | None:
    """PSNR and SSIM of the reconstructions of images: of damaged rows, with those of the damage itself.

    None for rows that are no images, and for models without a code.
    """
    rows = context.examples
    if not context.has_code or not context.schema.image or rows.observed is not None or context.nominal.any():
        return None
    return similarity("", context, context.reconstructions, None if rows.target is None else rows.x)


def similarity(prefix: str, context: EvalContext, images: np.ndarray, damaged: np.ndarray | None) -> tuple[Metric, ...]:
    """PSNR and SSIM of images (n, h, w[, c]), and of the damaged ones that they were made of, to the clean rows."""
    rows = context.examples
    clean, extent = rows.x if rows.target is None else rows.target, data_range(context)

    def of(name: str, label: str, images: np.ndarray, **kwargs: Any) -> tuple[Metric, Metric]:
        errors = context.fitted.squared_errors(rows, images) / context.schema.size
        ratio = psnr(errors, extent, context.weight)
        signal = from_estimate(name.format("psnr"), label.format("PSNR"), "dB", "psnr", ratio, **kwargs)
        values = ssim(images, clean, extent)
        kwargs |= {"digits": ".3f", "weight": context.weight}
        return signal, mean_over_rows(name.format("ssim"), label.format("SSIM"), "", "ssim", values, **kwargs)

    before: tuple[Any, ...] = ((), ())
    if damaged is not None:
        before = tuple((one,) for one in of(prefix + "{}.damaged", "damaged", damaged, shown=INLINE))
    after = of(prefix + "{}", "{} of " + ("reconstructions" if damaged is None else "cleaned rows"), images)
    return tuple(replace(metric, details=details) for metric, details in zip(after, before))


def data_range(context: EvalContext) -> float:
    """The largest difference that two pixels can have: 255 of bytes, 1 of shares; else the range of the clean rows."""
    schema, rows = context.schema, context.examples
    levels = context.fitted.fields.get("levels") or (256 if schema.dtype == "uint8" and schema.kind != "binary" else 0)
    if levels:
        return float(levels - 1)
    clean = rows.x if rows.target is None else rows.target
    low, high = float(clean.min()), float(clean.max())
    return 1.0 if low >= 0 and high <= 1 else high - low


def residuals(context: EvalContext) -> tuple[Metric, ...] | None:
    """The scale of a normal p(x given z) beside the root mean square of the residuals, both in scaled units.

    The best scale of a normal is that root mean square (Rybkin et al., 2021), and a fixed scale s in its place is a
    weight of s^2 / rms^2 on the KL term. None for other likelihoods.
    """
    model, total, count = context.fitted.model, 0.0, 0
    family = likelihood_family(model)
    normal = None if family is None else family.normal_scale()
    if normal is None or not context.has_code:
        return None
    with torch.no_grad(), context.fitted.threads(), seeded(NOISE_SEED, context.fitted.model):
        for chunk in context.scored.take(context.subsample(RESIDUAL_MAX_ROWS)):
            batch = chunk.batch
            out = model.forward_from(batch, chunk.q, chunk.q.noise(RESIDUAL_DRAWS, len(batch.x)), chunk.prior)
            if out.px is None:  # the model hands over log p(x given z) alone
                return None
            residual = (batch.target - out.px.mean).double()  # (K, B, *X)
            mean_square, counted = out.expectation(residual.square()), model.counted(batch)  # (B, *X)
            if counted is not None:
                mean_square = mean_square[counted.expand_as(mean_square)]
            total, count = total + float(mean_square.sum()), count + mean_square.numel()
    if not count:
        return None
    log_scale = normal.log_scale.detach().reshape(-1)
    rms, scale = math.sqrt(total / count), float((2 * log_scale).exp().mean().sqrt())
    at_floor = float((log_scale.exp() < FLOOR_RATIO * SCALE_FLOOR).double().mean())
    parts: tuple[tuple[str, str, str, str, float | bool], ...] = (
        ("rms", "residuals: root mean square", "scaled units", "scale", rms),
        ("scale", "scale of p(x|z)", "scaled units", "scale", scale),
        ("fixed", "scale of p(x|z) is fixed", "", "flag", normal.fixed),
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


def likelihood_family(model: Model) -> Family | None:
    """The family of p(x given z), which says what scale it has; None for a likelihood that is made otherwise."""
    family = getattr(model.parts().get("likelihood"), "family", None)
    return family if isinstance(family, Family) else None


def cleaning(context: EvalContext) -> Metric | None:
    """Squared error of the rows' reconstructions over that of the damaged rows themselves; above 1 cleaning does harm.

    Both are compared with the clean rows, in scaled units: the rows' `target`, or the rows before the model's own
    corruption damages them. None for models that do not clean, and where nothing was damaged.
    """
    rows, corruption = context.examples, context.fitted.model.corruption
    images: tuple[Metric, ...] = ()
    if not context.has_code or rows.observed is not None or context.nominal.any():
        return None
    if rows.target is not None:
        cleaned, damage = context.scaled_errors, context.fitted.squared_errors(rows, rows.x, scaled=True)
    elif corruption is not None and not context.schema.binarize:
        dataset = context.encoded.dataset
        with torch.no_grad(), context.fitted.threads(), seeded(NOISE_SEED, context.fitted.model):
            damaged, codes = [], []
            for batch in dataset.batches(RESIDUAL_MAX_ROWS):
                x = corruption(batch.x)
                damaged.append(context.schema.to_data(x))
                codes.append(context.fitted.model.encode(batch._replace(x=x)).cpu().numpy())
        decoded = context.fitted.decode(np.concatenate(codes), rows.condition, rows.lengths)
        cleaned = context.fitted.squared_errors(rows, decoded, scaled=True)
        damage = context.fitted.squared_errors(rows, np.concatenate(damaged), scaled=True)
        if context.schema.image:
            images = similarity("cleaning.", context, decoded, np.concatenate(damaged))
    else:
        return None
    weight = context.weight
    total = float(np.average(damage, weights=weight))
    if not total:
        return None
    ratio, error = mean_and_error(cleaned / total, weight=weight)
    excess, excess_error = mean_and_error((cleaned - damage) / total, weight=weight)
    details = (Metric("cleaning.excess", "beyond that", "times", "ratio", excess, excess_error, shown=HIDDEN),)
    label = "error of cleaned rows over that of damaged rows"
    return Metric("cleaning", label, "times", "ratio", ratio, error, digits=".2f", details=(*details, *images))


def column_spread(context: EvalContext) -> Metric | None:
    """The largest standard deviation of a column over the smallest, in the units that networks read.

    None for images, sequences, shares and discrete data, whose columns have one unit; constant columns do not count.
    Declined for unordered categories.
    """
    schema, rows = context.schema, context.examples if context.train is None else context.train
    if schema.image or schema.sequence or schema.discrete or schema.kind == "unit":
        return None
    context.require_numeric()
    observed = np.ones(rows.x.shape, dtype=bool) if rows.observed is None else rows.observed
    seen = observed.any(0)
    deviation = context.scaled(rows.x)[:, seen].std(0, dtype=np.float64, where=observed[:, seen]).reshape(-1)
    deviation = deviation[deviation > 0]
    if len(deviation) < 2:
        return None
    label = "widest over narrowest scaled column"
    return Metric("column_spread", label, "times", "ratio", float(deviation.max() / deviation.min()), shown=HIDDEN)


def residual_eigenvalue_ratio(context: EvalContext) -> Metric | None:
    """How far the strongest direction of the residuals stands out of noise.

    The largest eigenvalue of the residuals' covariance in scaled units, over what independent noise of the same total
    would show in so many rows and columns (Marchenko & Pastur, 1967): 1 if no structure is left. None for sequences,
    and if there are no residuals; declined for rows with missing values or unordered categories.
    """
    rows = np.random.default_rng(context.seed).permutation(len(context))[:RESIDUAL_MAX_ROWS]
    if context.schema.sequence or not context.has_code or (n := len(rows)) < 2:
        return None
    context.require_complete(context.examples)
    context.require_numeric()
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
    fitted, x = context.fitted, context.examples.x
    if context.is_variational or not context.has_code or len(x) < 2:
        return None
    if fitted.schema.sequence or fitted.schema.condition is not None or context.examples.observed is not None:
        return None
    random = np.random.default_rng(context.seed)
    flat = x.reshape(len(x), -1)
    shuffled = Examples(np.stack([random.permutation(column) for column in flat.T], 1).reshape(x.shape))
    shuffled = shuffled.mark_checked(context.schema)
    lost = fitted.squared_errors(shuffled, fitted.reconstruct(shuffled)).mean()
    mean = np.broadcast_to(shuffled.x.mean(0, dtype=np.float64), x.shape)
    total = fitted.squared_errors(shuffled, mean).mean()
    if not total:
        return None
    label, unit = "variance lost by rows with shuffled columns", "share of the variance"
    return Metric("identity_test", label, unit, "squared error", float(lost / total), digits=".1%", shown=HIDDEN)
