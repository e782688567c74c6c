"""Models on disk: weights in safetensors, everything else in JSON; reading never runs what the files hold."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import json
import warnings
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import nn
from torch.distributions import Distribution

import isthmus
from isthmus.atomic_io import TMP_PREFIX, atomic_write, os_reason, read_json, write_errors, write_json
from isthmus.distributions import as_module
from isthmus.errors import InputError
from isthmus.estimators.base import Estimator
from isthmus.estimators.composition import with_values
from isthmus.estimators.param_validation import check_fields
from isthmus.estimators.training_job import fitted_model
from isthmus.fitted import FittedModel, as_fitted
from isthmus.latent_model import Model as NetworkModel
from isthmus.model_registry import Model, models
from isthmus.random_streams import seeded
from isthmus.schema import Schema
from isthmus.train.checkpoint import load_state, save_state
from isthmus.train.config import TrainConfig, TrainingRecord
from isthmus.train.runtime import device_for_use, pick_dtype, pick_threads
from isthmus.wording import join_names, quoted

FORMAT = 5
"""Rises whenever older files cannot be read any more, or newer files not by older versions."""
PICTURES = ("reconstructions.png", "samples.png", "latent.png", "curves.png")
"""Figures that a run keeps as files: each is an entry of `plot.figures.FIGURES`, with .png added."""
MODEL_FILE = "model.safetensors"
START_FILE = "checkpoint/start.safetensors"
"""The trained weights that a run goes on from, until it is finished."""
RUN_FILES = ("history.jsonl", "checkpoint/state.safetensors", START_FILE, "report.html", *PICTURES)
"""Files of a run besides config.json and model.safetensors."""


def config_of(
    name: str, fields: dict[str, Any], schema: Schema, settings: dict[str, Any], seed: int, **entries: Any
) -> dict[str, Any]:
    """Everything but the weights, as plain values for JSON; `entries` are added."""
    fields = {field: to_jsonable(value) for field, value in fields.items()}
    if not isinstance(fields.get("random_state", 0), int):
        fields["random_state"] = None  # a generator of the caller's; the seed that it gave is stored as `seed`
    return {
        "format": FORMAT,
        "class": name,
        "fields": fields,
        "schema": schema.to_config(),
        "settings": to_jsonable(settings),
        "seed": seed,
        "versions": {"isthmus": isthmus.__version__, "torch": torch.__version__},
        **entries,
    }


def to_jsonable(value: Any) -> Any:
    """A value as JSON can hold it: NumPy scalars and arrays as Python's, a user-defined module as its class,
    a distribution of PyTorch as its class and arguments."""
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, nn.Module):
        return {"module": type(value).__name__}
    if isinstance(value, Distribution):
        return as_module.to_values(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: to_jsonable(item) for key, item in value.items()}
    return [to_jsonable(item) for item in value] if isinstance(value, tuple | list) else value


def config_hash(config: dict[str, Any]) -> str:
    """A hash of the configuration, stored with the weights, by which a mismatch of the two files is found."""
    text = json.dumps([config["class"], config["fields"], config["schema"]], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# ------------------------------------------------------------------ saving


def save(model: Any, folder: str | Path) -> None:
    """Write a fitted estimator, or the fitted model behind it: weights in safetensors, everything else in JSON.

    Args:
        model: the fitted estimator or `FittedModel`, or a model that `isthmus.fit` trained.
        folder: where to; created if it does not exist. A model of isthmus that it holds is replaced.

    Raises:
        InputError: for a model that is not fitted, or a folder that cannot be written or holds other files.
    """
    if not isinstance(model, FittedModel):
        check_class_name(type(model))
    with write_errors(Path(folder)):
        save_fitted(as_fitted(model), folder)


def save_fitted(fitted: FittedModel, folder: str | Path) -> None:
    """Write a fitted model and its history to `folder`; files of an older run there are removed."""
    if not str(folder):
        raise InputError("folder must be the name of a folder, got ''.")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"folder must be the name of a folder, got the file {folder}.")
    if (folder / "config.json").exists() and not is_run(folder):
        raise InputError(f"{folder / 'config.json'} is not of isthmus and would be lost. Save to another folder.")
    lost = [name for name in ("model.safetensors", *RUN_FILES) if (folder / name).exists()]
    if lost and not is_run(folder) and not has_weights(folder):
        raise InputError(
            f"{folder} holds files that are not of isthmus and would be lost: {join_names(lost)}. Save to another "
            "folder."
        )
    config = write_weights(fitted, folder, finished=True)
    clear(folder, RUN_FILES)
    if fitted.history:
        with atomic_write(folder / "history.jsonl") as part:
            part.write_text("".join(json.dumps(to_jsonable(record)) + "\n" for record in fitted.history), "utf-8")
    write_json(folder / "config.json", config)


def write_weights(fitted: FittedModel, folder: Path, **entries: Any) -> dict[str, Any]:
    """Write the weights and return the configuration, which is written last: when it fits, the model is complete."""
    entries["loss"] = {"weights": fitted.loss_weights, "kl_terms": fitted.kl_terms}
    config = config_of(fitted.name, fitted.requested_fields, fitted.schema, fitted.settings, fitted.seed, **entries)
    save_weights(fitted, folder / "model.safetensors", config)
    return config


def save_weights(fitted: FittedModel, path: Path, config: dict[str, Any]) -> None:
    """Write the weights of a model that `config` describes."""
    save_state(path, fitted.model.state_dict(), {"format": FORMAT, "config_hash": config_hash(config)})


def check_class_name(cls: type) -> None:
    """Raise InputError for a user-defined class with the name of a class of isthmus, which would be loaded."""
    name = cls.__name__
    if name in models() and models()[name].module != cls.__module__:
        raise InputError(f"The class must have a name that isthmus does not use, got {name}. Rename it.")


def is_run(folder: Path) -> bool:
    """Whether a folder holds a configuration of isthmus, of whatever version."""
    try:
        config = read_json(folder / "config.json")
    except InputError:
        return False
    types = {"format": object, "class": str, "fields": dict, "schema": dict}
    known = isinstance(config, dict) and all(isinstance(config.get(name), kind) for name, kind in types.items())
    return known and isinstance(config.get("settings", {}), dict) and isinstance(config.get("source", {}), dict | None)


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights of isthmus: what saving that was interrupted leaves."""
    try:
        return "config_hash" in load_state(folder / "model.safetensors")[1]
    except (InputError, OSError):
        return False


