"""`compare`: several models on the same rows, with the same budget and the same seeds."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isthmus import __version__
from isthmus.atomic_io import write_json
from isthmus.comparison import run_cache
from isthmus.comparison.curve import draw_curve
from isthmus.comparison.linear_baseline import measure_of, with_baselines_set
from isthmus.comparison.progress import ProgressUpdate, no_progress, progress_bar
from isthmus.comparison.results import Conditions, RunResult
from isthmus.comparison.run_one import data_warnings_ignored, prepare_run, score_trained, train_and_score, trained_model
from isthmus.comparison.scores import of_condition
from isthmus.comparison.specs import SPLIT_FIELD, Entry, Models, build_entries, check_sweep, split_fixed
from isthmus.comparison.split import Split, split
from isthmus.comparison.table import Table, build_table
from isthmus.data import Dataset
from isthmus.errors import InputError, Interrupted
from isthmus.examples import Examples
from isthmus.inputs import as_parts
from isthmus.persistence.run_lock import RunLock
from isthmus.persistence.serialization import to_jsonable
from isthmus.schema import safe_std
from isthmus.wording import pluralize, quoted

COMPARISON_DRAWS = 1000
"""Default number of samples per row for log p(x)."""
MIN_COMPARISON_DRAWS = 2
"""The standard error of log p(x) is estimated from the differences of at least two samples."""
MODELS = ("pca", "ae", "vae")
"""Models that are compared by default."""
VALIDATION_FRACTION = 0.1
"""Default fraction of the rows that are not test rows by which the best weights are chosen."""
SCALE_RATIO_NOTE = 10.0
"""Ratio of the columns' standard deviations above which a note says that the largest dominate the squared error."""


