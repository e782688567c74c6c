"""`isthmus encode RUN DATA -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli import use
from isthmus.cli.main import Parser


def parser(words: list[str]) -> Parser:
    return use.rows_parser("encode")


def run(arguments: argparse.Namespace) -> None:
    from isthmus.estimators.store import load

    model = load(arguments.run)
    part, more = use.rows_of(arguments, model)
    codes = model.transform(part.x, **more)
    arrays = {"z": codes} if part.y is None else {"z": codes, "y": part.y}
    use.write(arguments, "codes", arrays, list(model.get_feature_names_out()), model)
