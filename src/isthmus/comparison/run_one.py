"""One run of a comparison: a model is trained with one seed, evaluated on the test rows and scored."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
from sklearn.base import clone

from isthmus.comparison.results import RunResult
from isthmus.comparison.scores import MEASURES, ScoredModel, all_scores
from isthmus.comparison.specs import Entry
from isthmus.comparison.split import Split
from isthmus.errors import InputError, TrainingError
from isthmus.estimators.base import Estimator
from isthmus.estimators.param_validation import is_integer
from isthmus.estimators.training_setup import TrainingJob, fingerprint, setup_training
from isthmus.evaluation.baselines import ppca_scores
from isthmus.evaluation.evaluate import MEASURES as ALL_MEASURES
from isthmus.evaluation.evaluate import evaluate
from isthmus.examples import Examples
from isthmus.likelihoods import AUTO, LIKELIHOODS
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.progress import ProgressCallback


def prepare_run(entry: Entry, split: Split, seed: int) -> tuple[Estimator, TrainingJob]:
    """The model with its `seed`-th seed, and everything that is decided before training.

    Raises:
        InputError: if the model cannot be trained on these rows.
    """
    estimator = clone(entry.estimator)
    first_seed = estimator.random_state or 0
    if not is_integer(first_seed) or first_seed < 0:
        raise InputError(f"random_state must be an integer >= 0, the first of the seeds, got {first_seed!r}.")
    estimator.set_params(random_state=int(first_seed) + seed)
    rows = split.for_model(estimator)
    return estimator, setup_training(estimator, rows.train.x, validation=rows.valid, **rows.train.model_kwargs())


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
        estimator, job = prepare_run(entry, split, seed)
    except InputError as error:
        return dataclasses.replace(result, failure=str(error), closed_form=entry.is_pca)
    result = dataclasses.replace(
        result,
        closed_form=job.recipe.solve is not None,
        latent_dim=estimator.latent_dim,
        epochs=job.config.epochs,
        batch_size=min(job.config.batch_size, len(job.train_rows)),
        train_rows=fingerprint(Examples(job.train_rows.x)),
    )
    started = time.perf_counter()
    try:
        history = job.train(checkpointer, show)
    except TrainingError as error:
        return dataclasses.replace(result, failure=str(error))
    # A resumed run trained for longer than this call took: its history knows.
    seconds = history[-1]["seconds"] if history else time.perf_counter() - started
    estimator.fitted_ = job.fitted(history)
    try:
        scored = evaluate_model(entry, estimator, job, split.for_model(estimator).test, draws, seconds)
    except InputError as error:
        return dataclasses.replace(result, failure=str(error))
    return dataclasses.replace(
        result,
        test_rows=fingerprint(Examples(scored.test.x)),
        scores=all_scores(scored),
        evaluation=scored.evaluation.to_dict(),
    )


def evaluate_model(
    entry: Entry, estimator: Estimator, job: TrainingJob, test: Examples, draws: int, seconds: float
) -> ScoredModel:
    """Evaluate a trained model on the test rows."""
    evaluation = evaluate(
        estimator,
        test.x,
        test.y,
        condition=test.condition,
        lengths=test.lengths,
        draws=draws,
        train=job.train_rows,
        without=set(ALL_MEASURES) - set(MEASURES),
    )
    fitted = estimator.fitted_
    checked = fitted.check(test)
    bound = dequantized_log_px(estimator, job.train_rows, checked) if entry.is_pca else None
    return ScoredModel(fitted, evaluation, job.train_rows, checked, seconds, entry.is_pca, bound)


def dequantized_log_px(estimator: Estimator, train: Examples, test: Examples) -> np.ndarray | None:
    """(n,) log-density of dequantised rows under probabilistic PCA, if the other models treat the data as discrete.

    With uniform noise u on [0, 1)^d, E[log p(x + u)] <= log E[p(x + u)] = log P(x): a lower bound on the
    log-probability of x (Theis et al., 2016), which can be compared with that of discrete models.
    """
    if not LIKELIHOODS[AUTO[estimator.schema_.kind]].discrete:
        return None
    scores = ppca_scores(estimator.fitted_, train, test, discrete=True)
    return None if scores is None else scores.log_px
