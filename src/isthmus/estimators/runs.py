"""A run: a model trained from a data set in a folder of its own, broken off and gone on with."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data import BUILT_IN, Dataset, read
from isthmus.errors import InputError
from isthmus.estimators import store
from isthmus.estimators.job import Job, prepare
from isthmus.files import reason, write_json
from isthmus.registry import Model
from isthmus.train.fit import Keep, Show

if TYPE_CHECKING:
    from isthmus.estimators.base import Estimator

OURS = ("config.json", "model.safetensors", "history.jsonl", "checkpoint", "report.html", "*.png")
"""What a run's folder holds, and what replacing one removes."""


@dataclass
class Run:
    """A run under way: the model, its data and what was decided."""

    estimator: Estimator
    dataset: Dataset
    job: Job
    folder: Path
    source: dict[str, Any]


def make(model: Model, fields: dict[str, Any]) -> Estimator:
    """An unfitted model from its fields."""
    return getattr(importlib.import_module(model.module), model.name)(**fields)


def start(
    estimator: Estimator, dataset: Dataset, folder: Path, *, condition: str | None = None, force: bool = False
) -> Run:
    """Decide everything and write the configuration and the seed, before the first step."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; the name of a folder is wanted")
    if folder.exists() and any(folder.iterdir()) and not force:
        raise InputError(f"{folder} is there already; --force replaces it, --resume goes on with a run that broke off")
    path = Path(dataset.source)
    source = {
        "data": dataset.source if dataset.source in BUILT_IN else str(path.resolve()),
        "condition": condition,
    }
    run = _prepared(estimator, dataset, folder, source)
    if force:
        clear(folder)
    config = store.config_of(
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
    """Go on with a run that was broken off; None for a finished one."""
    config = store.read_config(folder)
    if config.get("finished"):
        return None
    source = config.get("source")
    if not source:
        raise InputError(f"{folder} was not trained by `isthmus fit` and cannot be gone on with")
    estimator = store.estimator_of(config, folder)
    dataset = read(source["data"], condition=source["condition"])
    run = _prepared(estimator, dataset, folder, source, settings=config["settings"], seed=config["seed"])
    if run.job.fingerprint != config["fingerprint"]:
        raise InputError(f"the data at {source['data']} are not those of {folder}; start over (--force)")
    return run


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
    return Run(estimator, dataset, job, folder, source)


def finish(run: Run, show: Show | None = None) -> None:
    """Train, from the checkpoint if there is one, and save the model."""
    history = run.job.train(Keep(run.folder), show)
    run.estimator.adopt(run.job, history)
    store.save(run.estimator, run.folder, source=run.source, fingerprint=run.job.fingerprint)


def clear(folder: Path) -> None:
    """Remove what a run left in a folder, and nothing else."""
    try:
        for pattern in OURS:
            for path in folder.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise InputError(f"cannot replace {folder}: {reason(error)}") from None
