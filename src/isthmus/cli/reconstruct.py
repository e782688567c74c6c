"""`isthmus reconstruct RUN DATA -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli import use
from isthmus.cli.main import Parser


def parser(words: list[str]) -> Parser:
    return use.rows_parser("reconstruct")


def run(arguments: argparse.Namespace) -> None:
    from isthmus.estimators.store import load

    model = load(arguments.run)
    part, more = use.rows_of(arguments, model)
    use.write(arguments, "reconstructions", {"x": model.reconstruct(part.x, **more)}, list(model.schema_.names), model)