def compare(
    X: Any,
    y: Any = None,
    *,
    models: Models = MODELS,
    seeds: int = 5,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    lengths: Any = None,
    draws: int = COMPARISON_DRAWS,
    folder: str | Path | None = None,
    force: bool = False,
    verbose: bool = False,
    **fields: Any,
) -> Table:
    """Train every model with every seed and score all of them on the same rows.

    Two linear baselines are always included: PCA of the models' size and scaling, and probabilistic PCA with the size
    and scaling that validation chooses, unless these are the same.

    Args:
        X: (n, *X) rows of any kind that `fit` takes; of a `Dataset` or a path the validation and test rows are used.
        y: (n,) labels, for linear probes and as the condition of conditional models.
        models: names, names with fields such as "vae(beta=4)", estimator classes or estimators; or a dict of these, by
            the labels of their rows: {"mine": VAE(encoder=..., decoder=...), "default": "vae"}. In a dict, networks
            wrapped by `isthmus.wrap` and a `FittedModel` (`model.fitted_`) are not trained, but scored as they are on
            the same test rows, once.
        seeds: number of runs of each model; a `random_state` among the fields is the first seed.
        sweep: one field and its values, for example {"latent_dim": [2, 4, 8]}.
        lengths: (n,) numbers of steps of padded sequences.
        draws: samples per row for log p(x).
        folder: folder for finished runs. The same call continues an interrupted comparison, and models and seeds may be
            added.
        force: replace another comparison in the folder.
        verbose: show progress.
        **fields: fields of all models that have them; those that a model sets itself take precedence.

    Returns:
        The table, which prints.

    Raises:
        InputError: for unknown models or fields, values that a model cannot have, or a folder with other contents.
    """
    data = as_parts(X, y=y, lengths=lengths)
    for name, value, least in (("draws", draws, MIN_COMPARISON_DRAWS), ("seeds", seeds, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{name} must be an integer >= {least}, got {quoted(value)}.")
    fraction = fields.pop(SPLIT_FIELD, VALIDATION_FRACTION)
    if not isinstance(fraction, int | float) or not 0 <= fraction < 1:
        raise InputError(f"{SPLIT_FIELD} must be a number in [0, 1), got {fraction!r}.")
    swept = check_sweep(sweep)
    rows = split(data, fraction)
    to_train, before = split_fixed(models)
    fixed = {label: trained_model(label, model, rows) for label, model in before.items()}
    scored = [score_trained(label, model, rows, draws) for label, model in fixed.items()]
    if fixed and not to_train and pca_applies(data.train):  # as beside all models, one of the same size
        to_train = [f"pca(latent_dim={scored[0].latent_dim})"]
    entries = build_entries(to_train, fields, swept, with_pca=pca_applies(data.train)) if to_train or not fixed else []
    for entry in entries:
        if data.levels is not None and entry.estimator.levels is None:
            entry.estimator.set_params(levels=data.levels)
    for label in {entry.label for entry in entries} & fixed.keys():
        raise InputError(f"models must differ, got {label} twice. Give the trained model another label.")
    entries, measures = check_entries(entries, rows)
    measures += [measure_of(model.schema, model.model) for model in fixed.values()]
    with data_warnings_ignored():
        entries = with_baselines_set(entries, rows, measures)
    path = None if folder is None else Path(folder)
    tasks = build_tasks(entries, seeds, path)
    with contextlib.ExitStack() as stack:
        if path is not None:
            lock = stack.enter_context(RunLock(path))
            settings = {"rows": rows.fingerprint, "draws": draws, "fields": to_jsonable(fields), "version": __version__}
            run_cache.open_folder(path, settings, force=force)
            lock.acquire()
        results = run_all(tasks, rows, draws, verbose)
    order = {(entry.label, repr(to_jsonable(entry.value))): i for i, entry in enumerate(entries)}
    results.sort(key=lambda result: order[result.model, repr(result.value)])
    results += [RunResult.from_dict(to_jsonable(result.to_dict())) for result in scored]
    if (rows.train.y is not None or rows.train.condition is not None) and (
        any(map(is_conditional, entries)) or any(model.schema.condition is not None for model in fixed.values())
    ):
        results = [dataclasses.replace(result, scores=list(map(of_condition, result.scores))) for result in results]
    table = build_table(results, build_conditions(data, rows, results, seeds), swept[0] if swept else None)
    if path is not None:
        if swept:
            table = dataclasses.replace(table, figure=str(draw_curve(table, path / run_cache.FIGURE)))
        write_json(path / run_cache.TABLE, table.to_dict())
    return table


def pca_applies(rows: Examples) -> bool:
    """Whether PCA can be fitted to these rows: not to sequences, and not to rows with missing values."""
    return rows.lengths is None and rows.observed is None


def check_entries(entries: list[Entry], rows: Split) -> tuple[list[Entry], list[str]]:
    """The entries, which know whether they have a closed form, and `measure_of` those that are no baselines.

    InputError for a model that cannot be trained, before any is.

    Where PCA does not apply, it fails only in its own row, because it is among the default models. What the data are
    warned of is said once for all models, and only if it concerns one that is no baseline, where there are others.
    """
    checked: list[Entry] = []
    measures: list[str] = []
    said: dict[str, type[Warning]] = {}
    for entry in entries:
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                job, _ = prepare_run(entry, rows, 0)
            if not entry.baseline or all(other.baseline for other in entries):
                said |= {str(warning.message): warning.category for warning in caught}
            checked.append(entry._replace(closed_form=job.recipe.solve is not None))
            measures += [] if entry.baseline else [measure_of(job.schema, job.recipe.model)]
        except InputError as error:
            if not entry.baseline or pca_applies(rows.train):
                raise InputError(f"{entry.label}: {error}") from None
            checked.append(entry._replace(closed_form=True))
    for message, category in said.items():
        warnings.warn(message, category, stacklevel=3)
    return checked, measures


def is_conditional(entry: Entry) -> bool:
    """Whether labels are the condition of a model."""
    return bool(entry.estimator.takes_labels)


class Task(NamedTuple):
    """A run to be done, and the file that it is saved in."""

    entry: Entry
    seed: int
    file: Path | None

    def __str__(self) -> str:
        value = "" if self.entry.value is None else f" at {self.entry.value}"
        return f"{self.entry.label}{value}, seed {self.seed}"


def build_tasks(entries: list[Entry], seeds: int, folder: Path | None) -> list[Task]:
    """Each model with each seed, seed by seed; a model with a closed form only once."""
    return [
        Task(entry, seed, None if folder is None else run_cache.run_file(folder, entry, seed))
        for seed in range(seeds)
        for entry in entries
        if seed == 0 or not entry.closed_form
    ]


def run_all(tasks: list[Task], rows: Split, draws: int, verbose: bool) -> list[RunResult]:
    """All runs, finished ones from their files; raises Interrupted on Ctrl-C if runs are saved."""
    results: list[RunResult] = []
    try:
        with progress_bar(len(tasks)) if verbose else contextlib.nullcontext(no_progress) as update:
            for task in tasks:
                results.append(finished_run(task) or do_run(task, rows, draws, len(results), update))
            update(len(tasks), "", 0.0)
    except KeyboardInterrupt:
        if tasks[0].file is None:
            raise
        raise Interrupted(f"interrupted; {len(results)} of {pluralize(len(tasks), 'run')} are finished") from None
    return results


def finished_run(task: Task) -> RunResult | None:
    """A run from its file; the label may differ from that in an earlier table, which had other models."""
    result = None if task.file is None else run_cache.read_run(task.file)
    return result and dataclasses.replace(result, model=task.entry.label)


def do_run(task: Task, rows: Split, draws: int, done: int, update: ProgressUpdate) -> RunResult:
    """Train and score one model with one seed, and save the result if there is a folder."""
    update(done, str(task), 0.0)

    def show(share: float, values: dict[str, float], seconds: float) -> None:
        update(done, str(task), share)

    checkpointer = None if task.file is None else run_cache.checkpointer(task.file)
    result = train_and_score(task.entry, rows, task.seed, draws, checkpointer, show)
    if task.file is not None:
        run_cache.write_run(task.file, result)
    return RunResult.from_dict(to_jsonable(result.to_dict()))  # as it would be read from a file


def build_conditions(data: Dataset, rows: Split, results: list[RunResult], seeds: int) -> Conditions:
    """What all models share."""
    return Conditions(
        data=data.source,
        rows={
            "train": len(rows.train),
            "validation": 0 if rows.valid is None else len(rows.valid),
            "test": len(rows.test),
        },
        features=int(np.prod(rows.train.x.shape[1:])),
        unequal_scales=has_unequal_scales(rows),
        split=rows.description,
        fingerprint=rows.fingerprint,
        budget=describe_budget(results),
        seeds=seeds,
    )


def describe_budget(results: list[RunResult]) -> str:
    """Epochs and batch size in words; of each model, if they differ."""
    budgets: dict[str, list[str]] = {}
    for result in results:
        if result.epochs and not result.closed_form:
            models = budgets.setdefault(f"{result.epochs:,} epochs in batches of {result.batch_size:,}", [])
            models += [result.model] if result.model not in models else []
    if not budgets:
        trained = " or were trained before" if any(result.fixed for result in results) else ""
        return f"none, because all models have a closed form{trained}"
    if len(budgets) == 1:
        return f"at most {next(iter(budgets))}"
    return "differs: " + "; ".join(f"{', '.join(models)} at most {budget}" for budget, models in budgets.items())


def has_unequal_scales(rows: Split) -> bool:
    """Whether the columns of a table differ so much in scale that few dominate squared errors in the data's units."""
    x = np.asarray(rows.train.x)
    if x.ndim != 2 or x.dtype.kind != "f":
        return False
    scale = safe_std(x, None if rows.train.observed is None else np.asarray(rows.train.observed))
    return bool(scale.max() > SCALE_RATIO_NOTE * scale.min())
