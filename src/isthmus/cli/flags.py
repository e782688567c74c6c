"""Every field of a model as a flag of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from isthmus.registry import Field, Model


def add_fields(parser: argparse.ArgumentParser, model: Model) -> None:
    """A flag in kebab case for each field that a word can express, its docstring the help."""
    group = parser.add_argument_group(f"fields of {model.name}")
    for field in model.fields.values():
        kinds = kinds_of(field)
        if not kinds:
            continue
        more: dict[str, Any] = {"nargs": "?", "const": True} if "bool" in kinds else {}
        help_text = f"{field.doc} (default: {shown(field.default)})".replace("%", "%%")
        group.add_argument(
            flag_of(field.name),
            dest=f"field_{field.name}",
            type=reader(kinds),
            default=argparse.SUPPRESS,
            metavar=metavar(kinds),
            help=help_text,
            **more,
        )


def flag_of(name: str) -> str:
    """A field's name as it is typed.

    >>> flag_of("latent_dim")
    '--latent-dim'
    """
    return "--" + name.replace("_", "-")


def fields_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields that were set on the command line."""
    prefix = "field_"
    return {name[len(prefix) :]: value for name, value in vars(arguments).items() if name.startswith(prefix)}


def kinds_of(field: Field) -> list[str]:
    """The types of a field that a word can express."""
    parts = [part.strip() for part in field.annotation.split("|")]
    known = [part for part in parts if part in ("int", "float", "str", "bool") or part.startswith("tuple[int")]
    return known + (["None"] if known and "None" in parts else [])


WANTED = {"int": "a whole number", "float": "a number", "bool": "true or false"}
wrong = argparse.ArgumentTypeError


def reader(kinds: list[str]) -> Callable[[str], Any]:
    """Text to the first type that takes it."""

    def read(text: str) -> Any:
        word = text.strip().lower()
        if "None" in kinds and word == "none":
            return None
        if "bool" in kinds and word in ("true", "false", "yes", "no"):
            return word in ("true", "yes")
        if kinds[0].startswith("tuple"):
            if word in ("", "none", "()"):
                return ()
            pieces = word.strip("()").rstrip(",").replace("x", ",").split(",")
            try:
                return tuple(int(piece) for piece in pieces)
            except ValueError:
                raise wrong(f"whole numbers with commas are wanted, e.g. 512,512; {text!r} came") from None
        for kind, make in (("int", int), ("float", float)):
            if kind in kinds:
                try:
                    return make(text)
                except ValueError:
                    continue
        if "str" in kinds:
            return text
        raise wrong(f"{WANTED[kinds[0]]} is wanted; {text!r} came")

    return read


def metavar(kinds: list[str]) -> str:
    """What a flag takes, in words."""
    if kinds[0].startswith("tuple"):
        return "N,N"
    names = {"int": "N", "float": "X", "str": "NAME", "bool": "true|false", "None": "none"}
    return "|".join(names[kind] for kind in kinds)


def shown(value: Any) -> str:
    """A default as it would be typed."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
