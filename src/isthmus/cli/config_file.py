"""`--config FILE`: the arguments of a command from a TOML or YAML file; those on the command line win over it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.data.guards import read_errors
from isthmus.errors import InputError, unknown
from isthmus.wording import one_line, quoted

SUFFIXES = (".toml", ".yaml", ".yml")
MAX_BYTES = 1_000_000
"""Larger files are no settings."""


def value_of(option: str, argv: Sequence[str]) -> str | None:
    """The value of an option among arguments, the last one if it is given twice; None if there is none.

    >>> value_of("--config", ["vae", "--config", "a.toml"]), value_of("--config", ["--config=b.toml"])
    ('a.toml', 'b.toml')
    """
    value = None
    for word, following in zip(argv, [*argv[1:], None]):
        if word == option:
            value = following
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
    return value


def settings_in(argv: Sequence[str]) -> dict[str, Any]:
    """The values in the file of `--config` by name, with underscores for dashes; none without that option."""
    source = value_of("--config", argv)
    return {} if source is None else read_settings(source)


def read_settings(source: str) -> dict[str, Any]:
    """The values in a TOML or YAML file by name, with underscores for dashes.

    Raises:
        InputError: for a file that cannot be read or holds anything but names with values.
    """
    path = Path(source)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--config must be a file of type {', '.join(SUFFIXES)}, got {source!r}.")
    with read_errors(source):
        if not path.exists():
            raise InputError(f"there is no file {source}.")
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise InputError(f"--config must be a file of at most {MAX_BYTES:,} bytes, got {source!r}.")
        text = path.read_text(encoding="utf-8-sig")
        values = parse_toml(text) if path.suffix.lower() == ".toml" else parse_yaml(text)
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise InputError(f"{source} must hold names with values, such as latent_dim: 8, got {type(values).__name__}.")
    settings: dict[str, Any] = {}
    for name, value in values.items():
        known = name.replace("-", "_")
        if known in settings:
            raise given_twice(source, known, name)
        settings[known] = value
    return settings


def given_twice(source: str, first: str, second: str) -> InputError:
    """The error for two names in a file that mean the same argument."""
    return InputError(
        f"each name in {one_line(source)} must be given once, got {first!r} and {second!r}. Leave one out."
    )


def parse_toml(text: str) -> Any:
    """The content of a TOML file."""
    import tomllib

    return tomllib.loads(text)


def parse_yaml(text: str) -> Any:
    """The content of a YAML file; an empty one is no settings."""
    try:
        import yaml
    except ImportError:
        raise InputError("YAML can only be read with PyYAML. Run pip install pyyaml, or write a TOML file.") from None
    node = yaml.compose(text, Loader=yaml.SafeLoader)  # of two values of a name, loading takes the last one
    names = [str(key.value) for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise InputError(f"each name in the file must be given once, got {quoted(twice)} twice. Leave one out.")
    return yaml.safe_load(text) or {}


def with_settings(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """Arguments with those of the file of `--config` before them: of two values of an option the last one counts.

    A positional argument of the file is the default of that argument, which becomes optional. An option that may be
    repeated is left out if it is among the arguments: its values would be joined to these.

    Raises:
        InputError: for names in the file that are no arguments of the command, and values that cannot be typed.
    """
    settings = settings_in(argv)
    if not settings:
        return list(argv)
    source = value_of("--config", argv)
    actions: dict[str, argparse.Action] = {}
    for action in parser._actions:
        names = [text.lstrip("-").replace("-", "_") for text in action.option_strings] or [action.dest]
        actions |= dict.fromkeys(names, action)
    for name in ("h", "help", "config"):
        actions.pop(name, None)
    options: list[str] = []
    typed = {word.partition("=")[0] for word in argv}
    names_of: dict[str, str] = {}
    for name, value in settings.items():
        if name not in actions:
            raise unknown(f"name in {source}", name, {key for key in actions if len(key) > 1})
        action = actions[name]
        if (first := names_of.setdefault(action.dest, name)) != name:
            raise given_twice(str(source), first, name)
        if isinstance(action, argparse._AppendAction) and typed & {*action.option_strings}:
            continue
        if action.option_strings:
            options += option_words(action, value, f"{name} in {source}")
        else:
            action.nargs, action.required, action.default = "?", False, as_text(value, f"{name} in {source}")
    return [*options, *argv]


def option_words(action: argparse.Action, value: Any, what: str) -> list[str]:
    """The words of an option with its value on the command line."""
    option = action.option_strings[-1]  # the long one, if there are two
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise InputError(f"{what} must be true or false, got {value!r}.")
        return [option] if value else []
    if isinstance(action, argparse._AppendAction) and isinstance(value, list):
        return [word for item in value for word in option_words(action, item, what)]
    text = as_text(value, what)
    return [f"{option}={text}"] if option.startswith("--") else [option, text]


def as_text(value: Any, what: str) -> str:
    """A value as it would be typed.

    >>> as_text([64, 64], "hidden"), as_text(True, "binarize"), as_text(None, "levels"), as_text("vae", "model")
    ('64,64', 'true', 'none', 'vae')
    """
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ",".join(as_text(item, what) for item in value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        kind = type(value).__name__
        raise InputError(f"{what} must be a text, a number, true, false or a list of these, got {kind}.")
    return str(value)
