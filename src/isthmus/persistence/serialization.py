"""Models on disk: weights in safetensors, everything else in JSON; reading never runs what the files hold."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import nn
from torch.distributions import Distribution

import isthmus
from isthmus.atomic_io import atomic_write, file_errors, os_reason, write_json
from isthmus.distributions import as_module
from isthmus.errors import InputError
from isthmus.estimators.base import Estimator
from isthmus.estimators.composition import with_values
from isthmus.estimators.param_validation import check_fields
from isthmus.estimators.training_job import fitted_model
from isthmus.fitted import FittedModel, as_fitted
from isthmus.latent_model import Model as NetworkModel
from isthmus.model_registry import Model, models
from isthmus.persistence.allocation import AllocationLimit
from isthmus.persistence.run_files import (
    CONFIG,
    HISTORY,
    RUN_FILES,
    START_FILE,
    WEIGHTS,
    check_own_files,
    check_replaceable,
    clear,
    clear_replacement,
    config_hash,
    home,
    is_config,
    read_stored,
)
from isthmus.persistence.run_lock import RunLock
from isthmus.persistence.stored_config import (
    SETTINGS,
    check_chosen,
    check_config,
    check_entries,
    check_layers,
    read_schema,
)
from isthmus.random_streams import seeded
from isthmus.schema import Schema
from isthmus.train.checkpoint import read_history
from isthmus.train.config import TrainConfig, TrainingRecord
from isthmus.train.runtime import device_for_use, pick_dtype
from isthmus.train.tensor_file import Header, load_state, misfit, read_header, save_state, specs_of
from isthmus.wording import one_line, quoted

FORMAT = 6
"""Rises whenever older files cannot be read any more, or newer files not by older versions."""
MAX_MESSAGE_CHARACTERS = 300
"""Characters of an error about a folder, of which values may be anything."""


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


# ------------------------------------------------------------------ saving


def save(model: Any, folder: str | Path, *, force: bool = False) -> None:
    """Write a fitted estimator, or the fitted model behind it: weights in safetensors, everything else in JSON.

    Args:
        model: the fitted estimator or `FittedModel`, or a model that `isthmus.fit` trained.
        folder: where to; created if it does not exist. An earlier save of a model of the same class and columns
            is replaced.
        force: also replace any other model, or a run of the command `isthmus fit` with its page and pictures.

    Raises:
        InputError: for a model that is not fitted, or a folder that cannot be written, holds files of others, or holds
            what only `force` replaces.
    """
    if not isinstance(model, FittedModel):
        check_class_name(type(model))
    with file_errors(Path(folder)):
        save_fitted(as_fitted(model), folder, force)


def save_fitted(fitted: FittedModel, folder: str | Path, force: bool = False) -> None:
    """Write a fitted model and its history to `folder`; files of an older run there are removed."""
    if not str(folder):
        raise InputError("folder must be the name of a folder, got ''.")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"folder must be the name of a folder, got the file {folder}.")
    with RunLock(folder):
        check_own_files(folder)
        config = fitted_config(fitted, finished=True)
        if not force:
            check_replaceable(folder, config)
        save_weights(fitted, folder / WEIGHTS, config)
        clear_replacement(folder)
        clear(folder, RUN_FILES)
        if fitted.history:
            with atomic_write(folder / "history.jsonl") as part:
                part.write_text("".join(json.dumps(to_jsonable(record)) + "\n" for record in fitted.history), "utf-8")
        write_json(folder / "config.json", config)


def fitted_config(fitted: FittedModel, **entries: Any) -> dict[str, Any]:
    """The configuration of a fitted model; `entries` are added."""
    entries["loss"] = {"weights": fitted.loss_weights, "kl_terms": fitted.kl_terms}
    return config_of(fitted.name, fitted.requested_fields, fitted.schema, fitted.settings, fitted.seed, **entries)


def write_weights(fitted: FittedModel, folder: Path, **entries: Any) -> dict[str, Any]:
    """Write the weights and return the configuration, which is written last: when it fits, the model is complete."""
    config = fitted_config(fitted, **entries)
    save_weights(fitted, folder / WEIGHTS, config)
    return config


def save_weights(fitted: FittedModel, path: Path, config: dict[str, Any]) -> None:
    """Write the weights of a model that `config` describes."""
    save_state(path, fitted.model.state_dict(), {"format": FORMAT, "config_hash": config_hash(config)})


def check_class_name(cls: type) -> None:
    """Raise InputError for a user-defined class with the name of a class of isthmus, which would be loaded."""
    name = cls.__name__
    if name in models() and models()[name].module != cls.__module__:
        raise InputError(f"The class must have a name that isthmus does not use, got {name}. Rename it.")


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
    folder = Path(folder)
    is_class = isinstance(model, type) and issubclass(model, Estimator)
    if not (model is None or is_class or isinstance(model, NetworkModel)):
        raise InputError(f"model must be a class of models, got {quoted(model)}.")
    with load_errors(folder):
        config = read_config(folder, model)
        if isinstance(model, NetworkModel):
            return load_into(model, config, home(folder))
        estimator = unfitted(config, folder, model, **modules)
        estimator.fitted_ = _fitted(estimator, config, home(folder))
        estimator.n_features_in_ = estimator.schema_.event_shape[0]
        if names := estimator.fitted_.feature_names:
            estimator.feature_names_in_ = np.asarray(names, dtype=object)
        return estimator


def load_fitted(folder: str | Path, model: type[Estimator] | None = None, **modules: Any) -> FittedModel:
    """The fitted model saved in `folder`; arguments and errors are those of `load`."""
    folder = Path(folder)
    with load_errors(folder):
        config = read_config(folder, model)
        return _fitted(unfitted(config, folder, model, **modules), config, home(folder))


@contextlib.contextmanager
def load_errors(folder: Path) -> Iterator[None]:
    """Turn whatever a damaged or hostile folder makes reading raise into an InputError of one short line."""
    try:
        yield
    except InputError as error:
        raise InputError(one_line(str(error), MAX_MESSAGE_CHARACTERS)) from error.__cause__
    except Exception as error:
        what = f"{folder} cannot be loaded, it may be damaged: {type(error).__name__}: {error}"
        raise InputError(one_line(what, MAX_MESSAGE_CHARACTERS)) from error


@contextlib.contextmanager
def config_errors(path: Path) -> Iterator[None]:
    """Let an InputError about what a configuration holds say which file that is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error.__cause__


