"""A training run on disk: start, interrupt, resume."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isthmus.atomic_io import file_errors, write_json
from isthmus.data import BUILT_IN, Dataset
from isthmus.data.column_roles import ColumnRoles
from isthmus.data.image_options import ImageOptions
from isthmus.data.sources import read_columns
from isthmus.errors import InputError, Interrupted, TrainingError
from isthmus.estimators.base import Estimator
from isthmus.estimators.input_validation import validation_rows
from isthmus.estimators.start_check import warn_of_trap
from isthmus.estimators.training_job import TrainingJob
from isthmus.estimators.training_setup import setup_training
from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.model_registry import Model, models
from isthmus.persistence import serialization
from isthmus.persistence.allocation import AllocationLimit
from isthmus.persistence.run_files import (
    CHECKPOINT,
    CHECKPOINT_FILE,
    CONFIG,
    PICTURES,
    REPLACEMENT,
    RUN_FILES,
    START_FILE,
    WEIGHTS,
    check_no_link,
    clear,
    clear_replacement,
    home,
    is_run,
    promote_replacement,
    stale_tmp_files,
)
from isthmus.persistence.run_lock import RunLock
from isthmus.persistence.stored_config import CHOSEN_TO_TRAIN, check_chosen, check_layers
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.progress import ProgressCallback
from isthmus.train.tensor_file import read_header


@dataclass
class Run:
    """A training run in a folder.

    Args:
        estimator: the estimator, fitted once training has finished.
        dataset: the data.
        job: the training run, fully determined.
        folder: where it is stored.
        source: name or path of the data, the roles of its columns, how images were read, and the run that this one goes
            on from, if any.
        replaces: whether it takes the place of a trained model in the folder, once it is complete.
    """

    estimator: Estimator
    dataset: Dataset
    job: TrainingJob
    folder: Path
    source: dict[str, Any]
    replaces: bool = False

    @property
    def training_folder(self) -> Path:
        """Where history, checkpoint and model are written until training has finished."""
        return self.folder / REPLACEMENT if self.replaces else self.folder

    @property
    def trained(self) -> bool:
        """Whether training has finished."""
        return hasattr(self.estimator, "fitted_")

    @property
    def fitted(self) -> FittedModel:
        """The trained model."""
        return self.estimator.fitted_


def make(model: Model, fields: dict[str, Any]) -> Estimator:
    """An unfitted estimator from its fields."""
    return serialization.class_of(model)(**fields)


def start(
    estimator: Estimator,
    dataset: Dataset,
    folder: Path,
    *,
    force: bool = False,
    lock: RunLock | None = None,
    earlier: Path | None = None,
) -> Run:
    """Determine everything and write configuration and seed, before the first step.

    Args:
        estimator: the unfitted estimator.
        dataset: the data, with the roles of its columns.
        folder: for the run.
        force: replace a run that is there. If it has a trained model, that one stays until the new one is complete.
        lock: acquired before the first file is written.
        earlier: the folder of a trained model whose weights and schema training goes on from.

    Raises:
        InputError: for fields or data that cannot be used, and a folder that holds anything else or is in use.
    """
    source: dict[str, Any] = {"data": dataset.source, **dataset.roles.to_config()}
    if dataset.images is not None:
        source |= dataset.images.to_config()
    trained = None
    if earlier is not None:
        trained = serialization.load_fitted(earlier)
        source["continues"] = str(earlier.resolve())
    check_folder(folder, force, dataset.source)
    if dataset.source not in BUILT_IN:
        source["data"] = str(Path(dataset.source).resolve())
    run = _setup(estimator, dataset, folder, source, start=trained)
    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if lock is not None:
        lock.acquire()
        check_folder(folder, force)  # another process may have been there since
    run.replaces = (folder / WEIGHTS).exists()
    clear_replacement(folder)
    if not run.replaces:  # the old configuration stays until the new one takes its place: it is a run at any moment
        clear(folder, RUN_FILES)
    job = run.job
    config = serialization.config_of(
        type(estimator).__name__,
        estimator.values(),
        job.schema,
        job.settings,
        job.config.seed,
        source=source,
        fingerprint=job.fingerprint,
        finished=False,
    )
    if trained is not None:
        serialization.save_weights(trained, run.training_folder / START_FILE, config)
    write_json(run.training_folder / CONFIG, config)
    return run


def go_on(
    earlier: Path,
    folder: Path,
    fields: dict[str, Any],
    *,
    data: Dataset | None = None,
    force: bool = False,
    lock: RunLock | None = None,
) -> Run:
    """A new run that goes on from a trained model: its fields but for `fields`, its weights, schema and scaling.

    Args:
        earlier: the folder of the trained model.
        folder: for the new run.
        fields: those that are to have other values.
        data: the rows; by default those that the model was trained on.
        force, lock: as in `start`.

    Raises:
        InputError: for a model that is solved exactly, fields that may not change, and rows of another schema.
    """
    config = serialization.read_config(earlier)
    source = config.get("source") or {}
    if data is None and not source:
        raise InputError(
            f"DATA must be given, for {earlier} was not trained by `isthmus fit` and does not name its data."
        )
    estimator = serialization.unfitted(config, earlier).set_params(**fields)
    if serialization.load_fitted(earlier).closed_form:
        raise InputError(
            f"{earlier} holds a {config['class']}, which is solved exactly: there is nothing to continue. Fit it to "
            f"DATA anew: isthmus fit {config['class'].lower()} DATA"
        )
    if data is None:
        data = read_columns(source["data"], ColumnRoles.of_run(source), ImageOptions.of_run(source, remembered=True))
    return start(estimator, data, folder, force=force, lock=lock, earlier=earlier)


def check_folder(folder: Path, force: bool, data: str = "") -> None:
    """Raise InputError for a folder in which no run may be started.

    Args:
        folder: of the run.
        force: whether a run that is there may be replaced.
        data: the path of the data, which lie elsewhere, or a built-in name; empty if it is not known yet.
    """
    if data and data not in BUILT_IN:
        path = Path(data).resolve()
        if folder.resolve() in (path, *path.parents):
            raise InputError(f"{folder} holds the data itself ({data}). Choose another folder for the run.")
        if path.is_dir() and folder.resolve().is_relative_to(path):
            raise InputError(f"{folder} lies inside the data ({data}). Choose a folder outside of it.")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"The run's folder must be a folder, got the file {folder}.")
    if not folder.exists() or not set(folder.iterdir()) - set(stale_tmp_files(folder)):
        return
    if not is_run(folder):
        raise InputError(f"{folder} holds other files and no run of isthmus. Choose another folder for the run.")
    for inner in (CHECKPOINT, REPLACEMENT):
        check_no_link(folder / inner)
    if not force:
        raise InputError(
            f"{folder} exists already. --force replaces it; --resume continues a run that was interrupted."
        )


def resume(folder: Path) -> Run | None:
    """A run to be continued, or its replacement; None if it is finished and has its page and pictures."""
    with serialization.load_errors(folder):
        training_folder, config = folder, serialization.read_config(folder)
        new = folder / REPLACEMENT
        check_no_link(new)
        if is_run(new):
            of_new = serialization.read_config(new)
            if not of_new["finished"] or (new / WEIGHTS).exists():
                training_folder, config = new, of_new
        replaces = training_folder == new
        if not replaces:
            clear_replacement(folder)  # what is left of one that was moved, or not begun
        for each in {folder, training_folder}:
            clear(each, ())
        if config.get("broken"):
            raise InputError(f"{folder} cannot be resumed: {config['broken']}. Start over with other fields (--force).")
        if not config["finished"] or not (training_folder / WEIGHTS).exists():
            run = _as_configured(folder, config, training_folder)
            run.replaces = replaces
            return run
        if replaces:
            serialization.load_fitted(training_folder)  # raises if it is damaged, which the old model is not
            promote_replacement(folder)
        fitted = serialization.load_fitted(folder)
        if not config.get("source") or has_pictures(folder, fitted):
            return None
        return _as_configured(folder, config, folder, fitted)


def reopen(folder: Path) -> Run:
    """A finished run with the data that it was trained on; InputError if either is missing."""
    with serialization.load_errors(folder):
        fitted = serialization.load_fitted(folder)
        return _as_configured(folder, serialization.read_config(folder), home(folder), fitted)


def limit_of(folder: Path, size: int, config: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    """What limits the model of a configuration to the size of the weights, or of the checkpoint, in the same folder.

    Raises InputError for more layers than these have, and for fields that were left open.

    Args:
        folder: the run, or its replacement.
        size: numbers in one example.
        config: its configuration.
    """
    chosen = config["settings"].get("chosen", {})
    known = models().get(config["class"])
    # A field that is not stored has its default, which "auto" leaves open.
    defaults = {} if known is None else {name: field.default for name, field in known.fields.items()}
    check_chosen({**defaults, **config["fields"], **chosen}, CHOSEN_TO_TRAIN)
    stored = (path for path in (folder / WEIGHTS, folder / CHECKPOINT_FILE) if os.path.lexists(path))
    path = next(stored, None)
    header = None if path is None else read_header(path)
    layers = config["fields"] | chosen
    check_layers(layers, 0 if header is None else len(header.specs))
    return contextlib.nullcontext() if header is None else AllocationLimit(header.numel, size)


def _as_configured(
    folder: Path, config: dict[str, Any], training_folder: Path, fitted: FittedModel | None = None
) -> Run:
    """The run that the configuration describes, set up again on the same data, with its trained model if given."""
    source = config.get("source")
    if not source:
        raise InputError(f"{folder} was not trained by `isthmus fit`, so its data is not known.")
    estimator = serialization.unfitted(config, folder)
    dataset = read_columns(source["data"], ColumnRoles.of_run(source), ImageOptions.of_run(source))
    trained = None
    if source.get("continues"):
        trained = serialization.load_start(training_folder, config) if fitted is None else fitted
    kwargs = {"settings": config["settings"], "seed": config["seed"], "start": trained}
    with limit_of(training_folder, math.prod(dataset.train.x.shape[1:]), config):
        run = _setup(estimator, dataset, folder, source, **kwargs)
    if run.job.fingerprint != config["fingerprint"]:
        raise InputError(f"{source['data']} has changed since {folder} was started. Start over (--force).")
    if fitted is not None:
        estimator.fitted_ = fitted
    return run


def has_pictures(folder: Path, fitted: FittedModel) -> bool:
    """Whether the page and all pictures exist: no samples of a model that cannot sample, no curves of a closed form."""
    drawn = {"samples.png": fitted.capabilities.samples, "curves.png": bool(fitted.history)}
    names = ("report.html", *PICTURES)
    return all((folder / name).exists() for name in names if drawn.get(name, True))


def _setup(estimator: Estimator, dataset: Dataset, folder: Path, source: dict[str, Any], **resumed: Any) -> Run:
    if dataset.levels is not None and estimator.levels is None:
        estimator.set_params(levels=dataset.levels)  # of a built-in data set, whose number of grey levels is known
    dataset = dataset.without_zero_weight()
    conditional = estimator.takes_labels or source.get("condition") is not None

    def conditioned(examples: Examples) -> Examples:
        return replace(examples, condition=examples.y if conditional else None)

    train = conditioned(dataset.train)
    validation = None if dataset.valid is None else conditioned(dataset.valid)
    job = setup_training(estimator, train, validation=validation, **resumed)
    if dataset.test is not None:  # no model is trained whose test rows are bad: its page could not be drawn
        validation_rows(conditioned(dataset.test), job.schema, job.schema.names, "test")
    known = job.schema.condition
    for name, examples in (("validation", dataset.valid), ("test", dataset.test)):
        if known is not None and examples is not None:
            try:
                known.encode(examples.y, len(examples))
            except InputError as error:
                raise InputError(f"In the {name} rows: {error}") from None
    return Run(estimator, dataset, job, folder, source)


def finish(run: Run, show: ProgressCallback | None = None) -> None:
    """Train, from the checkpoint if there is one, and save the model.

    Raises:
        TrainingError: if a number stops being finite; the last good weights are saved.
        Interrupted: on Ctrl-C; the best weights so far are saved, and the state from which `resume` goes on.
    """
    entries = {"source": run.source, "fingerprint": run.job.fingerprint}
    try:
        history = run.job.train(Checkpointer(run.training_folder), show)
    except TrainingError as error:
        _write(run.job.fitted([]), run.training_folder, **entries, finished=False, broken=str(error))
        if run.replaces:
            raise TrainingError(f"{error} {run.folder} still holds the model from before.") from None
        raise
    except Interrupted as error:
        stopped = run.job.fitted(error.history)
        stopped.settings["interrupted"] = True
        _write(stopped, run.training_folder, **entries, finished=False)
        raise
    run.estimator.fitted_ = run.job.fitted(history)
    _write(run.fitted, run.training_folder, **entries, finished=True)
    clear(run.training_folder, (START_FILE,))
    if run.replaces:
        promote_replacement(run.folder)
        run.replaces = False
    if run.job.start is None:
        warn_of_trap(run.fitted, run.job.some_train_rows(), run.job.valid_rows)


def _write(fitted: FittedModel, folder: Path, **entries: Any) -> None:
    """Write the model to the folder of its run, which holds history and checkpoint already."""
    write_json(folder / CONFIG, serialization.write_weights(fitted, folder, **entries))
