"""`isthmus reconstruct RUN DATA -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli import common
from isthmus.cli.main import Parser


def parser(words: list[str]) -> Parser:
    return common.rows_parser("reconstruct")


def run(arguments: argparse.Namespace) -> None:
    from isthmus.persistence.serialization import load

    model = load(arguments.run)
    part, more = common.rows_of(arguments, model)
    common.write(
        arguments, "reconstructions", {"x": model.reconstruct(part.x, **more)}, list(model.schema_.names), model
    )