def load_into(model: NetworkModel, config: dict[str, Any], folder: Path) -> FittedModel:
    """Load the weights in `folder` into a model of the same parts, which becomes a fitted one."""
    header = read_weights_header(folder, config)
    settings, loss = config["settings"], config.get("loss", {"weights": {}, "kl_terms": []})
    with config_errors(folder / CONFIG):
        schema = read_schema(config["schema"], header.numel)
        check_entries(settings, {name: SETTINGS[name] for name in ("epochs", "threads")}, "settings.")
    load_weights(model, header, folder, config)
    model.training_record = TrainingRecord(
        schema,
        TrainConfig(settings["epochs"], 1, seed=config["seed"], threads=settings["threads"]),
        read_history(folder / HISTORY),
        loss["weights"],
        tuple(loss["kl_terms"]),
    )
    return as_fitted(model.eval())


def load_start(folder: Path, config: dict[str, Any]) -> FittedModel:
    """The trained model that the run in `folder` goes on from."""
    if not os.path.lexists(folder / START_FILE):
        raise InputError(
            f"{folder / START_FILE} is missing, the weights that this run goes on from. Start over with --force."
        )
    return _fitted(unfitted(config, folder), config, folder, START_FILE)


def _fitted(estimator: Estimator, config: dict[str, Any], folder: Path, file: str = WEIGHTS) -> FittedModel:
    header = read_weights_header(folder, config, file)
    chosen = config["settings"].get("chosen", {})
    with config_errors(folder / CONFIG):
        check_layers(config["fields"] | chosen, len(header.specs))
        check_fields(estimator)
        estimator = with_values(estimator, chosen)
        check_fields(estimator)
        check_chosen(estimator.values())
        schema = read_schema(config["schema"], header.numel)
        with seeded(0), AllocationLimit(header.numel, schema.size):
            recipe = estimator.compose(schema)
    recipe.model.to(dtype=pick_dtype(estimator.precision))
    load_weights(recipe.model, header, folder, config, file)
    if config.get("broken"):
        what = f"{folder} holds the weights of a run that failed: {config['broken']}"
        warnings.warn(one_line(what, MAX_MESSAGE_CHARACTERS), stacklevel=3)
    elif not config["finished"] and file == WEIGHTS:
        what = f"{folder} holds the best weights of a training that was stopped. Go on: isthmus fit --resume {folder}"
        warnings.warn(one_line(what, MAX_MESSAGE_CHARACTERS), stacklevel=3)
    recipe.model.eval().to(device_for_use(estimator.device))
    settings = {"threads": torch.get_num_threads()} | config["settings"]
    return fitted_model(estimator, recipe, schema, settings, config["seed"], read_history(folder / HISTORY))


