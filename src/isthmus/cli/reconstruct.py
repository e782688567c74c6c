"""`isthmus reconstruct RUN DATA -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli.common import examples_parser, read_examples, write_output
from isthmus.cli.parser import Parser


def build_parser(argv: list[str]) -> Parser:
    return examples_parser("reconstruct")


def run(args: argparse.Namespace) -> None:
    from isthmus.persistence.serialization import load

    model = load(args.run)
    examples = read_examples(args, model)
    x = model.reconstruct(examples.x, **examples.model_kwargs())
    write_output(args, "reconstructions", {"x": x}, list(model.schema_.names), model)
