"""`isthmus models`."""

from __future__ import annotations

import argparse

from isthmus.cli.parser import Parser, command_parser, emit
from isthmus.model_registry import ALIASES, models


def build_parser(argv: list[str]) -> Parser:
    return command_parser("models")


def run(args: argparse.Namespace) -> None:
    aliases = {command: alias for alias, command in ALIASES.items()}
    values, lines = {}, []
    for model in models().values():
        alias = aliases.get(model.command)
        values[model.command] = {
            "class": model.name,
            "doc": model.doc,
            "alias": alias,
            "fields": list(model.fields),
        }
        name = model.command if alias is None else f"{model.command} ({alias})"
        lines.append(f"{name:<28} {model.doc}")
    emit(args, values, "\n".join([*lines, "", "`isthmus fit MODEL --help` shows the fields of a model"]))
