"""`isthmus models`."""

from __future__ import annotations

import argparse

from isthmus.cli.parser import Parser, command_parser, emit
from isthmus.model_registry import ALIASES, models


def build_parser(argv: list[str]) -> Parser:
    return command_parser("models")


def run(args: argparse.Namespace) -> None:
    aliases = {command: alias for alias, command in ALIASES.items()}
    values: dict[str, dict[str, object]] = {}
    by_purpose: dict[str, list[str]] = {}
    for model in models().values():
        alias = aliases.get(model.command)
        values[model.command] = {
            "class": model.name,
            "doc": model.doc,
            "purpose": model.purpose,
            "alias": alias,
            "fields": list(model.fields),
        }
        name = model.command if alias is None else f"{model.command} ({alias})"
        by_purpose.setdefault(model.purpose, []).append(f"  {name:<26} {model.doc}")
    groups = ["\n".join([f"{purpose}:", *lines]) for purpose, lines in by_purpose.items()]
    emit(args, values, "\n\n".join([*groups, "`isthmus fit MODEL --help` shows the fields of a model"]))
