"""Models on disk: weights in safetensors, everything else in JSON; reading never runs what the files hold."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

import isthmus
from isthmus.atomic_io import TMP_PREFIX, atomic_write, os_reason, read_json, write_json
from isthmus.errors import InputError
from isthmus.estimators.param_validation import check_fields
from isthmus.registry import Model, models
from isthmus.schema import Schema
from isthmus.train.checkpoint import load_state, save_state
from isthmus.train.runtime import device_for_use, pick_dtype, pick_threads

if TYPE_CHECKING:
    from isthmus.estimators.base import Estimator

FORMAT = 2
"""Rises when files of before cannot be read any more, or files of now not by versions of before."""
OWN = "a part of the user's own"
PICTURES = ("reconstructions.png", "samples.png", "latent.png", "curves.png")
BESIDE = ("history.jsonl", "checkpoint/state.safetensors", "report.html", *PICTURES)
"""What a run's folder holds beside config.json and model.safetensors."""


def config_of(estimator: Estimator, schema: Schema, settings: dict[str, Any], seed: int, **more: Any) -> dict[str, Any]:
    """Everything but the weights, as plain values."""
    trained_as = getattr(estimator, "_trained_as", None) or estimator.get_params(deep=False)
    fields = {name: plain(value) for name, value in trained_as.items()}
    if not isinstance(fields["random_state"], int):
        fields["random_state"] = None  # a generator of the caller's; the seed that it gave is beside
    return {
        "format": FORMAT,
        "class": type(estimator).__name__,
        "fields": fields,
        "schema": schema.to_config(),
        "settings": plain(settings),
        "seed": seed,
        "versions": {"isthmus": isthmus.__version__, "torch": torch.__version__},
        **more,
    }


def plain(value: Any) -> Any:
    """A field as JSON can hold it: NumPy's numbers become Python's, a part of the user's own its name."""
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, nn.Module):
        return {"own": type(value).__name__}
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def identity(config: dict[str, Any]) -> str:
    """A hash of what the weights are weights of, by which they know the configuration beside them."""
    told = json.dumps([config["class"], config["fields"], config["schema"]], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def save(estimator: Estimator, folder: str | Path) -> None:
    """Write a fitted model and its history to `folder`; of a run that was there before nothing is left."""
    if not str(folder):
        raise InputError("'' came; the name of a folder is wanted")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; the name of a folder is wanted")
    if (folder / "config.json").exists() and not is_run(folder):
        raise InputError(f"{folder / 'config.json'} is not of isthmus and would be lost; save to a folder of its own")
    refuse_namesake(type(estimator))
    config = config_of(estimator, estimator.schema_, estimator.settings_, estimator.seed_, finished=True)
    write_weights(estimator, folder, config)
    clear(folder, BESIDE)
    if estimator.history_:
        with atomic_write(folder / "history.jsonl") as part:
            part.write_text("".join(json.dumps(plain(record)) + "\n" for record in estimator.history_), "utf-8")
    write_json(folder / "config.json", config)


def save_run(estimator: Estimator, folder: Path, **more: Any) -> None:
    """Write what was trained to the folder of its run, whose history and checkpoint are there."""
    config = config_of(estimator, estimator.schema_, estimator.settings_, estimator.seed_, **more)
    write_weights(estimator, folder, config)
    write_json(folder / "config.json", config)


def write_weights(estimator: Estimator, folder: Path, config: dict[str, Any]) -> None:
    """The weights come first and the configuration last: where they fit, a model was saved in full."""
    facts = {"format": FORMAT, "identity": identity(config)}
    save_state(folder / "model.safetensors", estimator.model_.state_dict(), facts)


def refuse_namesake(own: type) -> None:
    """Raise InputError for a class of the user's own that is named like one of ours: that would be loaded instead."""
    if own.__name__ in models() and models()[own.__name__].module != own.__module__:
        raise InputError(f"your class {own.__name__} is named like one of isthmus, which would be loaded; rename it")


def is_run(folder: Path) -> bool:
    """Whether a folder holds a configuration of isthmus, of whatever version."""
    try:
        config = read_json(folder / "config.json")
    except InputError:
        return False
    kinds = {"format": object, "class": str, "fields": dict, "schema": dict}
    known = isinstance(config, dict) and all(isinstance(config.get(name), kind) for name, kind in kinds.items())
    return known and isinstance(config.get("settings", {}), dict) and isinstance(config.get("source", {}), dict | None)


def left_over(folder: Path) -> list[Path]:
    """Files of ours in a folder whose writing broke off."""
    kinds = {Path(name).suffix for name in ("config.json", "model.safetensors", *BESIDE)}
    return [path for path in folder.glob(f"{TMP_PREFIX}*") if path.suffix in kinds]


def clear(folder: Path, names: tuple[str, ...]) -> None:
    """Remove files that a run wrote and what is left of broken writing, and nothing else."""
    try:
        for path in [*(folder / name for name in names), *left_over(folder), *left_over(folder / "checkpoint")]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot replace {folder}: {os_reason(error)}") from None
    with contextlib.suppress(OSError):  # not there, or the user keeps something in it
        (folder / "checkpoint").rmdir()


def read_config(folder: Path, own: type[Estimator] | None = None) -> dict[str, Any]:
    """The configuration in a run's folder, checked as far as it can be without building the model."""
    if not folder.exists():
        raise InputError(f"there is no run at {folder}; `isthmus fit MODEL DATA -o {folder}` makes one")
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} holds no config.json: it is not a run of isthmus, or was not saved in full")
    config = read_json(folder / "config.json")
    if not is_run(folder):
        raise InputError(f"{folder / 'config.json'} is not a configuration of isthmus")
    if config["format"] != FORMAT:
        version = config.get("versions", {}).get("isthmus", "another version")
        older = isinstance(config["format"], int) and config["format"] < FORMAT
        raise InputError(
            f"{folder} was written by isthmus {version} in format {config['format']}, this is {isthmus.__version__} "
            f"and reads {FORMAT}; {'train it again' if older else 'upgrade isthmus'}"
        )
    name = config["class"]
    if own is not None and own.__name__ != name:
        raise InputError(f"{folder} holds a {name!r}; model={own.__name__} came")
    if own is None and name not in models():
        raise InputError(
            f"{folder} holds a {name!r}, which this version of isthmus does not know; "
            f"a class of your own is handed in: isthmus.load({str(folder)!r}, model={name})"
        )
    return config


