"""`isthmus encode RUN DATA -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli.common import examples_parser, read_examples, write_output
from isthmus.cli.parser import Parser


def build_parser(argv: list[str]) -> Parser:
    return examples_parser("encode")


def run(args: argparse.Namespace) -> None:
    from isthmus.persistence.serialization import load

    model = load(args.run)
    examples = read_examples(args, model)
    codes = model.transform(examples.x, **examples.model_kwargs())
    arrays = {"z": codes} if examples.y is None else {"z": codes, "y": examples.y}
    write_output(args, "codes", arrays, list(model.get_feature_names_out()), model)
