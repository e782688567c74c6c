"""One run of a comparison: a model trained with a seed and measured, as plain values."""

from __future__ import annotations

import copy
import dataclasses
import time
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA

from isthmus.comparison.specs import Entry
from isthmus.comparison.split import Split
from isthmus.errors import InputError, TrainingError
from isthmus.estimators.base import Estimator
from isthmus.estimators.param_validation import whole
from isthmus.estimators.part_registry import AUTO, LIKELIHOODS
from isthmus.estimators.ppca import ProbabilisticPCA
from isthmus.estimators.training_setup import TrainingJob, fingerprint, prepare
from isthmus.estimators.validation import collect
from isthmus.evaluation.baselines import ROUNDING_SHARE, ppca_scores
from isthmus.evaluation.evaluate import MEASURES, evaluate
from isthmus.examples import Examples
from isthmus.schema import Schema
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.progress import ProgressCallback

READ = {"log_likelihood", "reconstruction", "probes", "classifier"}
"""Measures that the table reads."""
ROWS = ("log_px", "squared_error")
"""What is kept of every row: differences between models are taken row by row."""


def exact(estimator: Estimator) -> bool:
    """Whether a model is solved, not trained: every seed gives the same."""
    return isinstance(estimator, ProbabilisticPCA)


def prepared(entry: Entry, split: Split, seed: int) -> tuple[Estimator, TrainingJob]:
    """The model with its `seed`-th seed, and everything decided for its run; InputError where it cannot be trained."""
    estimator = clone(entry.estimator)
    first = estimator.random_state or 0
    if not whole(first) or first < 0:
        raise InputError(f"random_state={first!r} came; a whole number of at least 0 is wanted, the first of the seeds")
    estimator.set_params(random_state=int(first) + seed)
    company = split.company(estimator, split.train)
    validation = split.validation(estimator)
    job = prepare(estimator, split.train.x, company["condition"], company["lengths"], validation)
    return estimator, job


def trial(
    entry: Entry,
    split: Split,
    seed: int,
    draws: int,
    keep: Checkpointer | None = None,
    show: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Train and measure; a run that cannot be finished says why instead.

    Raises Interrupted on Ctrl-C, and InputError where nothing can be written.
    """
    about: dict[str, Any] = {"model": entry.label, "value": entry.value, "seed": seed, "failed": None}
    about["exact"] = exact(entry.estimator)
    try:
        estimator, job = prepared(entry, split, seed)
    except InputError as error:
        return about | {"failed": str(error)}
    about |= {
        "epochs": job.plan.epochs,
        "batch_size": min(job.plan.batch_size, len(job.train_rows)),
        "latent_dim": estimator.latent_dim,
        "parameters": sum(parameter.numel() for parameter in job.recipe.model.parameters()),
        "train_rows": fingerprint(Examples(job.train_rows.x)),
    }
    started = time.perf_counter()
    try:
        history = job.train(keep, show)
    except TrainingError as error:
        return about | {"failed": str(error)}
    took = time.perf_counter() - started
    estimator.adopt(job, history)
    try:
        return about | {
            "seconds": history[-1]["seconds"] if history else took,
            **measured(estimator, job, split, draws),
        }
    except InputError as error:
        return about | {"failed": str(error)}


def measured(estimator: Estimator, job: TrainingJob, split: Split, draws: int) -> dict[str, Any]:
    """Everything of the test rows, as `evaluate` tells it, with numbers a row."""
    test, company = split.test, split.company(estimator, split.test)
    left_out = {*MEASURES} - READ
    found = evaluate(estimator, test.x, test.y, **company, draws=draws, train=job.train_rows, without=left_out)
    assert found.per_row is not None
    rows = {name: values for name in ROWS if (values := getattr(found.per_row, name)) is not None}
    kind, bound = score_of(estimator.schema_), False
    inputs = collect(estimator, test.x, company["condition"], company["lengths"])
    if exact(estimator):
        rows["squared_error"] = projection_error(estimator.latent_dim, job.train_rows, inputs)
        if LIKELIHOODS[AUTO[estimator.schema_.kind]].discrete:
            dequantised = ppca_scores(as_discrete(estimator), job.train_rows, inputs)
            assert dequantised is not None
            rows["log_px"], kind, bound = dequantised.log_px, "probability", True
    return {
        "test_rows": fingerprint(Examples(inputs.x)),
        "kind": kind,
        "bound": bound,
        "given_condition": estimator.schema_.condition is not None,
        "facts": found.to_dict(),
        "rows": {name: np.asarray(values, np.float64).tolist() for name, values in rows.items()},
    }


def score_of(schema: Schema) -> str:
    """What a log-likelihood is that of: numbers of different kinds cannot be compared."""
    if schema.binarize:
        return "probability of drawn bits"
    if schema.discrete:
        return "no density: bits expected, shares given" if schema.kind == "unit" else "probability"
    return "density"


def as_discrete(estimator: Estimator) -> Estimator:
    """A linear model of whole numbers as one that dequantises them: its density then bounds their probability."""
    view = copy.copy(estimator)
    (column,) = estimator.schema_.columns
    view.schema_ = dataclasses.replace(estimator.schema_, columns=(dataclasses.replace(column, discrete=True),))
    return view


def projection_error(latent_dim: int, train: Examples, test: Examples) -> np.ndarray:
    """(n,) squared distance of test rows from their projection by PCA of the training rows.

    The posterior mean of probabilistic PCA is drawn towards the middle, and a linear autoencoder would beat it.
    """
    fitted, held = (part.x.reshape(len(part), -1).astype(np.float64) for part in (train, test))
    pca = PCA(min(latent_dim, *fitted.shape), random_state=0).fit(fitted)
    left = np.square(pca.inverse_transform(pca.transform(held)) - held).sum(1)
    return np.where(left > ROUNDING_SHARE * np.square(held - pca.mean_).sum(1), left, 0.0)
