"""`isthmus reconstruct RUN DATA -o FILE`."""

from __future__ import annotations

import argparse

from isthmus.cli.common import (
    DATA_FORMATS,
    condition_beside,
    examples_parser,
    lengths_beside,
    load_to_write,
    named_ids,
    read_examples,
    write_output,
)
from isthmus.cli.parser import Parser
from isthmus.errors import InputError


def build_parser(argv: list[str]) -> Parser:
    return examples_parser("reconstruct", DATA_FORMATS)


def run(args: argparse.Namespace) -> None:
    model = load_to_write(args, args.data)
    examples = read_examples(args, model)
    if not model.capabilities.encodes:
        raise InputError(f"{model.name} has no codes, so it cannot reconstruct data.")
    n, names = len(examples), model.schema.names
    arrays = {"x": model.reconstruct(examples), **condition_beside(args, examples.y, n, names)}
    arrays |= lengths_beside(args, model, n, examples.lengths)
    write_output(args, "reconstructions", arrays, names, model, named_ids(args, examples))
