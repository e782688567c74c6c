"""The fields of a model as command-line options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from isthmus.model_registry import Field, Model
from isthmus.wording import split_names

DEST_PREFIX = "field_"
"""Prefix of the parsed values of fields, so that they cannot clash with those of the command."""
NO_OPTIONS = ("verbose", "warm_start")
"""Fields that are no options of `fit`: every command has --quiet, and there is `isthmus fit --continue`."""
NAMES = "tuple[str, ...]"
"""The type of a name for each column."""
TYPES = {"int": "an integer", "float": "a number", "bool": "true or false"}


def add_fields(parser: argparse.ArgumentParser, model: Model) -> None:
    """Add an option for each field that can be given as text; its docstring is the help."""
    group = parser.add_argument_group(f"fields of {model.name}")
    for field in model.fields.values():
        types = text_types(field)
        if not types or field.name in NO_OPTIONS:
            continue
        kwargs: dict[str, Any] = {"nargs": "?", "const": True} if "bool" in types else {}
        group.add_argument(
            flag_of(field.name),
            dest=DEST_PREFIX + field.name,
            type=text_parser(types),
            default=argparse.SUPPRESS,
            metavar=metavar_of(types),
            help=f"{field.doc} (default: {format_default(field.default)})".replace("%", "%%"),
            **kwargs,
        )


def flag_of(name: str) -> str:
    """The option of a field.

    >>> flag_of("latent_dim")
    '--latent-dim'
    """
    return "--" + name.replace("_", "-")


def fields_given(args: argparse.Namespace) -> dict[str, Any]:
    """The fields that were set on the command line."""
    return {name.removeprefix(DEST_PREFIX): value for name, value in vars(args).items() if name.startswith(DEST_PREFIX)}


def text_types(field: Field) -> list[str]:
    """The types in a field's annotation that can be given as text."""
    types = ["str" if part.strip() == "Auto" else part.strip() for part in field.annotation.split("|")]
    known = [name for name in types if name in ("int", "float", "str", "bool") or name.startswith("tuple[")]
    return known + (["None"] if known and "None" in types else [])


def text_parser(types: list[str]) -> Callable[[str], Any]:
    """A function from text to a value of the first of these types that can hold it."""

    def parse(text: str) -> Any:
        word = text.strip().lower()
        if "None" in types and word == "none":
            return None
        if "str" in types and word == "auto":
            return word
        if "bool" in types and word in ("true", "false", "yes", "no"):
            return word in ("true", "yes")
        if types[0].startswith("tuple"):
            if word in ("", "none", "()"):
                return ()
            pieces = word.strip("()").rstrip(",").replace("x", ",").split(",")
            try:
                return tuple(int(piece) for piece in pieces)
            except ValueError:
                raise argparse.ArgumentTypeError(
                    f"must be integers separated by commas, e.g. 512,512, got {text!r}."
                ) from None
        for name, convert in (("int", int), ("float", float)):
            if name in types:
                try:
                    return convert(text)
                except ValueError:
                    continue
        if NAMES in types and len(names := split_names(text)) > 1:
            return tuple(names)
        if "str" in types:
            return text
        raise argparse.ArgumentTypeError(f"must be {TYPES[types[0]]}, got {text!r}.")

    return parse


def metavar_of(types: list[str]) -> str:
    """How the help denotes the value of an option."""
    if types[0].startswith("tuple"):
        return "N,N"
    names = {"int": "N", "float": "X", "str": "NAME", NAMES: "NAME,NAME", "bool": "true|false", "None": "none"}
    return "|".join(names[name] for name in types)


def format_default(value: Any) -> str:
    """A default as it would be typed.

    >>> format_default((512, 512)), format_default(()), format_default(None)
    ('512,512', 'none', 'none')
    """
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
