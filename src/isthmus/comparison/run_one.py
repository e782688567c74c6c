"""One run of a comparison: a model is trained with one seed, evaluated on the test rows and scored."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.base import clone

from isthmus.comparison.results import RunResult
from isthmus.comparison.scores import ScoredModel, all_scores, required_measures
from isthmus.comparison.specs import PCA_BEST, Entry
from isthmus.comparison.split import Split
from isthmus.errors import InputError, TrainingError
from isthmus.estimators.param_validation import is_integer
from isthmus.estimators.training_job import TrainingJob
from isthmus.estimators.training_setup import setup_training
from isthmus.evaluation.baselines import ppca_scores
from isthmus.evaluation.evaluate import MEASURES, evaluate
from isthmus.evaluation.fitted_on import MadeOfRows, fitted_on
from isthmus.examples import Examples, fingerprint
from isthmus.fitted import FittedModel
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.progress import ProgressCallback


@contextlib.contextmanager
def data_warnings_ignored() -> Iterator[None]:
    """Without what `fit` warns of before training: `compare` says it once for all models and seeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def prepare_run(entry: Entry, split: Split, seed: int) -> tuple[TrainingJob, Examples]:
    """Everything that is decided before the `seed`-th run of a model, and its test rows.

    Raises:
        InputError: if the model cannot be trained on these rows.
    """
    estimator = clone(entry.estimator)
    first_seed = estimator.random_state or 0
    if not is_integer(first_seed) or first_seed < 0:
        raise InputError(f"random_state must be an integer >= 0, the first of the seeds, got {first_seed!r}.")
    estimator.set_params(random_state=int(first_seed) + seed)
    rows = split.for_model(estimator)
    job = setup_training(estimator, rows.train, validation=rows.valid)
    return job, rows.test


def train_and_score(
    entry: Entry,
    split: Split,
    seed: int,
    draws: int,
    checkpointer: Checkpointer | None = None,
    show: ProgressCallback | None = None,
) -> RunResult:
    """Train a model with one seed and score it; a run that fails says why.

    Raises:
        Interrupted: on Ctrl-C.
        InputError: if files cannot be written.
    """
    result = RunResult(entry.label, entry.value, seed)
    try:
        with data_warnings_ignored():
            job, test = prepare_run(entry, split, seed)
    except InputError as error:
        return dataclasses.replace(result, failure=str(error), closed_form=bool(entry.baseline))
    result = dataclasses.replace(
        result,
        closed_form=job.recipe.solve is not None,
        latent_dim=job.recipe.model.code.size,
        epochs=job.config.epochs,
        batch_size=min(job.config.batch_size, len(job.train_rows)),
        train_rows=fingerprint(Examples(job.train_rows.x)),
    )
    started = time.perf_counter()
    try:
        history = job.train(checkpointer, show)
    except TrainingError as error:
        return dataclasses.replace(result, failure=str(error))
    # A resumed run trained for longer than this call took; its history has the total.
    seconds = history[-1]["seconds"] if history else time.perf_counter() - started
    try:
        kind = (entry.baseline, entry.dequantized)
        scored = evaluate_model(job.fitted(history), job.train_rows, test, draws, seconds, *kind)
    except InputError as error:
        return dataclasses.replace(result, failure=str(error))
    return dataclasses.replace(
        result,
        test_rows=fingerprint(Examples(scored.test.x)),
        scores=all_scores(scored),
        evaluation=scored.evaluation.to_dict(),
    )


def trained_model(label: str, model: FittedModel | MadeOfRows, split: Split) -> FittedModel:
    """A model that was trained before; networks of others become a model of the test rows and all classes.

    Raises:
        InputError: if they cannot be applied to these rows.
    """
    try:
        return fitted_on(model, split.test, classes=split.labels)
    except InputError as error:
        raise InputError(f"{label}: {error}") from None


def score_trained(label: str, fitted: FittedModel, split: Split, draws: int) -> RunResult:
    """Score a model that was trained before on the test rows: one run, for every seed would give the same.

    Raises:
        InputError: if it cannot be applied to these rows.
    """
    try:
        rows = split.conditioned(fitted.schema.condition is not None)
        scored = evaluate_model(fitted, fitted.check(rows.train), rows.test, draws, None)
    except InputError as error:
        raise InputError(f"{label}: {error}") from None
    return RunResult(
        label,
        None,
        0,
        closed_form=True,
        latent_dim=fitted.code_size,
        test_rows=fingerprint(Examples(scored.test.x)),
        scores=all_scores(scored),
        evaluation=scored.evaluation.to_dict(),
        fixed=True,
    )


def evaluate_model(
    fitted: FittedModel,
    train: Examples,
    test: Examples,
    draws: int,
    seconds: float | None,
    baseline: str = "",
    dequantized: bool = False,
) -> ScoredModel:
    """Evaluate a trained model on the test rows."""
    test = fitted.check(test)
    unused = set(MEASURES) - required_measures()
    evaluation = evaluate(fitted, test, draws=draws, train=train, without=unused)
    scaling = fitted.fields["scaling"] if baseline == PCA_BEST else None
    bound = dequantized_log_px(fitted, train, test, scaling) if dequantized else None
    return ScoredModel(fitted, evaluation, train, test, seconds, baseline, bound)


def dequantized_log_px(
    fitted: FittedModel, train: Examples, test: Examples, scaling: str | None = None
) -> np.ndarray | None:
    """(n,) log-density of dequantised rows under probabilistic PCA; None if it is not bounded.

    With uniform noise u on [0, 1)^d, E[log p(x + u)] <= log E[p(x + u)] = log P(x): a lower bound on the
    log-probability of x (Theis et al., 2016), which can be compared with that of discrete models.
    """
    scores = ppca_scores(fitted, train, test, discrete=True, scaling=scaling)
    return None if scores is None else scores.log_px
