"""`isthmus data`."""

from __future__ import annotations

import argparse

from isthmus.cli.main import Parser, command_parser, tell
from isthmus.data import BUILT_IN


def parser(words: list[str]) -> Parser:
    return command_parser("data")


def run(arguments: argparse.Namespace) -> None:
    lines = [f"{name:<18} {what}" for name, what in BUILT_IN.items()]
    tell(arguments, BUILT_IN, "\n".join([*lines, "", "or a path: .npy, .npz, .csv, .parquet, a folder of images"]))