def stale_tmp_files(folder: Path) -> list[Path]:
    """Temporary files of isthmus in a folder, left by writing that was interrupted."""
    suffixes = {Path(name).suffix for name in ("config.json", "model.safetensors", *RUN_FILES)}
    return [path for path in folder.glob(f"{TMP_PREFIX}*") if path.suffix in suffixes]


def clear(folder: Path, names: tuple[str, ...]) -> None:
    """Remove these files of a run and its temporary files, and nothing else."""
    stale = [*stale_tmp_files(folder), *stale_tmp_files(folder / "checkpoint")]
    try:
        for path in [*(folder / name for name in names), *stale]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"Cannot replace {folder}: {os_reason(error)}.") from None
    with contextlib.suppress(OSError):  # it does not exist, or holds files of the user's
        (folder / "checkpoint").rmdir()


# ------------------------------------------------------------------ loading


@overload
def load(folder: str | Path, model: type[Estimator] | None = None, **modules: Any) -> Estimator: ...
@overload
def load(folder: str | Path, model: NetworkModel) -> FittedModel: ...


def load(
    folder: str | Path, model: type[Estimator] | NetworkModel | None = None, **modules: Any
) -> Estimator | FittedModel:
    """The estimator saved in `folder`, on the device of its `device` field, or the CPU if there is no such device.

    Args:
        folder: the folder of a run or a saved model.
        model: its class, if that is your own; or, of a model that `isthmus.fit` trained, one of the same parts: it
            gets the weights, in place, and comes back as a `FittedModel`.
        modules: modules of your own that it was trained with, by field: encoder=..., decoder=...

    Warns of a run whose training failed.

    Raises:
        InputError: for files that are missing, truncated, of another program or another format.
    """
    if isinstance(model, NetworkModel):
        return load_into(model, Path(folder))
    if model is not None and not (isinstance(model, type) and issubclass(model, Estimator)):
        raise InputError(f"model must be a class of models, got {quoted(model)}.")
    config = read_config(Path(folder), model)
    estimator = unfitted(config, Path(folder), model, **modules)
    estimator.fitted_ = _fitted(estimator, config, Path(folder))
    estimator.n_features_in_ = estimator.schema_.event_shape[0]
    if names := estimator.fitted_.feature_names:
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
    return estimator


def load_fitted(folder: str | Path, model: type[Estimator] | None = None, **modules: Any) -> FittedModel:
    """The fitted model saved in `folder`; arguments and errors are those of `load`."""
    config = read_config(Path(folder), model)
    return _fitted(unfitted(config, Path(folder), model, **modules), config, Path(folder))


def load_into(model: NetworkModel, folder: Path) -> FittedModel:
    """Load the weights in `folder` into a model of the same parts, which becomes a fitted one."""
    config = read_config(folder, model)
    loss, settings = config.get("loss", {}), config.get("settings", {})
    try:
        load_weights(model, folder, config)
        record = TrainingRecord(
            Schema.from_config(config["schema"]),
            TrainConfig(int(settings["epochs"]), 1, seed=int(config["seed"]), threads=int(settings["threads"])),
            read_history(folder / "history.jsonl"),
            {str(name): float(weight) for name, weight in loss.get("weights", {}).items()},
            tuple(map(str, loss.get("kl_terms", ()))),
        )
    except InputError:
        raise
    except (TypeError, KeyError, ValueError, AttributeError):
        raise InputError(f"{folder / 'config.json'} is damaged: it does not describe a trained model.") from None
    model.training_record = record
    return as_fitted(model.eval())


def load_start(folder: Path) -> FittedModel:
    """The trained model that the run in `folder` goes on from."""
    config = read_config(folder)
    return _fitted(unfitted(config, folder), config, folder, START_FILE)


