"""`isthmus models`."""

from __future__ import annotations

import argparse

from isthmus.cli.main import Parser, command_parser, tell
from isthmus.registry import ALIASES, models


def parser(words: list[str]) -> Parser:
    return command_parser("models")


def run(arguments: argparse.Namespace) -> None:
    short = {long: name for name, long in ALIASES.items()}
    listed = {model.command: model for model in models().values()}
    facts = {
        name: {"class": m.name, "doc": m.doc, "alias": short.get(name), "fields": list(m.fields)}
        for name, m in listed.items()
    }
    lines = [f"{name + (f' ({short[name]})' if name in short else ''):<28} {m.doc}" for name, m in listed.items()]
    tell(arguments, facts, "\n".join([*lines, "", "`isthmus fit MODEL --help` lists a model's fields"]))
