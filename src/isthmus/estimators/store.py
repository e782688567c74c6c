"""Models on disk: weights in safetensors, everything else in JSON; reading never runs what the files hold."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import isthmus
from isthmus.errors import InputError
from isthmus.files import read_json, write_json
from isthmus.registry import models
from isthmus.schema import Schema
from isthmus.train.checkpoint import load_state, save_state
from isthmus.train.machine import pick_dtype

if TYPE_CHECKING:
    from isthmus.estimators.base import Estimator

FORMAT = 1
"""Rises when files of before cannot be read any more, or files of now not by versions of before."""
OWN = "a part of the user's own"


def config_of(estimator: Estimator, schema: Schema, settings: dict[str, Any], seed: int, **more: Any) -> dict[str, Any]:
    """Everything but the weights, as plain values."""
    fields = {
        name: {"own": type(value).__name__} if isinstance(value, nn.Module) else value
        for name, value in estimator.get_params(deep=False).items()
    }
    if not isinstance(fields["random_state"], int):
        fields["random_state"] = None  # a generator of the caller's; the seed that it gave is beside
    return {
        "format": FORMAT,
        "class": type(estimator).__name__,
        "fields": fields,
        "schema": schema.to_config(),
        "settings": settings,
        "seed": seed,
        "versions": {"isthmus": isthmus.__version__, "torch": torch.__version__},
        **more,
    }


def save(estimator: Estimator, folder: Path, **more: Any) -> None:
    """Write a fitted model to `folder`."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; the name of a folder is wanted")
    if type(estimator).__name__ not in models():
        raise InputError(f"{type(estimator).__name__} is not a model of isthmus and could not be loaded again")
    save_state(folder / "model.safetensors", estimator.model_.state_dict(), {"format": FORMAT})
    # The configuration comes last: a folder with one is complete.
    config = config_of(estimator, estimator.schema_, estimator.settings_, estimator.seed_, finished=True, **more)
    write_json(folder / "config.json", config)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration in a run's folder, checked as far as it can be without building the model."""
    if not folder.exists():
        raise InputError(f"there is no run at {folder}; `isthmus fit MODEL DATA -o {folder}` makes one")
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} holds no config.json: it is not a run of isthmus, or was not saved in full")
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or not {"format", "class", "fields", "schema"} <= set(config):
        raise InputError(f"{folder / 'config.json'} is not a configuration of isthmus")
    if not isinstance(config["format"], int) or config["format"] > FORMAT:
        version = config.get("versions", {}).get("isthmus", "a newer version")
        raise InputError(
            f"{folder} was written by isthmus {version} in format {config['format']}, this is {isthmus.__version__} "
            f"and reads up to {FORMAT}; upgrade isthmus"
        )
    if config["class"] not in models():
        raise InputError(f"{folder} holds a {config['class']!r}, which this version of isthmus does not know")
    return config


def estimator_of(config: dict[str, Any], folder: Path, **parts: nn.Module) -> Estimator:
    """The unfitted model that a configuration describes; parts of the user's own are handed in again."""
    model = models()[config["class"]]
    fields = {}
    for name, value in config["fields"].items():
        if name not in model.fields:
            raise InputError(f"{folder} has a field {name!r} that {model.name} does not have")
        if isinstance(value, dict):
            if name not in parts:
                raise InputError(f"{folder} was trained with {OWN}; pass it: isthmus.load({str(folder)!r}, {name}=...)")
            value = parts[name]
        fields[name] = tuple(value) if isinstance(value, list) else value
    return getattr(importlib.import_module(model.module), model.name)(**fields)


def load(folder: str | Path, **parts: Any) -> Estimator:
    """The model saved in `folder`, on the CPU; `encoder=`, `decoder=`, ... hand over modules that were your own.

    Raises InputError for files that are missing, truncated, foreign or of a newer version.
    """
    folder = Path(folder)
    config = read_config(folder)
    estimator = estimator_of(config, folder, **parts)
    path = folder / "model.safetensors"
    if not path.exists():
        raise InputError(f"{folder} holds no trained weights yet; `isthmus fit --resume {folder}` goes on with it")
    try:
        schema = Schema.from_config(config["schema"])
        with torch.random.fork_rng(devices=[]):
            recipe = estimator.compose(schema)
    except InputError:
        raise
    except (TypeError, KeyError, ValueError, AttributeError):
        raise InputError(f"{folder / 'config.json'} is damaged: no {config['class']} can be made of it") from None
    recipe.model.to(dtype=pick_dtype(estimator.precision))
    weights, _ = load_state(path)
    try:
        recipe.model.load_state_dict(weights)
    except RuntimeError:
        raise InputError(f"{path} does not fit the {config['class']} of config.json beside it") from None
    recipe.model.eval()
    estimator.schema_, estimator.model_ = schema, recipe.model
    estimator.history_, estimator.seed_ = [], config.get("seed", 0)
    estimator.settings_ = {"threads": torch.get_num_threads(), **config.get("settings", {})}
    estimator._n_features_out = estimator.latent_dim
    estimator.n_features_in_ = schema.event_shape[0]
    if schema.names:
        import numpy as np

        estimator.feature_names_in_ = np.asarray(schema.names, dtype=object)
    return estimator