def read_weights_header(folder: Path, config: dict[str, Any], file: str = WEIGHTS) -> Header:
    """What the weights in `folder`, which `config` describes, say of themselves; InputError if there are none."""
    if not os.path.lexists(folder / file):
        if config.get("finished"):
            raise InputError(f"{folder / file} is missing, the weights of the trained model. Copy it there too.")
        raise InputError(f"{folder} holds no trained weights yet. Resume training: isthmus fit --resume {folder}")
    return read_header(folder / file)


def load_weights(model: nn.Module, header: Header, folder: Path, config: dict[str, Any], file: str = WEIGHTS) -> None:
    """Read the weights in `folder` into a model; InputError, before they are read, if they belong to another one."""
    path = folder / file
    wrong = misfit(header.specs, specs_of(model.state_dict()))
    if wrong is not None:
        raise InputError(f"{path} does not fit the {config['class']} of config.json in the same folder: {wrong}.")
    if header.values.get("config_hash") != config_hash(config):
        raise InputError(f"{path} belongs to another config.json: saving was interrupted. Save the model again.")
    model.load_state_dict(load_state(path)[0])


def read_config(folder: Path, own: type[Estimator] | NetworkModel | None = None) -> dict[str, Any]:
    """The configuration of a run, validated as far as possible without building the model, which may be the user's."""
    with load_errors(folder):
        try:
            exists = folder.exists()
        except OSError as error:  # the path is too long, or leads through a folder that may not be read
            raise InputError(f"There is no run at {quoted(str(folder))}: {os_reason(error)}.") from None
        if not exists:
            raise InputError(f"There is no run at {folder}. Train one: isthmus fit MODEL DATA -o {folder}")
        path = home(folder) / CONFIG
        if not os.path.lexists(path):
            raise InputError(f"{folder} has no config.json: it is not a run of isthmus, or saving was interrupted.")
        config = read_stored(path.parent)
        if not is_config(config):
            raise InputError(f"{path} is not a configuration of isthmus.")
        if config["format"] != FORMAT:
            version = config.get("versions", {}).get("isthmus", "another version")
            older = isinstance(config["format"], int) and config["format"] < FORMAT
            raise InputError(
                f"{folder} must be in format {FORMAT} of isthmus {isthmus.__version__}, got format "
                f"{config['format']} of isthmus {version}. {'Train it again.' if older else 'Upgrade isthmus.'}"
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
        with config_errors(path):
            check_config(config)
        return config


def unfitted(
    config: dict[str, Any], folder: Path, own: type[Estimator] | None = None, **modules: nn.Module
) -> Estimator:
    """The unfitted estimator that a configuration describes; the user passes `modules` of their own again."""
    cls = class_of(models()[config["class"]]) if own is None else own
    known = {field.name for field in dataclasses.fields(cls)}
    fields: dict[str, Any] = {}
    missing = [
        name
        for name, value in config["fields"].items()
        if name in known and isinstance(value, dict) and name not in modules and as_module.NAME not in value
    ]
    if missing:
        names = " and ".join(f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in missing)
        raise InputError(
            f"{folder} was trained with {names} of your own. Pass {'it' if len(missing) == 1 else 'them'}: "
            f"isthmus.load({str(folder)!r}, {', '.join(f'{name}=...' for name in missing)})"
        )
    for name, value in config["fields"].items():
        if name not in known:
            raise InputError(f"{folder} has a field {name!r}, which {cls.__name__} does not have.")
        if isinstance(value, dict) and as_module.NAME in value and name in ("prior", *modules):
            if name in modules and not as_module.is_same(modules[name], value):
                raise InputError(
                    f"{name} must be the {value[as_module.NAME]} that {folder} was trained with, got another "
                    f"{type(modules[name]).__name__}. Leave out {name}=: the folder holds it."
                )
            with config_errors(folder / CONFIG):
                value = as_module.from_values(value)
        elif isinstance(value, dict):
            value = modules[name]
        fields[name] = tuple(value) if isinstance(value, list) else value
    return cls(**fields)


def class_of(model: Model) -> type[Estimator]:
    """The class that the registry describes."""
    return getattr(importlib.import_module(model.module), model.name)
