"""`isthmus data`."""

from __future__ import annotations

import argparse

from isthmus.cli.parser import Parser, command_parser, emit
from isthmus.data import BUILT_IN, FILE_SUFFIXES


def build_parser(argv: list[str]) -> Parser:
    return command_parser("data")


def run(args: argparse.Namespace) -> None:
    lines = [f"{name:<18} {description}" for name, description in BUILT_IN.items()]
    emit(
        args,
        BUILT_IN,
        "\n".join([*lines, "", f"or a path: {', '.join(FILE_SUFFIXES)}, an image or a folder of images"]),
    )
