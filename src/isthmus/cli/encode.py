"""`isthmus encode RUN DATA -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli import common
from isthmus.cli.main import Parser


def parser(words: list[str]) -> Parser:
    return common.rows_parser("encode")


def run(arguments: argparse.Namespace) -> None:
    from isthmus.persistence.serialization import load

    model = load(arguments.run)
    part, more = common.rows_of(arguments, model)
    codes = model.transform(part.x, **more)
    arrays = {"z": codes} if part.y is None else {"z": codes, "y": part.y}
    common.write(arguments, "codes", arrays, list(model.get_feature_names_out()), model)