def _fitted(estimator: Estimator, config: dict[str, Any], folder: Path, file: str = MODEL_FILE) -> FittedModel:
    try:
        check_fields(estimator)
        estimator = with_values(estimator, config.get("settings", {}).get("chosen", {}))
        schema = Schema.from_config(config["schema"])
        with seeded(0):
            recipe = estimator.compose(schema)
    except InputError:
        raise
    except (TypeError, KeyError, ValueError, AttributeError, RuntimeError, MemoryError, OverflowError):
        raise InputError(f"{folder / 'config.json'} is damaged: it does not describe a {config['class']}.") from None
    recipe.model.to(dtype=pick_dtype(estimator.precision))
    load_weights(recipe.model, folder, config, file)
    if config.get("broken"):
        warnings.warn(f"{folder} holds the weights of a run that failed: {config['broken']}", stacklevel=3)
    recipe.model.eval().to(device_for_use(estimator.device))
    settings = config.get("settings", {})
    pick_threads(settings.setdefault("threads", torch.get_num_threads()), 0.0)  # raises for an impossible number
    history = read_history(folder / "history.jsonl")
    return fitted_model(estimator, recipe, schema, settings, config.get("seed", 0), history)


def load_weights(model: nn.Module, folder: Path, config: dict[str, Any], file: str = MODEL_FILE) -> None:
    """Read the weights in `folder` into a model; InputError if they are missing, or belong to another one."""
    path = folder / file
    if file == START_FILE and not path.exists():
        raise InputError(f"{path} is missing, the weights that this run goes on from. Start over with --force.")
    if not path.exists():
        raise InputError(f"{folder} holds no trained weights yet. Resume training: isthmus fit --resume {folder}")
    weights, state = load_state(path)
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise InputError(f"{path} does not fit the {config['class']} of config.json in the same folder.") from None
    if state.get("config_hash") != config_hash(config):
        raise InputError(f"{path} belongs to another config.json: saving was interrupted. Save the model again.")


def read_config(folder: Path, own: type[Estimator] | NetworkModel | None = None) -> dict[str, Any]:
    """The configuration of a run, validated as far as possible without building the model, which may be the user's."""
    path = folder / "config.json"
    try:
        exists = folder.exists()
    except OSError as error:
        raise InputError(f"There is no run at {quoted(str(folder))}: {os_reason(error)}.") from None
    if not exists:
        raise InputError(f"There is no run at {folder}. Train one: isthmus fit MODEL DATA -o {folder}")
    if not path.exists():
        raise InputError(f"{folder} has no config.json: it is not a run of isthmus, or saving was interrupted.")
    config = read_json(path)
    if not is_run(folder):
        raise InputError(f"{path} is not a configuration of isthmus.")
    if config["format"] != FORMAT:
        version = config.get("versions", {}).get("isthmus", "another version")
        older = isinstance(config["format"], int) and config["format"] < FORMAT
        raise InputError(
            f"{folder} must be in format {FORMAT} of isthmus {isthmus.__version__}, got format {config['format']} of "
            f"isthmus {version}. {'Train it again.' if older else 'Upgrade isthmus.'}"
        )
    name = config["class"]
    if isinstance(own, type) and own.__name__ != name:
        raise InputError(f"model must be the class of {folder}, {name}, got {own.__name__}.")
    if own is None and name not in models():
        what = "your own class" if config["fields"] else "a model of the same parts"
        raise InputError(
            f"{folder} holds a {name}, which is not a class of isthmus. Pass {what}: "
            f"isthmus.load({str(folder)!r}, model={name if config['fields'] else '...'})"
        )
    return config


def unfitted(
    config: dict[str, Any], folder: Path, own: type[Estimator] | None = None, **modules: nn.Module
) -> Estimator:
    """The unfitted estimator that a configuration describes; the user passes `modules` of their own again."""
    cls = class_of(models()[config["class"]]) if own is None else own
    known = {field.name for field in dataclasses.fields(cls)}
    fields: dict[str, Any] = {}
    for name, value in config["fields"].items():
        if name not in known:
            raise InputError(f"{folder} has a field {name!r}, which {cls.__name__} does not have.")
        if name == "prior" and name not in modules and isinstance(value, dict) and as_module.NAME in value:
            try:
                value = as_module.from_values(value)
            except InputError as error:
                raise InputError(f"{folder / 'config.json'} is damaged: {error}") from None
        elif isinstance(value, dict):
            if name not in modules:
                raise InputError(
                    f"{folder} was trained with a {name} of your own. Pass it: "
                    f"isthmus.load({str(folder)!r}, {name}=...)"
                )
            value = modules[name]
        fields[name] = tuple(value) if isinstance(value, list) else value
    return cls(**fields)


def class_of(model: Model) -> type[Estimator]:
    """The class that the registry describes."""
    return getattr(importlib.import_module(model.module), model.name)


def read_history(path: Path) -> list[dict[str, Any]]:
    """The records of a history, one for each epoch, up to the first that was not written completely."""
    records: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            records.append(json.loads(line))
    return records
