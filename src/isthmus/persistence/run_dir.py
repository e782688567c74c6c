"""A training run on disk: start, interrupt, resume."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isthmus.atomic_io import write_json
from isthmus.data import BUILT_IN, Dataset
from isthmus.data.column_roles import NO_ROLES, ColumnRoles
from isthmus.data.image_options import ImageOptions
from isthmus.data.sources import read_columns
from isthmus.errors import InputError, TrainingError
from isthmus.estimators.base import Estimator
from isthmus.estimators.input_validation import validation_rows
from isthmus.estimators.start_check import warn_of_trap
from isthmus.estimators.training_job import TrainingJob
from isthmus.estimators.training_setup import setup_training
from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.model_registry import Model
from isthmus.persistence import serialization
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.progress import ProgressCallback


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
    """

    estimator: Estimator
    dataset: Dataset
    job: TrainingJob
    folder: Path
    source: dict[str, Any]

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
    estimator: Estimator, dataset: Dataset, folder: Path, *, force: bool = False, earlier: Path | None = None
) -> Run:
    """Determine everything and write configuration and seed, before the first step.

    Args:
        estimator: the unfitted estimator.
        dataset: the data, with the roles of its columns.
        folder: for the run.
        force: replace a run that is there.
        earlier: the folder of a trained model whose weights and schema training goes on from.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"The run's folder must be a folder, got the file {folder}.")
    source: dict[str, Any] = {"data": dataset.source, **dataset.roles.to_config()}
    if dataset.images is not None:
        source |= dataset.images.to_config()
    trained = None
    if earlier is not None:
        trained = serialization.load_fitted(earlier)
        source["continues"] = str(earlier.resolve())
    if dataset.source not in BUILT_IN:
        path = Path(dataset.source).resolve()
        if folder.resolve() in (path, *path.parents):
            raise InputError(f"{folder} holds the data itself ({dataset.source}). Choose another folder for the run.")
        if path.is_dir() and folder.resolve().is_relative_to(path):
            raise InputError(f"{folder} lies inside the data ({dataset.source}). Choose a folder outside of it.")
        source["data"] = str(path)
    if folder.exists() and set(folder.iterdir()) - set(serialization.stale_tmp_files(folder)):
        if not serialization.is_run(folder):
            raise InputError(f"{folder} holds other files and no run of isthmus. Choose another folder for the run.")
        if not force:
            raise InputError(
                f"{folder} exists already. --force replaces it; --resume continues a run that was interrupted."
            )
    run = _setup(estimator, dataset, folder, source, start=trained)
    # The old configuration stays until the new one takes its place: the folder is a run at any moment.
    serialization.clear(folder, ("model.safetensors", *serialization.RUN_FILES))
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
        serialization.save_weights(trained, folder / serialization.START_FILE, config)
    write_json(folder / "config.json", config)
    return run


def go_on(
    earlier: Path,
    folder: Path | None,
    fields: dict[str, Any],
    *,
    data: str | None = None,
    roles: ColumnRoles = NO_ROLES,
    force: bool = False,
) -> Run:
    """A new run that goes on from a trained model: its fields but for `fields`, its weights, schema and scaling.

    Args:
        earlier: the folder of the trained model.
        folder: for the new run; by default the name of `earlier` with the next free number.
        fields: those that are to have other values.
        data: name or path of the rows; by default those that the model was trained on.
        roles: of the columns of `data`; by default those of the earlier run.
        force: replace a run that is there.

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
    roles = roles.beside(ColumnRoles.of_run(source))
    dataset = read_columns(data or source["data"], roles, ImageOptions.of_run(source, remembered=True))
    return start(estimator, dataset, folder or next_free(earlier), force=force, earlier=earlier)


def next_free(folder: Path) -> Path:
    """The name with the next number that no folder has: runs/a becomes runs/a-2, and runs/a-2 becomes runs/a-3."""
    stem, _, number = folder.name.rpartition("-")
    name, n = (stem, int(number)) if stem and number.isdigit() else (folder.name, 1)
    while (path := folder.with_name(f"{name}-{n + 1}")).exists():
        n += 1
    return path


def resume(folder: Path) -> Run | None:
    """A run to be continued; None if it is finished and has its page and pictures."""
    config = serialization.read_config(folder)
    serialization.clear(folder, ())
    if config.get("broken"):
        raise InputError(f"{folder} cannot be resumed: {config['broken']}. Start over with other fields (--force).")
    source = config.get("source")
    trained = bool(config.get("finished")) and (folder / "model.safetensors").exists()
    if not trained:
        return _as_configured(folder, config)
    fitted = serialization.load_fitted(folder)
    if not source or has_pictures(folder, fitted):
        return None
    return _as_configured(folder, config, fitted)


def reopen(folder: Path) -> Run:
    """A finished run with the data that it was trained on; InputError if either is missing."""
    fitted = serialization.load_fitted(folder)
    return _as_configured(folder, serialization.read_config(folder), fitted)


def _as_configured(folder: Path, config: dict[str, Any], fitted: FittedModel | None = None) -> Run:
    """The run that the configuration describes, set up again on the same data, with its trained model if given."""
    source = config.get("source")
    if not source:
        raise InputError(f"{folder} was not trained by `isthmus fit`, so its data is not known.")
    estimator = serialization.unfitted(config, folder)
    dataset = read_columns(source["data"], ColumnRoles.of_run(source), ImageOptions.of_run(source))
    trained = None
    if source.get("continues"):
        trained = serialization.load_start(folder) if fitted is None else fitted
    kwargs = {"settings": config["settings"], "seed": config["seed"], "start": trained}
    run = _setup(estimator, dataset, folder, source, **kwargs)
    if run.job.fingerprint != config["fingerprint"]:
        raise InputError(f"{source['data']} has changed since {folder} was started. Start over (--force).")
    if fitted is not None:
        estimator.fitted_ = fitted
    return run


def has_pictures(folder: Path, fitted: FittedModel) -> bool:
    """Whether the page and all pictures exist: no samples of a model that cannot sample, no curves of a closed form."""
    drawn = {"samples.png": fitted.capabilities.samples, "curves.png": bool(fitted.history)}
    names = ("report.html", *serialization.PICTURES)
    return all((folder / name).exists() for name in names if drawn.get(name, True))


def _setup(estimator: Estimator, dataset: Dataset, folder: Path, source: dict[str, Any], **resumed: Any) -> Run:
    if dataset.levels is not None and estimator.levels is None:
        estimator.set_params(levels=dataset.levels)  # of a built-in data set, whose number of grey levels is known
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
        Interrupted: on Ctrl-C.
    """
    entries = {"source": run.source, "fingerprint": run.job.fingerprint}
    try:
        history = run.job.train(Checkpointer(run.folder), show)
    except TrainingError as error:
        _write(run.job.fitted([]), run.folder, **entries, finished=False, broken=str(error))
        raise
    run.estimator.fitted_ = run.job.fitted(history)
    _write(run.fitted, run.folder, **entries, finished=True)
    serialization.clear(run.folder, (serialization.START_FILE,))
    if run.job.start is None:
        warn_of_trap(run.fitted, run.job.some_train_rows(), run.job.valid_rows)


def _write(fitted: FittedModel, folder: Path, **entries: Any) -> None:
    """Write the model to the folder of its run, which holds history and checkpoint already."""
    write_json(folder / "config.json", serialization.write_weights(fitted, folder, **entries))
