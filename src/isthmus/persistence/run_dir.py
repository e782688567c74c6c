"""A run: a model trained from a data set in a folder of its own, broken off and gone on with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.atomic_io import write_json
from isthmus.data import BUILT_IN, Dataset, read
from isthmus.errors import InputError, TrainingError
from isthmus.estimators.training_setup import TrainingJob, prepare
from isthmus.persistence import serialization
from isthmus.registry import Model, models
from isthmus.train.checkpoint import Checkpointer
from isthmus.train.progress import ProgressCallback

if TYPE_CHECKING:
    from isthmus.estimators.base import Estimator


@dataclass
class Run:
    """A run under way: the model, its data and what was decided."""

    estimator: Estimator
    dataset: Dataset
    job: TrainingJob
    folder: Path
    source: dict[str, Any]
    trained: bool = False
    """Whether only the summary and the pictures are still wanted."""


def make(model: Model, fields: dict[str, Any]) -> Estimator:
    """An unfitted model from its fields."""
    return serialization.class_of(model)(**fields)


def start(
    estimator: Estimator, dataset: Dataset, folder: Path, *, condition: str | None = None, force: bool = False
) -> Run:
    """Decide everything and write the configuration and the seed, before the first step."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; the name of a folder is wanted")
    source = {"data": dataset.source, "condition": condition}
    if dataset.source not in BUILT_IN:
        path = Path(dataset.source).resolve()
        if folder.resolve() in (path, *path.parents):
            raise InputError(f"{folder} holds the data themselves ({dataset.source}); give the run a folder of its own")
        if path.is_dir() and folder.resolve().is_relative_to(path):
            raise InputError(f"{folder} lies among the data, which its pictures would join; choose a folder elsewhere")
        source["data"] = str(path)
    if folder.exists() and set(folder.iterdir()) - set(serialization.left_over(folder)):
        if not serialization.is_run(folder):
            raise InputError(f"{folder} holds other files and no run of isthmus; give the run a folder of its own")
        if not force:
            raise InputError(
                f"{folder} is there already; --force replaces it, --resume goes on with a run that broke off"
            )
    run = _prepared(estimator, dataset, folder, source)
    # The old configuration stays until the new one takes its place: a folder is a run at any moment.
    serialization.clear(folder, ("model.safetensors", *serialization.BESIDE))
    config = serialization.config_of(
        estimator,
        run.job.schema,
        run.job.settings,
        run.job.plan.seed,
        source=source,
        fingerprint=run.job.fingerprint,
        finished=False,
    )
    write_json(folder / "config.json", config)
    return run


def resume(folder: Path) -> Run | None:
    """Go on with a run that was broken off; None for a finished one that lacks nothing."""
    config = serialization.read_config(folder)
    serialization.clear(folder, ())
    if config.get("broken"):
        raise InputError(f"{folder} cannot be gone on with: {config['broken']}; start over with other fields (--force)")
    source = config.get("source")
    trained = bool(config.get("finished")) and (folder / "model.safetensors").exists()
    if trained and (not source or drawn(folder, config)):
        return None
    run = _as_configured(folder, config)
    return replace(run, estimator=serialization.load(folder), trained=True) if trained else run


def reopen(folder: Path) -> Run:
    """A finished run with the data that it was trained on; InputError where either is not there."""
    estimator = serialization.load(folder)
    return replace(_as_configured(folder, serialization.read_config(folder)), estimator=estimator, trained=True)


def _as_configured(folder: Path, config: dict[str, Any]) -> Run:
    """Everything decided again as the configuration says, on the same data."""
    source = config.get("source")
    if not source:
        raise InputError(f"{folder} was not trained by `isthmus fit`: it does not know its data")
    estimator = serialization.estimator_of(config, folder)
    dataset = read(source["data"], condition=source["condition"])
    run = _prepared(estimator, dataset, folder, source, settings=config["settings"], seed=config["seed"])
    if run.job.fingerprint != config["fingerprint"]:
        raise InputError(f"the data at {source['data']} are not those of {folder}; start over (--force)")
    return run


def drawn(folder: Path, config: dict[str, Any]) -> bool:
    """Whether a finished run has its page and pictures: no samples without a density, no curves without a history."""
    density = serialization.class_of(models()[config["class"]]).density
    history = bool(serialization.read_history(folder / "history.jsonl"))
    wanted = {"samples.png": density, "curves.png": history}
    return all((folder / name).exists() for name in ("report.html", *serialization.PICTURES) if wanted.get(name, True))


def _prepared(estimator: Estimator, dataset: Dataset, folder: Path, source: dict[str, Any], **more: Any) -> Run:
    if dataset.levels is not None and estimator.levels is None:
        estimator.set_params(levels=dataset.levels)  # a built-in set knows what its numbers mean
    wanted = estimator.conditional or source["condition"] is not None
    train, valid = dataset.train, dataset.valid
    validation = None
    if valid is not None:
        validation = {"X": valid.x, "condition": valid.y if wanted else None, "lengths": valid.lengths}
    condition = None if train.y is None or not wanted else np.asarray(train.y)
    job = prepare(estimator, train.x, condition, train.lengths, validation, **more)
    known = job.schema.condition
    for name, part in (("validation", valid), ("test", dataset.test)):
        if known is not None and part is not None:
            try:
                known.encode(part.y, len(part.x))
            except InputError as error:
                raise InputError(f"in the {name} rows: {error}") from None
    return Run(estimator, dataset, job, folder, source)


def finish(run: Run, show: ProgressCallback | None = None) -> None:
    """Train, from the checkpoint if there is one, and save the model; where a number is not finite, the last good one.

    Raises TrainingError for the latter, Interrupted on Ctrl-C.
    """
    facts = {"source": run.source, "fingerprint": run.job.fingerprint}
    try:
        history = run.job.train(Checkpointer(run.folder), show)
    except TrainingError as error:
        run.estimator.adopt(run.job, [])
        serialization.save_run(run.estimator, run.folder, **facts, finished=False, broken=str(error))
        raise
    run.estimator.adopt(run.job, history)
    serialization.save_run(run.estimator, run.folder, **facts, finished=True)
