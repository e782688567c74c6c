"""Honest numbers about a trained model: everything that is measured of it, once."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus.data.dataset import check_factors
from isthmus.errors import InputError, unknown
from isthmus.estimators.base import Estimator
from isthmus.estimators.training_setup import validation_rows
from isthmus.estimators.validation import collect
from isthmus.evaluation.active_units import active_units, copying
from isthmus.evaluation.ais_result import annealed
from isthmus.evaluation.baselines import densities, linear_reconstruction
from isthmus.evaluation.conditioning import of_condition
from isthmus.evaluation.context import EvalContext, squared
from isthmus.evaluation.estimates import told, told_rows
from isthmus.evaluation.formatting import lines
from isthmus.evaluation.generalization import of_training
from isthmus.evaluation.label_probes import disentangled, labels_read
from isthmus.evaluation.latent_space import geometry, paths, sharp
from isthmus.evaluation.log_likelihood import gap, of_density
from isthmus.evaluation.prior_fit import refit_gain
from isthmus.evaluation.reconstruction import column_spread, leftover, residuals
from isthmus.evaluation.sample_metrics import classifier, copies, sample_spread, samples
from isthmus.examples import Examples
from isthmus.metrics.ais import DEFAULT_STEPS as AIS_STEPS
from isthmus.metrics.estimate import mean_and_error

DRAWS = 1000
SQUARED, SCALED = "squared units of the data, summed", "squared units that networks read, summed"


@dataclass(frozen=True)
class Evaluation:
    """What was measured; every number says its unit, and whether it belongs to a density or a probability.

    `rows` holds what was measured of each row: log_px, elbo, khat, ess (n,), kl (n, L), where there is a density; codes
    (n, L) and squared_error (n,).
    """

    facts: dict[str, Any]
    rows: dict[str, np.ndarray] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.facts

    def __str__(self) -> str:
        return "\n".join(f"{name:<30}{value}" for name, value in lines(self.facts))


def evaluate(
    model: Estimator,
    X: Any,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    draws: int = DRAWS,
    train: Any = None,
    factors: Any = None,
    ais: int = 0,
    ais_steps: int = AIS_STEPS,
    without: Collection[str] = (),
) -> Evaluation:
    """Measure a fitted model on X (n, *X); nats in the data's own units.

    `y` (n,) are labels, which probes try to read from codes, and the condition of a conditional model. `train` are the
    rows that the model was fitted to, or a dict of X, condition and lengths: without these there are no baselines, and
    nothing is said of how training rows or samples differ. `factors` (n, F) are whole numbers that the rows were made
    from, which disentanglement is measured by. `ais` is a number of rows whose log p(x) is annealed too, over
    `ais_steps` temperatures: minutes for a hundred. `without` leaves out measures by name (`MEASURES`). Raises
    InputError for rows that the model cannot read.
    """
    if not isinstance(model, Estimator):
        raise InputError(f"a {type(model).__name__} came; a fitted model is wanted, of wrapped networks wrapped.on(X)")
    check_is_fitted(model, "model_")
    if ais and not model.density:
        raise InputError(f"{type(model).__name__} has no density, so that there is nothing to anneal; leave out ais")
    if not isinstance(ais, numbers.Integral) or ais < 0:
        raise InputError(f"ais={ais!r} came; a number of rows is wanted")
    wrong = next((name for name in without if name not in (*MEASURES, "baselines")), None)
    if wrong is not None:
        raise unknown("measure", wrong, (*MEASURES, "baselines"))
    if not finite(model):
        raise InputError("the weights are no numbers: training diverged; train again with a lower learning_rate")
    if model.schema_.condition is not None and condition is None:
        condition = y
    inputs = collect(model, X, condition, lengths)
    if train is not None and not isinstance(train, Examples):
        train = validation_rows(model, train, model.schema_, "train")
    if factors is not None:
        factors = check_factors(factors, len(inputs))
    subject = EvalContext(model, inputs, None if y is None else as_labels(y, len(inputs)), train, factors)
    facts: dict[str, Any] = {"model": type(model).__name__, "rows": len(inputs)}
    rows: dict[str, np.ndarray] = {}
    if model.density:
        found, rows = of_density(subject, draws)
        facts |= found
        if ais:
            facts["ais"] = annealed(subject, ais, draws, ais_steps)
    scaled = told_scaled(subject, subject.scaled(subject.again))
    facts["reconstruction"] = told_rows(subject.errors, SQUARED, "squared error", scaled=scaled)
    for name, measure in MEASURES.items():
        try:
            known = None if name in without else measure(subject)
        except InputError as error:  # too few rows for one measure are no reason to withhold the others
            facts.setdefault("refused", {})[name] = str(error)
            continue
        if known is not None:
            facts[name] = known
    if "baselines" not in without and train is not None and not model.schema_.sequence:
        facts |= baselines(subject, facts.get("log_likelihood"), rows.get("log_px"))
    return Evaluation(facts, {**rows, "codes": subject.codes, "squared_error": subject.errors})


MEASURES: dict[str, Callable[[EvalContext], Any]] = {
    "inference_gap": gap,
    "active_units": active_units,
    "probes": labels_read,
    "residuals": residuals,
    "column_spread": column_spread,
    "leftover": leftover,
    "copying": copying,
    "condition": of_condition,
    "training": of_training,
    "refit_gain": refit_gain,
    "sample_spread": sample_spread,
    "geometry": geometry,
    "paths": paths,
    "sharpness": sharp,
    "classifier": classifier,
    "samples": samples,
    "copies": copies,
    "disentanglement": disentangled,
}
"""What is measured beside the density and the reconstructions; a measure says None where it does not apply."""


def finite(model: Estimator) -> bool:
    """Whether all weights are numbers."""
    return all(bool(weight.isfinite().all()) for weight in model.model_.parameters())


def as_labels(y: Any, n: int) -> np.ndarray:
    """Labels as an array, one a row; InputError for another number of them."""
    labels = np.asarray(y.detach().cpu() if hasattr(y, "detach") else y)
    if labels.shape[:1] != (n,):
        raise InputError(f"y has shape {labels.shape} and there are {n} rows; one label a row is wanted")
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def told_scaled(subject: EvalContext, again: np.ndarray) -> dict[str, Any]:
    """The squared error of rows (n, *X) as networks read them; `uneven` where columns have scales of their own."""
    uneven = bool(np.ptp(subject.model.schema_.scale))
    return told_rows(squared(subject.as_read, again), SCALED, "squared error", uneven=uneven)


def baselines(subject: EvalContext, evidence: dict[str, Any] | None, log_px: np.ndarray | None) -> dict[str, Any]:
    """The training mean and PCA by squared error, and where there is a density the baselines that have one.

    By how much the model is better is told row by row, squared errors in the units that networks read: in those they
    were made small, by the model and by PCA, while in the data's units one wide column may rule. Where the training
    rows span too few dimensions for a density, that is said instead.
    """
    model, train, test = subject.model, subject.train, subject.inputs
    assert train is not None
    read = {"mean": subject.scaled(np.broadcast_to(train.x.mean(0, dtype=np.float64), test.x.shape))}
    k, read["pca"] = linear_reconstruction(subject.scaled(train.x), subject.as_read, model.latent_dim, model.seed_)
    own = squared(subject.as_read, subject.scaled(subject.again))
    found: dict[str, Any] = {}
    for name, again in read.items():
        errors = squared(subject.as_read, again)
        raw = squared(test.x, subject.unscaled(again)) if errors.any() else errors  # nothing missed: no rounding either
        told_raw = told_rows(raw, SQUARED, "squared error")
        found[name] = {**told_raw, "scaled": told_scaled(subject, again)}
        found[name]["lead"] = told_rows(errors - own, SCALED, "difference")
    found["pca"]["latent_dim"] = k
    if evidence is None or log_px is None or model.schema_.improper:
        return {"baselines": found}
    ground, known = densities(model, train, test)
    kind = "dequantised density, a lower bound on a log-probability" if model.schema_.discrete else "density"
    for name, (values, size) in known.items():
        lead = told(*mean_and_error(log_px - values, evidence["shared_error"]), "nats", "difference")
        found[name] = told_rows(values, "nats", kind, **size, given_condition=False, lead=lead)
    if ground.bounded:
        return {"baselines": found}
    return {"baselines": found, "degenerate": {"rank": ground.rank, "features": model.schema_.size}}