def estimator_of(
    config: dict[str, Any], folder: Path, own: type[Estimator] | None = None, **parts: nn.Module
) -> Estimator:
    """The unfitted model that a configuration describes; what is the user's own is handed in again."""
    make = class_of(models()[config["class"]]) if own is None else own
    known = {field.name for field in dataclasses.fields(make)}
    fields: dict[str, Any] = {}
    for name, value in config["fields"].items():
        if name not in known:
            raise InputError(f"{folder} has a field {name!r} that {make.__name__} does not have")
        if isinstance(value, dict):
            if name not in parts:
                raise InputError(f"{folder} was trained with {OWN}; pass it: isthmus.load({str(folder)!r}, {name}=...)")
            value = parts[name]
        fields[name] = tuple(value) if isinstance(value, list) else value
    return make(**fields)


def class_of(model: Model) -> type[Estimator]:
    """The class that the registry describes."""
    return getattr(importlib.import_module(model.module), model.name)


def read_history(path: Path) -> list[dict[str, Any]]:
    """The records of a history, an epoch each, up to the first that was not written in full."""
    records: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            records.append(json.loads(line))
    return records


def load(folder: str | Path, model: type[Estimator] | None = None, **parts: Any) -> Estimator:
    """The model saved in `folder`, on the device that its field names, or the CPU where that is not there.

    `model` hands over a class of your own, `encoder=`, `decoder=`, ... modules that were your own. Warns of a run whose
    training broke off. Raises InputError for files that are missing, truncated, foreign or of a newer version.
    """
    folder = Path(folder)
    config = read_config(folder, model)
    estimator = estimator_of(config, folder, model, **parts)
    path = folder / "model.safetensors"
    if not path.exists():
        raise InputError(f"{folder} holds no trained weights yet; `isthmus fit --resume {folder}` goes on with it")
    try:
        check_fields(estimator)
        schema = Schema.from_config(config["schema"])
        with torch.random.fork_rng(devices=[]):
            recipe = estimator.compose(schema)
    except InputError:
        raise
    except (TypeError, KeyError, ValueError, AttributeError, RuntimeError, MemoryError, OverflowError):
        raise InputError(f"{folder / 'config.json'} is damaged: no {config['class']} can be made of it") from None
    recipe.model.to(dtype=pick_dtype(estimator.precision))
    weights, facts = load_state(path)
    try:
        recipe.model.load_state_dict(weights)
    except RuntimeError:
        raise InputError(f"{path} does not fit the {config['class']} of config.json beside it") from None
    if facts.get("identity", identity(config)) != identity(config):
        raise InputError(f"{path}: the weights are not those of config.json beside them: saving broke off; save again")
    if config.get("broken"):
        warnings.warn(f"{folder} holds the weights of a run that broke off: {config['broken']}", stacklevel=2)
    recipe.model.eval().to(device_for_use(estimator.device))
    estimator.schema_, estimator.model_ = schema, recipe.model
    estimator.history_, estimator.seed_ = read_history(folder / "history.jsonl"), config.get("seed", 0)
    estimator.settings_ = config.get("settings", {})
    pick_threads(estimator.settings_.setdefault("threads", torch.get_num_threads()), 0.0)  # a number that can be
    estimator._n_features_out, estimator._trained_as = estimator.latent_dim, estimator.get_params(deep=False)
    estimator.n_features_in_ = schema.event_shape[0]
    if schema.names:
        estimator.feature_names_in_ = np.asarray(schema.names, dtype=object)
    return estimator
